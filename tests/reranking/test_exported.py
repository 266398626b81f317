"""An exported monoT5 against torch: the same scores, the same order, whatever stands beside a pair."""

import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from tests.encoding import checkpoint_factory as factory
from xtrkit.cli.app import app
from xtrkit.errors import ExportError, InputError, ModelError
from xtrkit.reranking import Reranker, export, load_reranker, rerank
from xtrkit.reranking.export import export_reranker, largest_error
from xtrkit.reranking.one_step import OneStep
from xtrkit.training.teaching import load_teacher

QUERY = "what is late retrieval"
TEXTS = [
    "the late token",
    "XTR",
    "",
    "Straße! 日本",
    "document " * 40,
    "retrieval of the late document token",
    "a </s> b",
]


@pytest.fixture(scope="module")
def exports(rerankers, tmp_path_factory):
    """The monoT5 in both precisions."""
    root = tmp_path_factory.mktemp("exports")
    for precision in ("fp32", "int8"):
        done = export_reranker(rerankers["monot5"], root / precision, precision=precision)
        assert done.pairs == 27
        assert done.largest_error <= export.LARGEST_ERROR[precision]
    return root


@pytest.mark.parametrize("settings", [{}, {"feed_forward_proj": "gated-gelu"}, {"feed_forward_proj": "gated-silu"}])
def test_one_step_is_the_models_own(settings, tmp_path):
    """With padding, and with a vocabulary that is not tied, as T5 1.1 has it."""
    base = factory.write_monot5(tmp_path / "t5", **settings)
    found = load_file(base / "model.safetensors")
    save_file(
        {**found, "lm_head.weight": found["shared.weight"].flip(0).contiguous()},
        base / "model.safetensors",
        {"format": "pt"},
    )
    reranker = load_reranker(base, device="cpu")
    ids = reranker.prompts.ids(QUERY, TEXTS)
    expected = reranker.score(QUERY, TEXTS)
    longest = max(map(len, ids))
    padded = torch.tensor([[*one, *[0] * (longest - len(one))] for one in ids])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in ids])
    with torch.inference_mode():
        scores = OneStep(reranker.model, reranker.answers)(padded, mask)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert len(set(np.round(expected, 3))) > 3


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("int8", 0.3)])
def test_scores_are_torchs(precision, bound, exports, rerankers):
    torchs, exported = load_reranker(rerankers["monot5"]), load_reranker(exports / precision)
    assert isinstance(exported, Reranker)
    found, expected = exported.score(QUERY, TEXTS), torchs.score(QUERY, TEXTS)
    assert found.dtype == np.float32
    assert largest_error(found, expected) < bound
    if precision == "fp32":
        assert [place for place, _ in rerank(exported, QUERY, TEXTS)] == [
            place for place, _ in rerank(torchs, QUERY, TEXTS)
        ]
    assert exported.score(QUERY, []).shape == (0,)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_companions_change_nothing(precision, batch_size, exports):
    reranker = load_reranker(exports / precision, threads=1)
    together = reranker.score(QUERY, TEXTS, batch_size=batch_size)
    alone = [float(reranker.score(QUERY, [text])[0]) for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_int8_is_smaller(exports):
    sizes = [(exports / precision / "model.onnx").stat().st_size for precision in ("fp32", "int8")]
    assert sizes[1] < sizes[0]


def test_it_is_pickled_with_its_choices(exports):
    reranker = load_reranker(exports / "fp32", threads=1, max_length=24)
    again = pickle.loads(pickle.dumps(reranker))
    assert (again.score(QUERY, TEXTS) == reranker.score(QUERY, TEXTS)).all()
    assert reranker.score(QUERY, TEXTS[4:5]) != load_reranker(exports / "fp32").score(QUERY, TEXTS[4:5])


def test_no_torch_is_needed(exports):
    code = (
        "import sys; from xtrkit.reranking import load_reranker; "
        "load_reranker(sys.argv[1], threads=1).score('a', ['b']); assert 'torch' not in sys.modules"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(exports / "int8")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_the_command(rerankers, tmp_path):
    ran = CliRunner().invoke(app, ["export", str(rerankers["monot5"]), str(tmp_path / "out"), "--int8", "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["precision"] == "int8"
    assert load_reranker(tmp_path / "out").score("a", ["b"]).shape == (1,)


def test_what_cannot_be(exports, rerankers, checkpoints, tmp_path):
    def refused(error, message, call, *arguments, **options):
        with pytest.raises(error, match=message):
            call(*arguments, **options)

    refused(
        InputError,
        "An exported model runs on the CPU, got device 'cuda'",
        load_reranker,
        exports / "fp32",
        device="cuda",
    )
    refused(
        InputError,
        "was exported to answer with ▁false and ▁true, got ▁no and ▁yes",
        load_reranker,
        exports / "fp32",
        tokens=("▁no", "▁yes"),
    )
    refused(InputError, "max_length must be at least", load_reranker, exports / "fp32", max_length=2)
    refused(InputError, "threads must be at least 1", load_reranker, exports / "fp32", threads=0)
    reranker = load_reranker(exports / "fp32", threads=1)
    refused(InputError, "got one string", reranker.score, QUERY, "a text")
    refused(InputError, "batch_size must be at least 1", reranker.score, QUERY, ["a"], batch_size=0)
    refused(InputError, "exists already", export_reranker, rerankers["monot5"], exports / "fp32")
    refused(
        InputError,
        "is exported in fp32 or int8, got 'bf16'",
        export_reranker,
        rerankers["monot5"],
        tmp_path / "out",
        precision="bf16",
    )
    refused(
        ModelError,
        "is no monoT5, and of rerankers only these",
        export_reranker,
        rerankers["cross-encoder"],
        tmp_path / "out",
    )
    damaged = shutil.copytree(exports / "fp32", tmp_path / "damaged")
    (damaged / "xtrkit.json").write_text('{"format": "xtrkit-reranker", "version": 1, "precision": "fp32"}')
    refused(ModelError, "lacks 'files': export the model again", load_reranker, damaged)


def test_an_export_that_is_not_the_model_is_not_left_behind(rerankers, tmp_path, monkeypatch):
    monkeypatch.setitem(export.LARGEST_ERROR, "int8", 1e-9)
    with pytest.raises(ExportError, match=r"The export is not the model: .* Nothing was written"):
        export_reranker(rerankers["monot5"], tmp_path / "out", precision="int8")
    assert not list(tmp_path.iterdir())


def test_an_export_is_a_teacher(exports):
    texts = ["late token retrieval", "token what"]
    np.testing.assert_array_equal(
        load_teacher(str(exports / "fp32")).score("late", texts), load_reranker(exports / "fp32").score("late", texts)
    )
