"""UR²N's claims on models so small that nothing holds, but everything is computed, and kept."""

import json

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.encoding import checkpoint_factory as factory
from tests.training.conftest import sentence, write_lines
from xtrkit.cli.app import app
from xtrkit.encoding.checkpoints import UR2N_SETTINGS
from xtrkit.errors import InputError, ModelError
from xtrkit.evaluation.measures import of_each_query
from xtrkit.reproduction import CLAIMS
from xtrkit.reproduction.claims import GROUPS, UR2N_PAPER
from xtrkit.reproduction.kept import KeptScores
from xtrkit.reproduction.laboratory import Compute
from xtrkit.reproduction.record import read_record
from xtrkit.reproduction.run import setting_of
from xtrkit.reproduction.unified_claims import (
    _alike,
    exact_bytes,
    figure_2,
    gains,
    hnsw_bytes,
    reranked,
    table_1,
    table_4,
    vector_bytes,
)
from xtrkit.reranking import load_reranker
from xtrkit.reranking.export import export_reranker
from xtrkit.retriever import Retriever
from xtrkit.unified import load_unified

SMALL = ["batch_size=8", "k_train=8", "query_length=16", "document_length=24", "k_prime=20", "dim=8", "queries=6"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name, first in (("learn", 0), ("exam", 7), ("other", 11)):
        texts = [sentence(i + first, 7) for i in range(40)]
        write_lines(folder / name / "corpus.jsonl", [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)])
        write_lines(folder / name / "queries.jsonl", [{"_id": f"q{i}", "text": sentence(i, 3)} for i in range(24)])
        judgements = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(24))]
        for split in ("train", "test"):
            write_lines(folder / name / "qrels" / f"{split}.tsv", judgements)
    factory.write_monot5(folder / "t5")
    return folder


def setting_for(sets, *changes, model="t5", tests=("exam", "other")):
    flags = [*SMALL, f"model={sets / model}", *changes]
    return setting_of([str(sets / "learn")], [str(sets / test) for test in tests], flags, UR2N_PAPER.setting)


def laboratory_for(setting, work, tell=lambda text: None):
    return UR2N_PAPER.laboratory(setting, work, tell, Compute("cpu"))


@pytest.fixture(scope="module")
def laboratory(sets, tmp_path_factory):
    made = laboratory_for(setting_for(sets), tmp_path_factory.mktemp("work"))
    made.ur2n()
    return made


@pytest.fixture(scope="module")
def given(sets, laboratory):
    """The UR²N beside the data sets, as somebody has one."""
    return factory.copy_of(laboratory.ur2n(), sets / "ur2n")


@pytest.mark.parametrize("name", GROUPS["ur2n"])
def test_every_claim_gives_tables_verdicts_and_figures(name, laboratory):
    outcome = CLAIMS[name].run(laboratory)
    assert outcome.tables
    assert outcome.verdicts
    assert outcome.figures
    assert all(np.isfinite(value) for value in outcome.figures.values())
    json.loads(outcome.record())
    for table in outcome.tables:
        assert all(len(row) == len(table.head) for row in table.rows)


def test_the_decoder_is_the_monot5s(laboratory):
    before, after = load_file(laboratory.monot5() / "model.safetensors"), load_unified(laboratory.ur2n())
    for name, tensor in load_file(laboratory.ur2n() / "model.safetensors").items():
        assert (tensor == before[name]).all()
    pairs = [("late token", "what is the retrieval"), ("the xtr", "a document")]
    expected = [load_reranker(laboratory.monot5()).score(*(query, [text]))[0] for query, text in pairs]
    np.testing.assert_allclose(after.reranker.score_pairs(pairs), expected, atol=1e-6)


def test_figures_are_those_of_the_product(laboratory):
    """Table 1's last row by the retriever that users have: the best 100, reranked."""
    test = laboratory.tests[0]
    index, model = laboratory.index(laboratory.ours, test), laboratory.unified
    retriever = Retriever(index, model.encoder, reranker=model.reranker)
    found = retriever.search_batch(list(test.queries.values()), 100, recipe=laboratory.ours.recipe, rerank_depth=100)
    run = {query: [(hit.id, hit.score) for hit in hits] for query, hits in zip(test.queries, found, strict=True)}
    expected = np.mean(list(of_each_query(run, test.qrels, ("nDCG@10",))["nDCG@10"].values()))
    assert table_1(laboratory).figures["exam UR²N"] == pytest.approx(expected, abs=1e-6)


def test_depth_0_is_the_retrieval_and_depth_d_moves_no_more_than_d(laboratory):
    test = laboratory.tests[0]
    own = laboratory.retrieved(laboratory.ours, test)
    scores = laboratory.scores([own], test)
    outcome = figure_2(laboratory)
    assert outcome.figures["exam UR²N 0"] == gains(own, test).mean() == table_1(laboratory).tables[0].rows[2][1]
    moved = 0
    for query, ranking in own.items():
        before = [document for document, _ in ranking]
        assert [document for document, _ in reranked(own, scores, 0)[query]] == before
        after = [document for document, _ in reranked(own, scores, 10)[query]]
        assert after[10:] == before[10:]
        assert sorted(after[:10]) == sorted(before[:10])
        assert [scores[query][document] for document in after[:10]] == sorted(
            (scores[query][document] for document in before[:10]), reverse=True
        )
        moved += after != before
    assert moved


def test_what_was_scored_is_read_again(sets, laboratory, given, tmp_path):
    """Another laboratory with the same files, elsewhere: nothing is encoded, and nothing reranked."""
    first = laboratory_for(setting_for(sets, model="ur2n"), tmp_path / "work")
    expected = table_1(first).figures
    second = laboratory_for(setting_for(sets, model="ur2n"), factory.copy_of(tmp_path / "work", tmp_path / "moved"))

    def refuse(*arguments, **options):
        raise AssertionError("computed again")

    second.index = second._scored = refuse
    assert table_1(second).figures == expected
    assert figure_2_of_own_lines(second) == figure_2_of_own_lines(first)
    (scores,) = (tmp_path / "moved" / "scores").glob("exam-*")
    scores.write_bytes(scores.read_bytes()[:-5])  # stopped while it wrote the last query
    with pytest.raises(AssertionError, match="computed again"):
        table_1(second)
    scores.write_text(scores.read_text().replace('"d1":', '"d1"'))
    with pytest.raises(InputError, match=r"Line 1 of .*exam-\w+\.jsonl isn't a query .* delete it"):
        table_1(second)


def figure_2_of_own_lines(laboratory):
    test = laboratory.tests[0]
    run = laboratory.words(test)
    scores = laboratory.scores([run], test)
    return [gains(reranked(run, scores, depth), test).tolist() for depth in (0, 10, 40)]


def test_a_run_that_was_stopped_goes_on(laboratory, given, sets, tmp_path):
    made = laboratory_for(setting_for(sets, model="ur2n", tests=("exam",)), tmp_path / "work")
    test = made.tests[0]
    run = made.words(test)
    some = {query: run[query][:3] for query in run}
    assert {len(found) for found in made.scores([some], test).values()} <= {1, 2, 3}
    scored = []
    score = made._scored
    made._scored = lambda *given: scored.append(given[2]) or score(*given)
    whole = made.scores([run], test)
    assert all(set(wanted[query]).isdisjoint(dict(some[query])) for wanted in scored for query in wanted)
    assert all(set(whole[query]) == set(dict(run[query])) for query in run)


def test_scores_of_another_text_are_refused(tmp_path):
    kept = KeptScores(tmp_path / "k.jsonl")
    kept.add({"q": ("late", {"b": 0.5, "a": -1.0})})
    again = KeptScores(tmp_path / "k.jsonl")
    assert list(again.of("q", "late").items()) == [("b", 0.5), ("a", -1.0)]
    assert again.of("other", "text") == {}
    with pytest.raises(InputError, match="when its text was 'late', and now it is 'early'"):
        again.of("q", "early")
    with (tmp_path / "k.jsonl").open("a") as file:
        file.write('{"query": "q", "text": "late", "scores": {"a": NaN}}\n')
    with pytest.raises(InputError, match="Line 2 of"):
        KeptScores(tmp_path / "k.jsonl")


def test_models_that_are_there_are_taken(sets, laboratory, given, tmp_path):
    told = []
    of_ur2n = laboratory_for(setting_for(sets, model="ur2n").but(data=()), tmp_path / "a", told.append)
    assert of_ur2n.ur2n() == of_ur2n.monot5() == given
    assert told == []
    factory.copy_of(laboratory.monot5(), sets / "trained")
    of_monot5 = laboratory_for(setting_for(sets, model="trained"), tmp_path / "b", told.append)
    assert of_monot5.monot5() == sets / "trained"
    made = of_monot5.ur2n()
    assert [line.split()[:2] for line in told] == [["training", "ur2n"]]
    assert laboratory_for(setting_for(sets, model="trained"), tmp_path / "b").ur2n() == made
    assert (made / UR2N_SETTINGS).is_file()
    with pytest.raises(InputError, match="What ColBERT and XTR shall be trained from isn't known"):
        of_ur2n.trained("xtr").encoder()
    (tmp_path / "c" / "monot5-base").parent.mkdir()
    named = factory.copy_of(sets / "t5", tmp_path / "c" / "monot5-base")
    assert laboratory_for(setting_for(sets).but(model=str(named)), tmp_path / "c").monot5() == named
    theirs = setting_for(sets, f"xtr={laboratory.model('xtr')}")
    assert laboratory_for(theirs, tmp_path / "d").model("xtr") == laboratory.model("xtr")


def test_table_4_by_hand(laboratory, sets, tmp_path):
    assert hnsw_bytes(1, 128) == pytest.approx(4 * 128 + 4 * (64 + 32 / 31) + 12)
    assert hnsw_bytes(1000, 128) / 1000 == pytest.approx(784.1, abs=0.1)
    outcome, test = table_4(laboratory), laboratory.tests[0]
    with laboratory.index(laboratory.ours, test) as index:
        tokens, compressed = int(index.document_offsets[-1]), vector_bytes(index)
        assert sum(file.stat().st_size for file in index.path.iterdir()) > compressed > tokens * (8 * 2 // 8)
        assert compressed == sum(
            file.stat().st_size
            for file in index.path.iterdir()
            if file.name.startswith("codec") or "vectors" in file.name
        )
    assert outcome.figures["exam shrunk"] == pytest.approx(1 - compressed / hnsw_bytes(tokens, 8))
    exact = Retriever.create(
        tmp_path / "exact", sets / "exam", model=laboratory.unified.encoder, nbits=16, split=False
    ).index
    assert exact_bytes(tokens, 40, 8) == pytest.approx(vector_bytes(exact), abs=600)  # the head of the file


def test_each_collection_counts_alike():
    each = [np.array([1.0, 0.0]), np.array([0.5] * 8)]
    assert _alike(each).mean() == pytest.approx(np.mean([0.5, 0.5]))
    assert _alike([np.ones(2), np.zeros(8)]).mean() == pytest.approx(0.5)


def run(*arguments):
    ran = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_the_command_writes_a_record_that_can_be_run_again(sets, given, laboratory, tmp_path):
    flags = [part for change in SMALL for part in ("--set", change)]
    where = ("--work", tmp_path / "work", "--device", "cpu")
    printed = run(
        "reproduce", "ur2n-table-1", "ur2n-figure-2", "--model", given, "--test", sets / "exam", *flags, *where,
        "--records", tmp_path / "records",
    )  # fmt: skip
    assert "xtrkit reproduce ur2n-table-1 --model ur2n --test exam" in printed
    record = tmp_path / "records" / "ur2n-table-1.yaml"
    assert yaml.safe_load(record.read_text())["setting"]["model"] == "ur2n"
    assert read_record(record).tolerance == 0.03
    run("reproduce", record, "--datasets", sets, *where)
    content = yaml.safe_load(record.read_text())
    content["figures"]["exam BM25"] += 0.5
    record.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"1 figures are not those of the record: .*exam BM25"):
        run("reproduce", record, "--datasets", sets, "--model", given, *where)


def test_mistakes_are_told_before_anything_is_trained(sets, checkpoints, rerankers, tmp_path):
    def refused(error, message, setting):
        with pytest.raises(error, match=message):
            laboratory_for(setting, tmp_path / "work")

    refused(InputError, r"There are no models \(--model: a T5, a monoT5 or a UR²N\)", setting_for(sets).but(model=""))
    refused(InputError, r"There are no training data \(--data\): only a UR²N", setting_for(sets).but(data=()))
    refused(InputError, r"There are no test collections", setting_for(sets).but(tests=()))
    refused(ModelError, "is of layout xtr, but a UR²N is made", setting_for(sets).but(model=str(checkpoints["xtr"])))
    refused(ModelError, "Which two tokens", setting_for(sets).but(model=str(rerankers["mt5"])))
    without = factory.copy_of(sets / "t5", tmp_path / "without")
    tokenizer = (without / "tokenizer.json").read_text()
    (without / "tokenizer.json").write_text(
        tokenizer.replace(json.dumps("▁true")[1:-1], "▁trve").replace("▁true", "▁trve")
    )
    refused(ModelError, "has no ▁true, so it can't rerank", setting_for(sets).but(model=str(without)))
    assert not (tmp_path / "work").exists()


def test_an_export_reranks_in_its_place(sets, laboratory, given, tmp_path):
    """On a CPU that is faster; another model's export is refused, and its scores are kept apart."""
    export_reranker(str(given), tmp_path / "fast", precision="fp32")
    changes = {"model": "ur2n", "tests": ("exam",)}
    own = laboratory_for(setting_for(sets, "prompt_length=40", **changes), tmp_path / "work")
    fast = laboratory_for(
        setting_for(sets, "prompt_length=40", f"reranker={tmp_path / 'fast'}", **changes), tmp_path / "work"
    )
    test = own.tests[0]
    expected, got = (made.scores([made.words(test)], test) for made in (own, fast))
    for query, scores in expected.items():
        assert list(scores) == list(got[query])
        np.testing.assert_allclose(list(got[query].values()), list(scores.values()), atol=1e-3)
    assert len(list((tmp_path / "work" / "scores").iterdir())) == 2
    export_reranker(str(sets / "t5"), tmp_path / "other", precision="fp32")
    other = laboratory_for(setting_for(sets, f"reranker={tmp_path / 'other'}", **changes), tmp_path / "work")
    with pytest.raises(ModelError, match="was not exported from"):
        other.scores([other.words(test)], test)
