"""Whole trainings of small rerankers: what comes out, what it learns, and what is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Config, T5EncoderModel

from tests.encoding import checkpoint_factory as factory
from tests.training.conftest import write_lines
from xtrkit.errors import CollectionError, InputError, ModelError, TrainingError
from xtrkit.reranking import load_reranker
from xtrkit.training import train
from xtrkit.training.dev import read_dev_set
from xtrkit.training.reranker_dev import RerankingEvaluator
from xtrkit.training.reranker_models import load_trainable
from xtrkit.training.reranker_recipes import MONOT5_TRAINING
from xtrkit.training.reranker_trainer import RerankingLoss, ranking_loss

SMALL = {"batch_size": 8, "steps": 4, "eval_steps": 2, "learning_rate": 1e-3}


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("monot5", {}),
        ("monot5", {"loss": "list", "negatives": 3, "optimizer": "adamw", "accumulate": 2, "recompute": True}),
        ("cross-encoder", {"loss": "list", "negatives": 2}),
    ],
)
def test_a_training_makes_a_reranker(recipe, changes, rerankers, beir, tmp_path):
    base, out, reports = rerankers[recipe], tmp_path / "out", []
    summary = train(recipe, str(base), beir, out, report=reports.append, **{**SMALL, **changes})
    assert [step for step, _ in summary.curve] == [0, 2, 4]
    assert {report.step for report in reports if report.loss is not None} >= {1, 4}
    assert not (out / "training").exists()
    before, after = weights(base), weights(out)
    assert any(not torch.equal(after[name], before[name]) for name in after)

    # What was measured is what the directory does, BM25's order what it is compared with.
    dev = read_dev_set(str(beir), most_queries=200, most_documents=2000, seed=MONOT5_TRAINING.seed)
    reranker = load_reranker(out)
    evaluator = RerankingEvaluator(dev, reranker, 20)
    assert evaluator(reranker.model)["nDCG@10"] == dict(summary.curve)[summary.best_step]
    assert summary.baseline == evaluator.baseline["nDCG@10"] > 0.5

    # The tokenizer is as it came, not as reranking has it read texts.
    assert AutoTokenizer.from_pretrained(out)("[SEP] late </s>") == AutoTokenizer.from_pretrained(base)(
        "[SEP] late </s>"
    )
    card, facts = (out / "README.md").read_text(), json.loads((out / "training.json").read_text())
    assert f"# A reranker, trained with the recipe {recipe}" in card
    assert "beir | 32 | not stated" in card
    assert f"| BM25 | {summary.baseline:.4f} | {evaluator.baseline['RR@10']:.4f} |" in card
    assert [step for step, _ in facts["second"]] == [0, 2, 4]


def test_training_learns(rerankers, tmp_path):
    """Queries and documents share one word, which finds them; which of them belong together can only be learnt."""
    folder, header, letters = (
        tmp_path / "pairs",
        "query-id\tcorpus-id\tscore",
        [3 * letter for letter in "abcdefghijklmnopqrst"],
    )
    write_lines(
        folder / "corpus.jsonl",
        [
            {"_id": f"{kind}{i}", "text": f"{letters[i]} {word}"}
            for i in range(20)
            for kind, word in (("r", "late"), ("w", "xtr"))
        ],
    )
    write_lines(folder / "queries.jsonl", [{"_id": f"q{i}", "text": letters[i]} for i in range(20)])
    for split in ("train", "dev"):
        write_lines(folder / "qrels" / f"{split}.tsv", [header, *(f"q{i}\tr{i}\t1" for i in range(20))])
    lines = write_lines(tmp_path / "mined.jsonl", [[f"q{i}", f"r{i}", f"w{i}"] for i in range(20)])
    choices = {"batch_size": 20, "steps": 30, "eval_steps": 30, "learning_rate": 3e-3, "dev": str(folder)}
    summary = train("monot5", str(rerankers["monot5"]), f"{lines}@{folder}", tmp_path / "out", **choices)
    assert summary.curve[-1][1] == 1.0 > summary.curve[0][1]


def test_only_the_upper_layers_learn(rerankers, beir, tmp_path):
    base = rerankers["monot5"]
    train("monot5", str(base), beir, tmp_path / "out", dev=None, top_layers=1, **SMALL)
    before, after = weights(base), weights(tmp_path / "out")
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith(("encoder.block.1.", "encoder.final", "decoder.", "lm_head")) for name in changed)
    assert "without a dev set" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(InputError, match=r"top_layers \(--top-layers\) must be 1 to 2 for this model, got 3"):
        train("monot5", str(base), beir, tmp_path / "other", top_layers=3)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("recipe", ["monot5", "cross-encoder"])
def test_an_interrupted_training_ends_as_if_nothing_had_been(recipe, rerankers, beir, tmp_path):
    def interrupt(report):
        if report.step == 3 and report.loss is not None:
            raise KeyboardInterrupt

    base, choices = str(rerankers[recipe]), {**SMALL, "loss": "list"}
    train(recipe, base, beir, tmp_path / "whole", **choices)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, base, beir, tmp_path / "stopped", report=interrupt, **choices)
    assert not (tmp_path / "stopped" / "config.json").exists()
    with pytest.raises(TrainingError, match=r"can't go on with other choices: loss was 'list', now it is 'pairs'"):
        train(recipe, base, beir, tmp_path / "stopped", resume=True, **SMALL)
    train(recipe, base, beir, tmp_path / "stopped", resume=True, **choices)
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_losses_are_their_definitions():
    scores, teacher = (
        torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]]),
        torch.tensor([[3.0, 1.0, 0.0], [2.0, 2.0, 2.0]]),
    )
    s, t = scores.numpy().astype(float), teacher.numpy().astype(float)
    chances = 1 / (1 + np.exp(-s))
    pairs = -(np.log(chances[:, :1]).sum() + np.log(1 - chances[:, 1:]).sum()) / 6
    of_list = np.log(np.exp(s) / np.exp(s).sum(axis=1, keepdims=True))
    of_teacher = np.log(np.exp(t) / np.exp(t).sum(axis=1, keepdims=True))
    kl = (np.exp(of_teacher) * (of_teacher - of_list)).sum() / 2
    for loss, expected in (("pairs", pairs), ("list", -of_list[:, 0].mean()), ("kl", kl)):
        assert float(ranking_loss(scores, teacher, MONOT5_TRAINING.but(loss=loss))) == pytest.approx(expected, abs=1e-6)
    halved = ranking_loss(scores * 2, None, MONOT5_TRAINING.but(loss="list", temperature=2.0))
    assert float(halved) == pytest.approx(-of_list[:, 0].mean(), abs=1e-6)


def test_the_pieces_of_a_batch_change_nothing(rerankers):
    """Sorted by length and cut into pieces, or one document at a time: the same loss."""
    losses = []
    for rows in (1, 3, 100):
        recipe = MONOT5_TRAINING.but(loss="list", negatives=2, rows_per_forward=rows)
        trainable = load_trainable(str(rerankers["monot5"]), recipe, "cpu")
        texts = ["late", "the late token of a document", "xtr xtr"]
        lists = [trainable.prepared(query, texts) for query in ("what is late", "token")]
        losses.append(float(RerankingLoss(trainable, recipe)([lists]).detach()))
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-5)


def test_a_teacher_is_distilled(rerankers, beir, tmp_path):
    lines = [[f"q{i}", *([f"d{(i + j) % 40}", 3.0 - j] for j in range(4))] for i in range(32)]
    scored = write_lines(tmp_path / "scored.jsonl", lines)
    choices = {**SMALL, "loss": "kl", "negatives": 3}
    train("monot5", str(rerankers["monot5"]), f"{scored}@{beir}", tmp_path / "out", dev=None, **choices)
    with pytest.raises(
        InputError, match=r"distils a teacher \(kl\), but the data have no teacher scores: .* --set loss=l"
    ):
        train("monot5", str(rerankers["monot5"]), beir, tmp_path / "other", **choices)


def test_wrong_bases_are_refused_in_a_sentence(rerankers, beir, tmp_path):
    out = tmp_path / "out"

    def refused(error, message, base, recipe="monot5", data=beir, **changes):
        with pytest.raises(error, match=message):
            train(recipe, str(base), data, out, **{**SMALL, **changes})
        assert not out.exists()

    no_pieces = factory.copy_of(rerankers["monot5"], tmp_path / "no-pieces")
    vocabulary = (no_pieces / "tokenizer.json").read_text().replace("▁true", "▁tru").replace("▁false", "▁fals")
    (no_pieces / "tokenizer.json").write_text(vocabulary)
    refused(ModelError, "has no ▁false and no ▁true, so it can't rerank", no_pieces)
    refused(ModelError, r"Which two tokens .* isn't known", rerankers["mt5"])
    encoder = tmp_path / "encoder"
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 100}
    T5EncoderModel(T5Config(**sizes)).save_pretrained(encoder)
    refused(ModelError, r"has no decoder.*: give a T5 or mT5 that generates", encoder)
    refused(ModelError, "is no T5 but .*: give a T5 or mT5 that generates", "all-MiniLM-L6-v2")
    refused(ModelError, "is a T5 with a decoder: train it with the recipe monot5", rerankers["monot5"], "cross-encoder")
    refused(InputError, "top_layers is for monot5", rerankers["cross-encoder"], "cross-encoder", top_layers=1)
    refused(InputError, "max_length must be at least", rerankers["monot5"], max_length=3)
    refused(InputError, "negatives must be at least 1", rerankers["monot5"], negatives=0)
    refused(InputError, "dropout is a share, from 0 to below 1, got 1.0", rerankers["monot5"], dropout=1.0)
    refused(InputError, "The recipe monot5 has no 'k_train': there are name, ", rerankers["monot5"], k_train=9)
    refused(InputError, "loss must be one of 'pairs', 'list', 'kl', got 'mse'", rerankers["monot5"], loss="mse")
    refused(InputError, "false_token and true_token go together", rerankers["monot5"], true_token="▁yes")
    empty = write_lines(tmp_path / "empty.jsonl", [])
    refused(InputError, "has no training examples", rerankers["monot5"], data=empty)
    refused(CollectionError, "There are no training data at", rerankers["monot5"], data=tmp_path / "nowhere")


def test_other_words(rerankers, beir, tmp_path):
    words = {"false_token": "▁no", "true_token": "▁yes"}
    train("monot5", str(rerankers["mt5"]), beir, tmp_path / "out", dev=None, **SMALL, **words)
    assert load_reranker(tmp_path / "out", tokens=("▁no", "▁yes")).score("late", ["late token"]).shape == (1,)


@pytest.mark.slow
def test_a_vocabulary_that_is_not_tied_stays_so(rerankers, beir, tmp_path):
    """T5 1.1 has a matrix of its own for what it says; transformers ties what it finds to be alike."""
    base = factory.copy_of(rerankers["monot5"], tmp_path / "base")
    found = weights(base)
    from safetensors.torch import save_file

    save_file(
        {**found, "lm_head.weight": found["shared.weight"].flip(0).contiguous()},
        base / "model.safetensors",
        {"format": "pt"},
    )
    train("monot5", str(base), beir, tmp_path / "out", dev=str(beir), **SMALL)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
    assert not torch.equal(model.lm_head.weight, model.shared.weight)
