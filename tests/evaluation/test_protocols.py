"""Test collections in the exact layouts in which they are published, and the rules that their figures follow."""

import gzip
import json

import pytest

from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluating.measuring import measure_run
from xtrkit.evaluation.beir import CQADUPSTACK
from xtrkit.evaluation.miracl import LANGUAGES
from xtrkit.evaluation.opening import open_tests
from xtrkit.evaluation.run_files import FileRun


def beir(folder, qrels="query-id\tcorpus-id\tscore\n1\t1\t1\n1\ta\t1\n", queries=("1",)):
    (folder / "qrels").mkdir(parents=True)
    for split in ("test", "dev"):
        (folder / "qrels" / f"{split}.tsv").write_text(qrels)
    (folder / "queries.jsonl").write_text("".join(f'{{"_id": "{q}", "text": "query {q}"}}\n' for q in queries))
    (folder / "corpus.jsonl").write_text('{"_id": "a", "title": "", "text": "A text."}\n')
    return folder


def measured(test, run, measures=None, index=None):
    return measure_run("run", FileRun(run), test, measures or test.protocol.measures, index)


def notes_of(test):
    return {note.kind: note.facts for note in test.notes}


# BEIR


def test_a_beir_folder_drops_documents_with_the_id_of_the_query(tmp_path):
    (test,) = open_tests(beir(tmp_path / "arguana", "query-id\tcorpus-id\tscore\n1\ta\t1\n"))
    assert (test.name, test.protocol.name, test.protocol.measures) == ("arguana", "BEIR", ("nDCG@10", "R@100"))
    row = measured(test, {"1": [("1", 9.0), ("a", 8.0)]}, ["RR@10"])
    assert row.measures == {"RR@10": 1.0}
    assert row.run == {"1": [("a", 8.0)]}
    kept = measured(test.keeping_identical(), {"1": [("1", 9.0), ("a", 8.0)]}, ["RR@10"])  # ids that are counted apart
    assert kept.measures == {"RR@10": 0.5}


def test_ms_marco_in_beir_is_its_dev_split(tmp_path):
    folder = beir(tmp_path / "msmarco")
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
    assert open_tests(folder)[0].qrels == {"1": {"a": 1}}
    (trec_dl,) = open_tests(folder, "test")
    assert trec_dl.qrels == {"1": {"1": 1, "a": 1}}
    assert "msmarco_split" in notes_of(trec_dl)


def test_trec_covid_is_capped_and_tells_its_version(tmp_path):
    relevant = "".join(f"1\td{n}\t2\n" for n in range(200))
    (test,) = open_tests(beir(tmp_path / "trec-covid", "query-id\tcorpus-id\tscore\n" + relevant))
    assert test.protocol.measures == ("nDCG@10", "R_cap@100")
    assert notes_of(test)["trec_covid_version"] == {"judgements": 200, "beir": False}
    assert measured(test, {"1": [(f"d{n}", -n) for n in range(100)]}).measures["R_cap@100"] == 1.0


@pytest.mark.parametrize(("n", "version"), [(2962, "first"), (2214, "second"), (7, None)])
def test_touche_tells_its_version(tmp_path, n, version):
    qrels = "query-id\tcorpus-id\tscore\n" + "".join(f"1\td{place}\t1\n" for place in range(n))
    (test,) = open_tests(beir(tmp_path / "webis-touche2020", qrels))
    assert notes_of(test)["touche_version"] == {"judgements": n, "version": version}


def test_cqadupstack_is_twelve_collections(tmp_path):
    for forum in CQADUPSTACK:
        beir(tmp_path / "cqadupstack" / forum)
    tests = open_tests(tmp_path / "cqadupstack")
    assert [test.name for test in tests] == sorted(CQADUPSTACK)
    assert [test.index_name for test in tests] == sorted(CQADUPSTACK)


# MS MARCO and TREC-DL


def msmarco(folder, packed=False):
    folder.mkdir()
    files = {
        "queries.dev.small.tsv": "1048585\twhat is paula?\n7067032\tan id that is a passage's\n2\tunjudged\n",
        "qrels.dev.small.tsv": "1048585\t0\t7187158\t1\n7067032\t0\t7067032\t1\n",
        "msmarco-test2019-queries.tsv": "19335\tanthropological definition of environment\n47923\taxon terminals\n",
        "2019qrels-pass.txt": "19335 Q0 1017759 0\n19335 Q0 8412684 3\n19335 Q0 1720389 1\n",
        "collection.tsv": "7187158\tPaula is a name.\n7067032\tA passage.\n",
    }
    for name, text in files.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_ms_marco_as_published(tmp_path, packed):
    (test,) = open_tests(msmarco(tmp_path / "ms", packed))
    assert test.protocol.measures == ("RR@10", "nDCG@10", "R@50", "R@1000")
    assert list(test.queries) == ["1048585", "7067032"]
    assert notes_of(test)["unjudged_queries"]["queries"] == 1
    assert test.corpus.name == "collection.tsv" + ".gz" * packed
    # a passage with the query's number is no copy of the query; queries that the run lacks count as 0
    row = measured(test, {"7067032": [("7067032", 2.0)]})
    assert row.measures["RR@10"] == 0.5
    row = measured(test, {"1048585": [(f"x{n}", -n) for n in range(10)] + [("7187158", -11.0)]}, ["RR@10", "R@1000"])
    assert row.measures == {"RR@10": 0.0, "R@1000": 0.5}


def test_ms_marco_as_anserini_names_it(tmp_path):
    folder = msmarco(tmp_path / "ms")
    (folder / "queries.dev.small.tsv").rename(folder / "topics.msmarco-passage.dev-subset.txt")
    (folder / "qrels.dev.small.tsv").rename(folder / "qrels.msmarco-passage.dev-subset.txt")
    (folder / "2019qrels-pass.txt").rename(folder / "qrels.dl19-passage.txt")
    (folder / "msmarco-test2019-queries.tsv").rename(folder / "topics.dl19-passage.txt")
    assert list(open_tests(folder)[0].queries) == ["1048585", "7067032"]
    assert list(open_tests(folder, "dl19")[0].queries) == ["19335"]


def test_trec_dl_has_grades(tmp_path):
    (test,) = open_tests(msmarco(tmp_path / "ms"), "dl19")
    assert test.protocol.name == "TREC-DL"
    assert notes_of(test)["unjudged_queries"] == {"queries": 1, "of": 2, "examples": ["47923"]}
    row = measured(test, {"19335": [("1720389", 3.0), ("8412684", 2.0), ("1017759", 1.0)]})
    assert row.measures["RR(rel=2)@10"] == 0.5  # grade 1 is not relevant
    assert row.measures["nDCG@10"] == pytest.approx((1 + 3 / 1.5849625007) / (3 + 1 / 1.5849625007))  # gains as graded


def test_splits_that_are_not_there(tmp_path):
    folder = msmarco(tmp_path / "ms")
    with pytest.raises(CollectionError, match=r"no split 'dl21': expected one of dev, dl19, dl20"):
        open_tests(folder, "dl21")
    with pytest.raises(CollectionError, match=r"no .*msmarco-test2020-queries.tsv.*with judgements there: dev, dl19"):
        open_tests(folder, "dl20")


# LoTTE


def lotte(root, topics=("writing", "pooled"), split="test"):
    for topic in topics:
        folder = root / topic / split
        folder.mkdir(parents=True)
        (folder / "collection.tsv").write_text("0\tUse fewer words.\n1\tNouns are names.\n")
        for kind in ("search", "forum"):
            lines = [{"qid": 0, "query": "how to write?", "url": "u", "answer_pids": [0, 5]},
                     {"qid": 1, "query": "what are nouns?", "url": "u", "answer_pids": [1]}]  # fmt: skip
            (folder / f"qas.{kind}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            (folder / f"questions.{kind}.tsv").write_text("0\thow to write?\n1\twhat are nouns?\n")
    return root


def test_lotte_as_published(tmp_path):
    tests = open_tests(lotte(tmp_path / "lotte"))
    assert [test.name for test in tests] == ["writing search", "writing forum", "pooled search", "pooled forum"]
    assert [test.index_name for test in tests] == ["writing", "writing", "pooled", "pooled"]
    test = tests[0]
    assert test.corpus == tmp_path / "lotte" / "writing" / "test" / "collection.tsv"
    # passage 0 is no copy of query 0; a query without an answer counts; the sixth passage is too late
    ranking = [("9", 6.0), ("8", 5.0), ("7", 4.0), ("6", 3.0), ("0", 2.0), ("5", 1.0)]
    assert measured(test, {"0": ranking}).measures == {"Success@5": 0.5}
    assert measured(test, {"0": [("x", 9.0), *ranking]}).measures == {"Success@5": 0.0}


@pytest.mark.parametrize("below", ["", "writing", "writing/test"])
def test_lotte_from_within(tmp_path, below):
    names = [test.name for test in open_tests(lotte(tmp_path / "lotte", ("writing",)) / below)]
    assert names == ["writing search", "writing forum"]


def test_lottes_other_split(tmp_path):
    root = lotte(tmp_path / "lotte", ("writing",), split="dev")
    assert [test.name for test in open_tests(root, "dev")] == ["writing search", "writing forum"]
    with pytest.raises(CollectionError, match="nothing of LoTTE's split 'test'"):
        open_tests(root, "test")
    (root / "writing" / "dev" / "qas.search.jsonl").write_text('{"qid": 0, "query": "q"}\n')
    with pytest.raises(CollectionError, match=r"qas.search.jsonl, line 1: expected"):
        open_tests(root, "dev")


# MIRACL


def miracl(root, languages=("yo", "sw", "ar")):
    judged = "0\tQ0\t5#2\t1\n0\tQ0\t5#0\t0\n1\tQ0\t7#1\t1\n"
    for language in languages:
        for kind in ("topics", "qrels"):
            (root / f"miracl-v1.0-{language}" / kind).mkdir(parents=True)
        folder = root / f"miracl-v1.0-{language}"
        (folder / "topics" / f"topics.miracl-v1.0-{language}-dev.tsv").write_text("0\tNani?\n1\tWapi?\n")
        (folder / "topics" / f"topics.miracl-v1.0-{language}-test-b.tsv").write_text("9\tLini?\n")
        (folder / "qrels" / f"qrels.miracl-v1.0-{language}-dev.tsv").write_text(judged)
    return root


def test_miracl_as_published(tmp_path):
    tests = open_tests(miracl(tmp_path / "miracl"))
    assert [test.name for test in tests] == ["ar", "sw", "yo"]  # in the order of the paper's table
    assert set(LANGUAGES) >= {"ar", "sw", "yo"}
    assert len(LANGUAGES) == 18
    assert tests[0].protocol.measures == ("nDCG@10", "R@100")
    assert tests[0].qrels == {"0": {"5#2": 1, "5#0": 0}, "1": {"7#1": 1}}
    assert measured(tests[0], {"0": [("5#2", 1.0)]}).measures == {"nDCG@10": 0.5, "R@100": 0.5}
    assert [test.name for test in open_tests(tmp_path / "miracl" / "miracl-v1.0-sw")] == ["sw"]
    assert [test.name for test in open_tests(tmp_path / "miracl" / "miracl-v1.0-sw" / "topics")] == ["sw"]
    with pytest.raises(CollectionError, match=r"There is no .*qrels.miracl-v1.0-ar-test-b.tsv"):
        open_tests(tmp_path / "miracl", "test-b")
    with pytest.raises(CollectionError, match=r"has no topics\.miracl-v1\.0-LANG-train\.tsv"):
        open_tests(tmp_path / "miracl", "train")


# TREC's own


def test_judgements_alone_and_with_topics(tmp_path):
    """A file for trec_eval, and topics wherever they lie."""
    (tmp_path / "qrels.robust.txt").write_text("301 0 FBIS3-1 1\n301 0 FBIS3-2 0\n302 0 FBIS3-1 2\n")
    (test,) = open_tests(tmp_path / "qrels.robust.txt")
    assert (test.name, test.protocol.measures) == ("qrels.robust", ("AP", "nDCG@10", "P@10"))
    assert test.queries == {"301": "", "302": ""}
    # numbers of topics and of documents have nothing to do with each other
    assert measured(test, {"301": [("301", 2.0), ("FBIS3-1", 1.0)]}).measures["AP"] == 0.25
    topics = tmp_path / "topics.txt"
    topics.write_text(
        "<top>\n<num> Number: 301\n<title> crime\n<desc> what of it?\n</top>\n" * 2 + "<top><num> 302<title>x"
    )
    (test,) = open_tests(tmp_path / "qrels.robust.txt", topics=topics)
    assert test.queries == {"301": "crime", "302": "x"}
    assert "queries_twice" in notes_of(test)
    with pytest.raises(CollectionError, match="topic 302: no <desc>"):
        open_tests(tmp_path / "qrels.robust.txt", topics=topics, field="desc")
    topics.write_text("301\tcrime\n")
    with pytest.raises(CollectionError, match=r"judges the query '302', which topics\.txt does not have"):
        open_tests(tmp_path / "qrels.robust.txt", topics=topics)
    with pytest.raises(CollectionError, match="is one file, which has no split 'dev'"):
        open_tests(tmp_path / "qrels.robust.txt", "dev")
    with pytest.raises(CollectionError, match="Topics belong to a file of judgements"):
        open_tests(beir(tmp_path / "set"), topics=topics)


def test_miracl_packed(tmp_path):
    (file,) = miracl(tmp_path / "miracl", ("sw",)).glob("*/qrels/*")
    (file.parent / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert open_tests(tmp_path / "miracl")[0].qrels["1"] == {"7#1": 1}


# What is none


def test_what_is_no_test_collection(tmp_path):
    with pytest.raises(CollectionError, match=r"There is no test collection at .*: expected a BEIR folder"):
        open_tests(tmp_path / "none")
    with pytest.raises(CollectionError, match=r"There is no .*queries.jsonl: expected a BEIR folder"):
        open_tests(tmp_path)
    (tmp_path / "text.txt").write_text("no questions")
    with pytest.raises(CollectionError, match="line 1: expected query, document and whole-number relevance"):
        open_tests(tmp_path / "text.txt")


def test_a_run_of_another_collection(tmp_path):
    (test,) = open_tests(beir(tmp_path / "set"))
    with pytest.raises(InputError, match=r"The run run has none of the 1 queries of set \('1'\), but \('q9'\)"):
        measured(test, {"q9": [("a", 1.0)]})
    with pytest.raises(InputError, match=r"has no document that the judgements of set name, but \('x'\)"):
        measured(test, {"1": [("x", 1.0)]})
