"""Test collections, runs and measures: the rules that make figures comparable."""

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluation.beir import read_qrels, read_test_collection
from xtrkit.evaluation.bm25 import BM25
from xtrkit.evaluation.measures import evaluate, of_each_query, parse_measures
from xtrkit.evaluation.run_files import read_run, write_qrels, write_run
from xtrkit.evaluation.runs import without_identical_ids
from xtrkit.passage import Passage


@pytest.fixture
def beir(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text(
        '{"_id": "q2", "text": "two"}\n{"_id": "q1", "text": "one"}\n{"_id": "q3", "text": "-"}\n'
    )
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\nq2\tb\t2\nq1\tc\t0\n")
    return tmp_path


def test_only_judged_queries_are_asked_in_the_order_of_their_file(beir):
    test = read_test_collection(beir)
    assert test.queries == {"q2": "two", "q1": "one"}
    assert list(test.queries) == ["q2", "q1"]
    assert test.qrels == {"q1": {"a": 1, "c": 0}, "q2": {"b": 2}}


def test_a_missing_split_names_those_there_are(beir):
    with pytest.raises(CollectionError, match=r"There is no .*dev\.tsv: .*\(splits found: test\)"):
        read_test_collection(beir, "dev")


def test_a_judged_query_without_text(beir):
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq9\ta\t1\n")
    with pytest.raises(CollectionError, match="judges the query 'q9'"):
        read_test_collection(beir)


def test_trec_qrels_are_read_too(tmp_path):
    path = tmp_path / "qrels.txt"
    path.write_text("q1 0 a 1\nq1 0 b 0\nq2 Q0 c 3\n")
    assert read_qrels(path) == {"q1": {"a": 1, "b": 0}, "q2": {"c": 3}}


@pytest.mark.parametrize(
    "text",
    [
        "q1 0\ta 1\nq2\tQ0 c\t3\n",  # tabs and blanks, which are alike to trec_eval
        "q1 0 a 1.0\r\nq2  Q0   c  3",
        '{"q1": {"a": 1},\n "q2": {"c": 3}}',  # pytrec_eval's and ranx's
    ],
)
def test_other_forms_of_qrels(tmp_path, text):
    (tmp_path / "qrels").write_text(text)
    assert read_qrels(tmp_path / "qrels") == {"q1": {"a": 1}, "q2": {"c": 3}}


@pytest.mark.parametrize("text", ['{"q1": {"a": "high"}}', '{"q1": ["a"]}', '{"q1": {"a": 1}'])
def test_json_that_is_no_qrels(tmp_path, text):
    (tmp_path / "qrels").write_text(text)
    with pytest.raises(CollectionError, match=r"expected judgements|whole-number relevance"):
        read_qrels(tmp_path / "qrels")


@pytest.mark.parametrize("line", ["q1\ta", "q1\ta\tyes", "q1\ta\t--5", "q1\ta\t²", "q1 a b c d"])
def test_bad_qrels_are_told_with_their_line(tmp_path, line):
    path = tmp_path / "qrels.tsv"
    path.write_text(f"query-id\tcorpus-id\tscore\n{line}\n")
    with pytest.raises(CollectionError, match="line 2: expected query, document and whole-number relevance"):
        read_qrels(path)


def test_documents_with_the_id_of_the_query_are_dropped_before_the_cut():
    run = {"q": [("q", 0.9), ("a", 0.8), ("b", 0.7)], "r": [("a", 0.5), ("b", 0.4), ("c", 0.3)]}
    assert without_identical_ids(run, {}, 2) == {"q": [("a", 0.8), ("b", 0.7)], "r": [("a", 0.5), ("b", 0.4)]}


def test_queries_without_answers_count_as_zero():
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}}
    assert evaluate({"q1": [("a", 1.0)]}, qrels, ["nDCG@10", "R@100"]) == {"nDCG@10": 0.5, "R@100": 0.5}
    assert evaluate({}, qrels, ["RR@10"]) == {"RR@10": 0.0}


def test_measures_that_divide_by_what_was_found_or_is_relevant():
    qrels = {"q1": {"a": 1, "b": 0}, "q2": {"b": 1}, "q3": {"c": 0}}
    run = {"q1": [("a", 2.0), ("x", 1.0)], "q3": [("c", 1.0)]}
    found = of_each_query(run, qrels, ["Judged@2", "Compat", "NumRel"])
    assert found["Judged@2"] == {"q1": 0.5, "q2": 0.0, "q3": 1.0}
    assert found["NumRel"] == {"q1": 1, "q2": 1, "q3": 0}
    assert found["Compat"]["q1"] > 0
    assert (found["Compat"]["q2"], found["Compat"]["q3"]) == (0.0, 0.0)
    assert evaluate({}, qrels, ["Judged@10", "Compat"]) == {"Judged@10": 0.0, "Compat": 0.0}


def test_ranks_decide_where_scores_are_equal():
    run = {"q": [("a", 0.5), ("b", 0.5), ("c", 0.5)]}  # trec_eval would put c first
    assert evaluate(run, {"q": {"a": 1}}, ["RR@10"]) == {"RR@10": 1.0}


def test_graded_ndcg_by_hand():
    run = {"q": [("a", 3.0), ("b", 2.0), ("c", 1.0)]}
    gained = 1 / np.log2(2) + 3 / np.log2(4)
    ideal = 3 / np.log2(2) + 1 / np.log2(3)
    assert evaluate(run, {"q": {"a": 1, "c": 3}}, ["nDCG@10"]) == {"nDCG@10": pytest.approx(gained / ideal)}


@given(st.integers(0, 2**32 - 1))
def test_measures_are_those_of_trec_eval_for_the_run_that_is_written(tmp_path_factory, seed):
    random = np.random.default_rng(seed)
    documents = [f"d{i}" for i in range(15)]
    qrels = {q: {d: int(random.integers(0, 3)) for d in documents[:8]} for q in ("q1", "q2")}
    run = {  # few distinct scores: many ties
        q: sorted(((d, float(random.integers(0, 4)) / 4) for d in documents), key=lambda entry: -entry[1])
        for q in qrels
    }
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    write_run(run, path)
    written = {q: dict(ranking) for q, ranking in read_run(path).items()}
    assert [[d for d, _ in ranking] for ranking in read_run(path).values()] == [[d for d, _ in r] for r in run.values()]
    reference = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.10"}).evaluate(written)
    ours = evaluate(run, qrels, ["nDCG@10", "R@10"])
    assert ours["nDCG@10"] == pytest.approx(np.mean([values["ndcg_cut_10"] for values in reference.values()]))
    assert ours["R@10"] == pytest.approx(np.mean([values["recall_10"] for values in reference.values()]))


def test_scores_in_a_run_fall_strictly(tmp_path):
    path = tmp_path / "run.trec"
    write_run({"q": [("a", 0.5), ("b", 0.5), ("c", 0.5), ("d", 0.25)]}, path, "tag")
    lines = [line.split() for line in path.read_text().splitlines()]
    assert [line[2:4] for line in lines] == [["a", "1"], ["b", "2"], ["c", "3"], ["d", "4"]]
    assert {(line[0], line[1], line[5]) for line in lines} == {("q", "Q0", "tag")}
    scores = np.float32([float(line[4]) for line in lines])
    assert (np.diff(scores) < 0).all()


def test_a_bad_run_is_told_with_its_line(tmp_path):
    path = tmp_path / "run.trec"
    path.write_text("q Q0 a 1 0.5 tag\nq Q0 b 2 high tag\n")
    with pytest.raises(CollectionError, match="line 2: the score 'high' is no number; expected 'query Q0"):
        read_run(path)


def test_measures_by_name():
    assert parse_measures("nDCG@10, R@100 RR@10") == ["nDCG@10", "R@100", "RR@10"]
    assert parse_measures("P(rel=2, judged_only=True)@5,R(rel=2)@10") == ["P(rel=2, judged_only=True)@5", "R(rel=2)@10"]
    assert parse_measures("map ndcg_cut_10 recip_rank P.5 AP") == ["AP", "nDCG@10", "RR", "P@5"]
    with pytest.raises(InputError, match="Unknown measure 'nDCG-10'"):
        parse_measures("nDCG-10")
    with pytest.raises(InputError, match="No measures were given"):
        parse_measures(" ")


def test_measures_by_two_names_have_one_value():
    names = parse_measures("RR MRR AP MAP nDCG@10 NDCG@10")
    values = evaluate({"q": [("x", 2.0), ("a", 1.0)]}, {"q": {"a": 1}}, names)
    assert values["RR"] == values["MRR"] == 0.5
    assert values["nDCG@10"] == values["NDCG@10"] > 0


@pytest.mark.parametrize("name", ["R@0", "nDCG@1.5", "nonsense", "alpha_nDCG@10"])
def test_measures_that_cannot_be_computed_are_refused_before_the_search(name):
    with pytest.raises(InputError, match="Unknown measure"):
        parse_measures(name)


def test_qrels_go_out_and_come_back(tmp_path):
    qrels = {"q1": {"a": 1, "b": 0}, "q2": {"c": 3}}
    write_qrels(qrels, tmp_path / "qrels.txt")
    assert read_qrels(tmp_path / "qrels.txt") == qrels


def test_ids_that_trec_cannot_hold(tmp_path):
    with pytest.raises(InputError, match="The id 'a b' has white space"):
        write_run({"q": [("a b", 1.0)]}, tmp_path / "run.trec")
    assert not (tmp_path / "run.trec").exists()


def test_an_empty_judged_query_is_named(beir):
    (beir / "queries.jsonl").write_text('{"_id": "q1", "text": ""}\n{"_id": "q2", "text": "two"}\n')
    with pytest.raises(CollectionError, match="the judged query 'q1' is empty"):
        read_test_collection(beir)


def test_bm25_of_a_corpus_without_words():
    with pytest.raises(InputError, match="BM25 finds no words"):
        BM25([Passage("a", "the of")])


def test_bm25_by_hand():
    """Lucene's formula, which bm25s uses: idf(t) · tf / (tf + k1 (1 − b + b · length / mean length))."""
    bm25 = BM25([Passage("a", "cat cat dog"), Passage("b", "dog"), Passage("c", "bird bird")])
    (found,) = bm25.search({"q": "cat"}, 3).values()
    idf = np.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    assert found == [("a", pytest.approx(idf * 2 / (2 + 0.9 * (1 - 0.4 + 0.4 * 3 / 2)), rel=1e-5))]


def test_bm25_of_words_that_are_nowhere():
    assert BM25([Passage("a", "cat")]).search({"q": "zebra", "r": ""}, 5) == {"q": [], "r": []}
