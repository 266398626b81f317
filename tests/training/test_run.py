"""Whole trainings of small models: what comes out, what it says of itself, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import MultiVectorEncoder

from tests.training.conftest import sentence, write_lines
from xtrkit.encoding import load_encoder
from xtrkit.errors import CollectionError, InputError, ModelError, TrainingError
from xtrkit.training import TrainingPlan, carry_out, train
from xtrkit.training.recipes import XTR_TRAINING

SMALL = {"batch_size": 8, "steps": 6, "eval_steps": 3, "k_train": 16, "query_length": 16, "document_length": 24}


@pytest.fixture(scope="session")
def plain(checkpoints, tmp_path_factory):
    """A BERT without a projection, as a hub has them."""
    from transformers import BertModel

    folder = tmp_path_factory.mktemp("plain")
    transformer = load_encoder(checkpoints["stanford"]).model[0]
    assert isinstance(transformer.model, BertModel)
    transformer.model.save_pretrained(folder)
    transformer.tokenizer.save_pretrained(folder)
    return folder


def weights(folder):
    return MultiVectorEncoder(str(folder), device="cpu").state_dict()


@pytest.mark.parametrize(
    ("recipe", "base", "changes"),
    [
        ("xtr", "plain", {"dim": 8}),
        ("xtr", "xtr", {}),
        ("xtr", "plain", {"dim": 8, "top_layers": 1, "accumulate": 2, "steps": 4, "eval_steps": 2}),
        ("colbert", "native", {"recompute": True, "rows_per_forward": 4}),
        ("ur2n", "xtr", {}),  # no monoT5, so nothing to rerank with: an encoder like others
    ],
)
def test_a_training_makes_a_model(recipe, base, changes, beir, plain, checkpoints, tmp_path):
    out = tmp_path / "out"
    reports = []
    where = plain if base == "plain" else checkpoints[base]
    summary = train(recipe, str(where), beir, out, report=reports.append, **{**SMALL, **changes})
    steps = changes.get("steps", 6)
    assert summary.steps == steps
    assert [step for step, _ in summary.curve] == [0, steps // 2, steps]
    assert {report.step for report in reports if report.loss is not None} >= {1, steps}
    assert not (out / "training").exists()

    theirs = MultiVectorEncoder(str(out), device="cpu")
    ours = load_encoder(out)
    assert ours.identity.layout == "sentence-transformers"
    expected = theirs.encode_document(["late token"], convert_to_numpy=True)[0]
    np.testing.assert_allclose(ours.encode_documents(["late token"])[0], expected, atol=1e-6)
    card = (out / "README.md").read_text()
    assert "beir | 32 | not stated" in card
    assert f"The weights are those of step {summary.best_step}." in card
    facts = json.loads((out / "training.json").read_text())
    assert facts["recipe"]["name"] == recipe
    assert facts["curve"] == [list(point) for point in summary.curve]


def test_the_base_below_the_top_is_untouched(plain, beir, tmp_path):
    """To the last bit, in what is saved."""
    train("xtr", str(plain), beir, tmp_path / "out", **{**SMALL, "dim": 8, "top_layers": 1, "learning_rate": 0.01})
    before, after = load_file(plain / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name in after if name.startswith("encoder.layer.1.")}


def test_where_every_layer_learns_embeddings_alone_are_untouched_and_nothing_is_kept(plain, beir, tmp_path):
    changes = {**SMALL, "dim": 8, "top_layers": 2, "learning_rate": 0.01}
    train("xtr", str(plain), beir, tmp_path / "out", cache=tmp_path / "cache", **changes)
    assert not (tmp_path / "cache").exists()
    before, after = load_file(plain / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name in after if name.startswith("encoder.layer.")}


def test_training_learns(plain, tmp_path):
    """Queries and documents that share not one word: which belong together can only be learnt."""
    folder, header = tmp_path / "pairs", "query-id\tcorpus-id\tscore"
    letters = "abcdefghijklmnopqrstuvwxyz"
    documents = [{"_id": f"d{i}", "text": f"{letters[i // 5]} {letters[i % 5]}"} for i in range(60)]
    queries = [{"_id": f"q{i}", "text": f"{letters[13 + i // 5]} {letters[20 + i % 5]}"} for i in range(60)]
    write_lines(folder / "corpus.jsonl", documents)
    write_lines(folder / "queries.jsonl", queries)
    for split in ("train", "dev"):
        write_lines(folder / "qrels" / f"{split}.tsv", [header, *(f"q{i}\td{i}\t1" for i in range(60))])
    changes = {"batch_size": 30, "steps": 80, "eval_steps": 40, "learning_rate": 3e-3, "dim": 16, "k_train": 64}
    summary = train("xtr", str(plain), folder, tmp_path / "out", **changes)
    curve = dict(summary.curve)
    assert curve[summary.best_step] > curve[0] + 0.1
    assert curve[summary.best_step] == max(curve.values())


def test_the_same_seed_gives_the_same_model(plain, beir, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train("xtr", str(plain), beir, tmp_path / name, **{**SMALL, "dim": 8, "seed": seed, "steps": 3})
    first, again, other = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_distillation(plain, beir, tmp_path):
    lines = [[f"q{i}", *([f"d{(i + j) % 40}", 3.0 - j] for j in range(4))] for i in range(32)]
    scored = write_lines(tmp_path / "scored.jsonl", lines)
    summary = train(
        "colbertv2", str(plain), f"{scored}@{beir}", tmp_path / "out", dev=str(beir),
        data_licences={"scored.jsonl@beir": "CC0"},
        **{**SMALL, "negatives": 3, "dim": 8},
    )  # fmt: skip
    assert summary.steps == 6
    assert "scored.jsonl@beir | 32 | CC0" in (tmp_path / "out" / "README.md").read_text()
    model = load_encoder(tmp_path / "out").model
    assert model.prompts["query"] == "[unused0] "
    assert model[0].query_expansion["length"] == 16


def test_without_a_dev_set_the_last_weights_stay(plain, beir, tmp_path):
    summary = train("xtr", str(plain), beir, tmp_path / "out", dev=None, **{**SMALL, "dim": 8})
    assert summary.curve == []
    assert summary.best_step == 6
    assert "without a dev set" in (tmp_path / "out" / "README.md").read_text()


def test_a_plan_is_made_of_names_and_trained_from_later(plain, beir, tmp_path):
    plan = TrainingPlan.of(
        "colbert", plain, beir, str(tmp_path / "out"), dev=None, licence="CC0", **{**SMALL, "dim": 8}
    )
    assert (plan.recipe.name, plan.recipe.dim, plan.dev, plan.out) == ("colbert", 8, None, tmp_path / "out")
    assert carry_out(plan).steps == 6
    assert "Licence of this model: CC0" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(InputError, match="The recipe xtr has no 'step': there are name, "):
        train("xtr", str(plain), beir, tmp_path / "other", step=3)


def test_bf16(plain, beir, tmp_path):
    train("xtr", str(plain), beir, tmp_path / "out", **{**SMALL, "dim": 8, "bf16": True})
    assert all(value.isfinite().all() for value in weights(tmp_path / "out").values() if value.is_floating_point())


def test_a_loss_that_is_no_number_stops(plain, beir, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(TrainingError, match=r"The loss is nan at batch \d+ \(step \d+\)") as caught:
        train(
            "xtr",
            str(plain),
            beir,
            out,
            **{**SMALL, "dim": 8, "eval_steps": 1, "learning_rate": 1e36, "warmup": 0.0, "clip": 1e30},
        )
    kept = str(caught.value).rpartition("The last good checkpoint is ")[2].rstrip(".")
    assert "modules.json" in [path.name for path in (out / "training" / kept.rpartition("/")[2]).iterdir()]
    with pytest.raises(TrainingError, match="unfinished training: go on with --resume, or start over with --overwrite"):
        train("xtr", str(plain), beir, out, **SMALL)


def test_taken_directories_are_refused(plain, beir, tmp_path):
    out = tmp_path / "out"
    options = {**SMALL, "dim": 8, "steps": 2, "eval_steps": 1}
    with pytest.raises(TrainingError, match="There is no unfinished training in"):
        train("xtr", str(plain), beir, out, resume=True, **options)
    train("xtr", str(plain), beir, out, **options)
    with pytest.raises(TrainingError, match="holds a model already: choose another directory, or replace it with"):
        train("xtr", str(plain), beir, out, **options)
    train("xtr", str(plain), beir, out, overwrite=True, **options)
    other = tmp_path / "other"
    write_lines(other / "thesis.txt", ["mine"])
    for overwrite in (False, True):
        with pytest.raises(TrainingError, match="holds something else than a model or a training"):
            train("xtr", str(plain), beir, other, overwrite=overwrite, **options)
    assert (other / "thesis.txt").read_text() == "mine\n"


def test_wrong_input_is_refused_before_anything_is_written(plain, beir, tmp_path):
    out = tmp_path / "out"

    def refused(error, message, recipe="xtr", data=beir, **changes):
        with pytest.raises(error, match=message):
            train(recipe, str(plain), data, out, **changes)
        assert not out.exists()

    refused(InputError, "Unknown recipe 'xtc': use xtr, colbert, colbertv2, ur2n, monot5, cross-encoder", recipe="xtc")
    refused(InputError, "The recipe xtr has no 'k_trian': there are name", k_trian=3)
    refused(InputError, "k_train must be at least 1, got 0", k_train=0)
    refused(InputError, "learning_rate must be a number, got 'fast'", learning_rate="fast")
    refused(InputError, "scores must be one of 'xtr', 'maxsim', got 'bm25'", scores="bm25")
    refused(InputError, "the data have no teacher scores: make them with xtrkit score", recipe="colbertv2")
    refused(CollectionError, "There are no training data at", data=tmp_path / "nowhere")
    (beir / "qrels" / "empty.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t0\n")
    refused(CollectionError, "The dev set .* is empty: no query has a relevant document", dev=f"{beir}:empty")
    few = write_lines(tmp_path / "few.tsv", [f"{sentence(i)}\t{sentence(i + 1)}" for i in range(5)])
    refused(InputError, "The dev set is empty: 5 training queries are too few to hold a tenth", data=few)


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("xtrkit-mini", {}, "can't be trained further: start from all-MiniLM-L6-v2"),
        ("nonsense", {}, "'nonsense' is neither a directory nor a model's name"),
        (None, {"top_layers": 99, "dim": 8}, "--top-layers must be 1 to"),
    ],
)
def test_a_base_that_cannot_be_trained_costs_nobody_a_model(plain, beir, tmp_path, model, changes, message):
    """Neither is anything left at a new place, nor an old model deleted that was to be replaced."""
    base, old = model or str(plain), tmp_path / "old"
    with pytest.raises(ModelError, match=message):
        train("xtr", base, beir, tmp_path / "new", **changes)
    assert not (tmp_path / "new").exists()
    write_lines(old / "modules.json", ["[]"])
    with pytest.raises(ModelError, match=message):
        train("xtr", base, beir, old, overwrite=True, **changes)
    assert (old / "modules.json").read_text() == "[]\n"


@pytest.mark.parametrize(
    ("changes", "examples", "steps"),
    [
        ({}, 64_000, 1000),
        ({}, 180, 20),
        ({"epochs": 1}, 180, 2),
        ({"epochs": 1}, 30, 1),
        ({"epochs": 5, "accumulate": 4}, 1000, 18),
        ({"steps": 7, "epochs": 5}, 1000, 7),
    ],
)
def test_steps_go_by_epochs_unless_they_are_chosen(changes, examples, steps):
    assert XTR_TRAINING.but(batch_size=64, **changes).n_steps(examples) == steps
