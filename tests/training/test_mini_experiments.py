"""The comparison of ways to train xtrkit-mini: what it draws, what it measures, and a run of it on a small model."""

import importlib
import json

import pytest
import torch

from tests.conftest import ROOT
from tests.training.conftest import sentence, write_lines
from xtrkit.encoding import load_encoder
from xtrkit.index import Index
from xtrkit.recipes import COLBERT, Recipe
from xtrkit.training.inputs import TextInputs


@pytest.fixture
def experiments(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("xtrkit_mini_experiments")


@pytest.fixture
def work(experiments, tmp_path, checkpoints):
    """What ``prepare`` leaves: five sets of twelve queries, two of them for measuring."""
    (tmp_path / "start").symlink_to(checkpoints["native"])
    for first, name in enumerate(experiments.MIXTURE):
        documents = [sentence(15 * first + n, 44) for n in range(15)]
        queries = [sentence(15 * first + n, 3) for n in range(12)]
        examples = [[[n], [12 + n % 3]] for n in range(12)]
        content = {"queries": queries, "documents": documents, "examples": examples, "dev": [0, 1]}
        write_lines(tmp_path / "examples" / f"{name}.json", [content])
    return tmp_path


def unit(*shape, seed=0):
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


def test_its_scores_are_the_engines(experiments, tmp_path):
    documents, queries = unit(30, 6, 16), unit(3, 4, 16, seed=1)
    lengths, query_lengths = [1 + n % 6 for n in range(30)], [4, 1, 3]
    real = torch.arange(6) < torch.tensor(lengths)[:, None]
    query_real = torch.arange(4) < torch.tensor(query_lengths)[:, None]
    found = experiments.similarities((queries, query_real), (documents * real[..., None], real), k_prime=20)
    rows = [vectors[:n].numpy() for vectors, n in zip(documents, lengths, strict=True)]
    index = Index.create(tmp_path / "idx", [rows], nbits=16)
    for number, n in enumerate(query_lengths):
        for scores, recipe in zip(found, (Recipe(k_prime=20), COLBERT), strict=True):
            ranking = index.search(queries[number, :n].numpy(), 5, recipe=recipe)
            assert [int(document) for document, _ in ranking] == scores[number].topk(5).indices.tolist()


def test_ndcg_counts_grades_and_several_relevant_documents(experiments):
    scores, relevant = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0.0, 2.0, 1.0]])
    assert float(experiments.ndcg(scores, relevant, k=3)) == pytest.approx((2 / 1.58496 + 1 / 2) / (2 + 1 / 1.58496))


def test_texts_are_cut_as_the_tokenizer_cuts_them(experiments, native):
    texts = [sentence(n, length) for n, length in enumerate((2, 9, 5))]
    tokens = experiments._tokens(native, texts, "document", "cpu")
    native[0].document_length = 6
    expected = TextInputs(native, texts).features("document", range(3))
    found = experiments._features(tokens, 6)
    assert torch.equal(found["attention_mask"], expected["attention_mask"])
    assert torch.equal(found["input_ids"] * found["attention_mask"], expected["input_ids"] * found["attention_mask"])


def test_what_is_judged_elsewhere_is_not_learnt_from(experiments, beir, tmp_path):
    mined = write_lines(tmp_path / "m.jsonl", [[f"q{n}", f"d{n}", "d35", f"d{(n + 1) % 32}"] for n in range(32)])
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq39\td3\t1\n")
    found = experiments._examples(beir, mined)
    assert len(found["queries"]) == 30  # q3's positive is what a test query is about, and q2's only other negative
    assert sentence(3, 7) not in found["documents"]
    assert sentence(35, 7) not in found["documents"]  # a dev query's
    assert len(found["dev"]) == 3


@pytest.mark.parametrize("single", [True, False])
def test_batches_are_of_one_collection_or_of_several(experiments, work, single):
    bench = experiments.Bench(work, "cpu", 0)
    setting = experiments.Setting(experiments.BASE.but(batch_size=6), single=single)
    drawn = experiments.batches(bench.sets, setting, seed=1)
    counts = set()
    for _ in range(8):
        queries, documents = next(drawn)
        numbers, positives = documents["number"].view(6, 2), queries["positives"][:, 0]
        assert torch.equal(numbers[:, 0], positives)
        assert not (numbers[:, 1] == positives).any()
        counts.add(len({int(number) // 10_000_000 for number in positives}))
    assert (counts == {1}) == single


def test_a_negative_that_is_mined_scores_below_the_positive(experiments, work):
    bench = experiments.Bench(work, "cpu", 0)
    for collection, found in zip(bench.sets.values(), bench.mine(bench.sets, {}, 0.0).values(), strict=True):
        assert sorted(found) == collection.training
        assert all(set(names).isdisjoint(collection.examples[number][0]) for number, names in found.items())
    assert any(names for names in found.values())


def test_settings_are_compared_and_the_mean_of_seeds_is_written(experiments, work, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "SEEDS", (1, 2))
    fields = ["top_layers=1", "steps=3", "batch_size=4", "document_length=16", "learning_rate=0.01"]
    options = ["--work", str(work), "--device", "cpu", *(part for field in fields for part in ("--set", field))]

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["experiments", *arguments, *options])
        experiments.main()

    run("compare", "--out", str(tmp_path / "out"), "--setting", "mixed", "--setting", "mined")
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert list(figures) == ["start", "mixed", "mined"]
    sets = {*experiments.MIXTURE, "halves"}
    assert all(set(found) == sets for name in ("mixed", "mined") for run_ in figures[name] for found in run_.values())
    run("train", "--out", str(tmp_path / "out"), "--setting", "single", "--share", "0.5")
    before = load_encoder(work / "start").model.state_dict()
    for name in ("mean", "mean-mined"):
        after = load_encoder(tmp_path / "out" / name).model.state_dict()
        changed = {key for key, tensor in after.items() if not torch.equal(tensor, before[key])}
        assert changed
        assert not any("embeddings" in key for key in changed)
