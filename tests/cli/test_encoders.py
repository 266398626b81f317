"""``xtrkit export`` and ``xtrkit models``: from a checkpoint to a search without torch."""

import json
import subprocess
import sys

import pytest

from tests.cli.test_cli import answer
from tests.commands import in_text
from tests.encoding import checkpoint_factory as factory
from xtrkit.encoding import registry

WITHOUT_TORCH = """
import json, sys
for name in ("torch", "transformers", "sentence_transformers", "onnx"):
    sys.modules[name] = None
from xtrkit.cli import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["xtrkit", *arguments]
    try:
        main()
    except SystemExit as left:
        if left.code:
            raise
"""


def without_torch(*commands):
    """What the last of some commands prints; all must succeed, in one process without torch."""
    given = json.dumps([[str(word) for word in command] for command in commands])
    ran = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, given], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "mice.txt").write_text("Mice eat cheese and seeds.")
    (folder / "bread.txt").write_text("Knead the dough and bake it.")
    return folder


def test_from_a_checkpoint_to_a_search_without_torch(checkpoints, folder, tmp_path):
    shown = json.loads(answer("export", checkpoints["stanford"], tmp_path / "out", "--int8", "--json"))
    assert (shown["runtime"], shown["precision"], shown["path"]) == ("onnx", "int8", str(tmp_path / "out"))
    assert shown["lowest_cosine"] > 0.99
    found = without_torch(
        ("index", folder, tmp_path / "idx", "--model", tmp_path / "out"),
        ("search", tmp_path / "idx", "cheese", "--explain", "--json"),
    )
    assert len(json.loads(found[found.index("{") :])["hits"]) == 2


def test_the_default_indexes_and_searches_without_torch(folder, tmp_path):
    found = without_torch(
        ("index", folder, tmp_path / "idx"), ("search", tmp_path / "idx", "what do mice eat", "--json")
    )
    assert json.loads(found[found.index("{") :])["hits"][0]["id"] == "mice.txt"


def test_an_export_tells_what_it_did(checkpoints, tmp_path):
    shown = answer("export", checkpoints["xtr"], tmp_path / "out")
    assert "onnx, fp32" in shown
    assert "lowest cosine to torch is 1.0000" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--int8", "--bf16"], "exclude each other"),
        (["--runtime", "tensorrt"], "Unknown runtime 'tensorrt': use onnx or openvino."),
        (["--bf16"], "doesn't compute in bf16"),
        (["--query-length", "0"], "query_length must be from 2"),
    ],
)
def test_what_cannot_be_exported_is_told_in_a_sentence(checkpoints, tmp_path, arguments, message):
    ran = in_text("export", checkpoints["xtr"], tmp_path / "out", *arguments)
    assert ran.returncode == 1
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_models_lists_the_known_ones():
    shown = {model["name"]: model for model in json.loads(answer("models", "--json"))}
    assert list(shown)[:3] == ["xtrkit-mini", "xtrkit-multi", "all-MiniLM-L6-v2"]
    assert shown["xtrkit-mini"]["state"] == "default"
    assert shown["xtrkit-mini"]["usable"]
    assert shown["all-MiniLM-L6-v2"]["state"] == "installed"
    assert shown["google/xtr-base-en"]["licence"] == "Apache-2.0"
    table = answer("models")
    assert "xtrkit-mini: default, 25 MB, Apache-2.0, English" in table
    assert "google/xtr-base-multilingual: " in table


def test_models_finds_what_the_hubs_client_has_cached(checkpoints, tmp_path, monkeypatch):
    for name, layout in (("google/xtr-base-en", "xtr"), ("someone/colbert", "stanford"), ("someone/bert", None)):
        cached = tmp_path / f"models--{name.replace('/', '--')}"
        snapshot = cached / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
        if layout:
            factory.copy_of(checkpoints[layout], snapshot)
        else:
            factory.write_json(snapshot / "config.json", {"model_type": "bert"})
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text(snapshot.name)
    for module in ("constants", "utils._cache_manager"):  # which copies it when it is first used
        monkeypatch.setattr(f"huggingface_hub.{module}.HF_HUB_CACHE", str(tmp_path))
    found = {model.name: model for model in registry.models()}
    assert found["google/xtr-base-en"].state == "cached"
    assert found["google/xtr-base-en"].path is not None
    assert found["someone/colbert"].state == "cached"
    assert found["google/xtr-base-multilingual"].state == "absent"
    assert "someone/bert" not in found
