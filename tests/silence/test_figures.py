"""Figures that are not what they say: what is missing, comes twice, is dropped or guessed is told, and counted."""

import gzip
import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from xtrkit.cli.app import app
from xtrkit.encoding import load_encoder
from xtrkit.errors import CollectionError, InputError, MissingExtraError
from xtrkit.evaluation import evaluate, read_test_collection
from xtrkit.evaluation.bm25 import BM25
from xtrkit.evaluation.measures import depth_of, parse_measures
from xtrkit.evaluation.open_qa import tokeniser
from xtrkit.evaluation.qrels import read_judgements
from xtrkit.evaluation.run_files import read_run
from xtrkit.evaluation.runs import without_identical_ids
from xtrkit.lexical.words import facts_of, words
from xtrkit.passage import Passage
from xtrkit.retriever import Retriever

TEXTS = {
    "mice": "Mice eat cheese and seeds.",
    "cats": "Cats hunt mice at night.",
    "bread": "Bread is dough that you knead and bake.",
    "rain": "It rained on the day of the fair.",
    "whales": "Whales sing in the deep sea.",
    "bees": "Bees dance to show where nectar is.",
}
QUERIES = {name: f"what about {name}?" for name in TEXTS}
QRELS = "query-id\tcorpus-id\tscore\n" + "".join(f"q-{name}\t{name}\t1\n" for name in TEXTS)
QUICK = ("--k-prime", 100, "--no-maxsim", "--no-fusion")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "idx"
    Retriever.create(path, [Passage(*item) for item in TEXTS.items()]).close()
    return path


def jsonl(records):
    return "".join(json.dumps({"_id": name, "text": text}, ensure_ascii=False) + "\n" for name, text in records)


def folder(path, *, corpus=TEXTS, queries=None, qrels=QRELS):
    """A BEIR folder; queries have ids of their own."""
    asked = {f"q-{name}": text for name, text in QUERIES.items()} if queries is None else queries
    (path / "qrels").mkdir()
    (path / "corpus.jsonl").write_text(corpus if isinstance(corpus, str) else jsonl(corpus.items()), encoding="utf-8")
    (path / "queries.jsonl").write_text(asked if isinstance(asked, str) else jsonl(asked.items()), encoding="utf-8")
    (path / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return path


def run(*arguments):
    ran = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if ran.exception and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def evaluated(index, beir, *arguments):
    """The JSON of an evaluation; every note's sentence stands below the table, too."""
    found = json.loads(run("evaluate", index, beir, *QUICK, *arguments, "--json"))
    shown = run("evaluate", index, beir, *QUICK, *arguments)
    for note in found["notes"].values():
        assert " ".join(note["sentence"].split()) in " ".join(shown.split())
    return found


def test_nothing_is_told_where_there_is_nothing_to_tell(index, tmp_path):
    found = evaluated(index, folder(tmp_path), "--measures", "nDCG@3")
    assert set(found["notes"]) == {"bm25_words"}
    assert found["notes"]["bm25_words"]["looks_english"]
    assert found["depth"] == 100


# Judged documents that the index, or the corpus, does not have


def test_judged_documents_that_the_index_lacks(tmp_path):
    beir = folder(tmp_path)
    Retriever.create(tmp_path / "idx", [Passage("mice", TEXTS["mice"])]).close()
    found = evaluated(tmp_path / "idx", beir)
    missing = found["notes"]["missing_documents"]
    assert (missing["documents"], missing["judged"], missing["relevant"]) == (5, 6, 5)
    assert missing["queries_without_any"] == 5
    assert missing["examples"] == ["cats", "bread", "rain"]
    assert "5 of 6 judged documents are not in the index, 5 of them relevant to a query" in missing["sentence"]
    assert found["notes"]["other_collection"]["in_corpus_alone"] == 5
    assert found["notes"]["fewer_documents_than_depth"]["documents"] == 1


def test_a_split_index_has_the_documents_that_its_passages_were_cut_from(tmp_path):
    beir = folder(tmp_path, qrels=f"{QRELS}q-mice\tgone\t0\n")
    long = {name: " ".join([text] * 20) for name, text in TEXTS.items()}
    encoder = load_encoder(document_length=16)
    made = Retriever.create(tmp_path / "idx", [Passage(*item) for item in long.items()], model=encoder, split=True)
    assert "mice" not in set(made.index.ids())
    made.close()
    found = evaluated(tmp_path / "idx", beir)
    missing = found["notes"]["missing_documents"]
    assert (missing["documents"], missing["relevant"], missing["examples"]) == (1, 0, ["gone"])
    assert missing["sentence"] == "1 of 7 judged documents is not in the index, none of them relevant ('gone')."
    assert "other_collection" not in found["notes"]


def test_documents_that_were_deleted_from_the_index(tmp_path):
    beir = folder(tmp_path)
    with Retriever.create(tmp_path / "idx", [Passage(*item) for item in TEXTS.items()]) as retriever:
        retriever.delete(["rain", "bees"])
    found = evaluated(tmp_path / "idx", beir)
    assert found["notes"]["missing_documents"]["examples"] == ["rain", "bees"]
    assert found["notes"]["other_collection"]["examples_of_corpus"] == ["bees", "rain"]


def test_documents_that_the_corpus_lacks(index, tmp_path):
    beir = folder(tmp_path, corpus={name: TEXTS[name] for name in ("mice", "cats", "bees")})
    found = evaluated(index, beir)
    assert found["notes"]["missing_in_corpus"]["documents"] == 3
    assert found["notes"]["other_collection"]["in_index_alone"] == 3
    assert "missing_documents" not in found["notes"]
    found = evaluated(index, beir, "--baseline", "none")
    assert set(found["notes"]) == {"fewer_documents_than_depth"}


def test_no_corpus_or_that_of_another_collection(index, tmp_path):
    beir = folder(tmp_path, corpus={"other": "another text"})
    with pytest.raises(CollectionError, match="has no document that its judgements name"):
        run("evaluate", index, beir)
    (beir / "corpus.jsonl").unlink()
    (beir / "readme.md").write_text("This is not the corpus.")
    assert "no_baseline" in evaluated(index, beir)["notes"]


# Ids with white space around them


@pytest.mark.parametrize(
    "changed",
    [
        QRELS.replace("\t1\n", " \t1\n"),
        QRELS.replace("q-", " q-"),
        QRELS.replace("\t1\n", "\u00a0\t1 \r\n"),
        QRELS.replace("q-", "\u200bq-"),
    ],
    ids=["behind documents", "before queries", "no-break spaces and CRLF", "zero-width spaces"],
)
def test_white_space_in_judgements(index, tmp_path, changed):
    found = evaluated(index, folder(tmp_path, qrels=changed))
    assert found["systems"][0]["measures"]["R@100"] == 1.0
    (trimmed,) = [note for kind, note in found["notes"].items() if kind.startswith("trimmed_ids_of_judged")]
    assert (trimmed["ids"], trimmed["same"]) == (6, 0)


def test_white_space_in_queries_index_and_corpus(tmp_path):
    texts = {f"{name} ": text for name, text in TEXTS.items()} | {"mice": "Mice again."}
    beir = folder(tmp_path, corpus=texts, queries={f"\tq-{name}": text for name, text in QUERIES.items()})
    Retriever.create(tmp_path / "idx", [Passage(*item) for item in texts.items()]).close()
    found = evaluated(tmp_path / "idx", beir, "--measures", "RR@10 R@100", "-o", tmp_path / "run.trec")
    assert [row["measures"] for row in found["systems"]] == [{"RR@10": 1.0, "R@100": 1.0}] * 2
    assert found["notes"]["trimmed_ids_of_queries"]["ids"] == 6
    for place in ("index", "corpus"):
        note = found["notes"][f"trimmed_ids_of_{place}"]
        assert (note["ids"], note["same"], note["same_examples"]) == (6, 1, ["mice"])
        assert "came twice ('mice'), taken for one and the same" in note["sentence"]
    (written,) = tmp_path.glob("run.xtr*")
    documents = [line.split()[2] for line in written.read_text().splitlines() if line.startswith("q-mice ")]
    assert sorted(documents) == sorted(TEXTS)


def test_white_space_in_python():
    found = evaluate({"q ": [("d1", 1.0)]}, {"q": {"d1\n": 1}}, ["RR"])
    assert found == {"RR": 1.0}
    assert [note.kind for note in found.notes] == ["trimmed_ids_of_run_and_judgements"]
    assert [note.facts["ids"] for note in found.notes] == [2]


# How deep is searched


def test_a_cut_off_beyond_100_sees_what_it_says(tmp_path):
    texts = {f"d{n}": f"number {n}" for n in range(300)}
    beir = folder(tmp_path, corpus=texts, queries={"q": "number 7"}, qrels="".join(f"q\t{d}\t1\n" for d in texts))
    Retriever.create(tmp_path / "idx", [Passage(*item) for item in texts.items()]).close()
    found = evaluated(tmp_path / "idx", beir, "--measures", "R@100 R@200 R@1000", "-o", tmp_path / "run.trec")
    for row in found["systems"]:
        assert row["measures"] == {"R@100": 1 / 3, "R@200": 2 / 3, "R@1000": 1.0}
    assert found["depth"] == 1000
    for written in tmp_path.glob("run.*"):
        assert len(written.read_text().splitlines()) == 300
    assert "1 query, 1,000 documents deep" in run("evaluate", tmp_path / "idx", beir, *QUICK, "--measures", "R@1000")
    assert found["notes"]["fewer_documents_than_depth"]["measures"] == ["R@1000"]


@pytest.mark.parametrize(
    ("names", "depth"),
    [
        ("nDCG@10", 100),
        ("R@1000 RR@10", 1000),
        ("Success@250", 250),
        ("AP", 1000),
        ("RR@10 Bpref", 1000),
        ("nDCG(judged_only=True)@10", 1000),
        ("IPrec@0.1", 1000),
        ("R@3000 AP", 3000),
    ],
)
def test_the_deepest_measure_says_how_deep(names, depth):
    assert depth_of(parse_measures(names)) == depth


def test_a_run_that_ends_before_the_cut_off():
    run = {"q": [(f"d{n}", 100.0 - n) for n in range(100)]}
    found = evaluate(run, {"q": {f"d{n}": 1 for n in range(200)}}, ["R@100", "R@1000", "nDCG@10"])
    (note,) = found.notes
    assert note.kind == "short_rankings"
    assert note.sentence == "The longest ranking has 100 documents: R@1000 sees no more than these."


# Pairs, queries and documents that come twice


def test_a_pair_judged_twice(tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("q1\ta\t2\nq1\tb\t1\nq1\ta\t0\nq2\tc\t1\nq2\tc \t1.0\n")
    qrels, notes = vars(read_judgements(path)).values()
    assert qrels == {"q1": {"a": 2, "b": 1}, "q2": {"c": 1}}
    facts = {note.kind: note.facts for note in notes}["judged_twice"]
    assert (facts["pairs"], facts["disagreeing"], facts["taken"]) == (2, 1, "highest")
    assert facts["examples"] == [{"query": "q1", "document": "a", "grades": [2, 0]}]


def test_a_query_that_comes_twice(index, tmp_path):
    queries = jsonl([("q-mice", "what do mice eat?"), ("q-cats", "cats"), ("q-cats ", "cats"), ("q-mice", "bread")])
    qrels = "q-mice\tmice\t1\nq-mice\tmice\t1\nq-cats\tcats\t1\n"
    beir = folder(tmp_path, queries=queries, qrels=qrels)
    assert read_test_collection(beir).queries == {"q-mice": "what do mice eat?", "q-cats": "cats"}
    notes = evaluated(index, beir)["notes"]
    assert (notes["queries_twice"]["queries"], notes["queries_twice"]["disagreeing"]) == (2, 1)
    assert notes["queries_twice"]["examples"] == ["q-mice"]
    assert "the first text was asked" in notes["queries_twice"]["sentence"]
    assert notes["judged_twice"]["disagreeing"] == 0


def test_a_document_twice_in_a_ranking_counts_where_it_comes_first():
    found = evaluate({"q": [("a", 3.0), ("b", 2.0), ("a", 1.0)]}, {"q": {"a": 1}}, ["RR@10", "R@100"])
    assert found == {"RR@10": 1.0, "R@100": 1.0}
    assert [note.kind for note in found.notes] == ["documents_twice", "short_rankings"]


# Queries that can't gain anything, or weren't asked


def test_queries_without_a_relevant_document(index, tmp_path):
    qrels = QRELS.replace("bread\t1", "bread\t0").replace("rain\t1", "rain\t-1").replace("bees\t1", "bees\t2")
    beir = folder(tmp_path, qrels=qrels)
    notes = evaluated(index, beir, "--measures", "R@100 R(rel=2)@100")["notes"]
    assert (notes["queries_without_relevant"]["queries"], notes["queries_without_relevant"]["of"]) == (2, 6)
    assert notes["queries_without_relevant"]["examples"] == ["q-bread", "q-rain"]
    assert notes["queries_without_grade"]["R(rel=2)@100"]["queries"] == 5
    assert notes["negative_grades"]["judgements"] == 1
    assert "queries_without_relevant" in [note.kind for note in read_test_collection(beir).notes]


def test_queries_that_are_not_judged_and_judged_ones_that_are_not_there(index, tmp_path):
    beir = folder(tmp_path, qrels=QRELS.replace("q-rain\train\t1\n", ""))
    assert evaluated(index, beir)["notes"]["unjudged_queries"]["examples"] == ["q-rain"]
    (beir / "qrels" / "test.tsv").write_text(f"{QRELS}q8\tmice\t1\nq7\tmice\t1\n")
    with pytest.raises(CollectionError, match=r"judges 2 queries \('q7', 'q8'\), which queries.jsonl does not have"):
        read_test_collection(beir)


def test_queries_without_an_answer():
    found = evaluate({"q1": [("a", 1.0)], "q3": [("a", 1.0)]}, {"q1": {"a": 1}, "q2": {"a": 1}}, ["RR"])
    assert found == {"RR": 0.5}
    assert {note.kind: note.facts["examples"] for note in found.notes} == {
        "unanswered_queries": ["q2"],
        "unjudged_queries_in_run": ["q3"],
    }


def test_a_query_longer_than_the_window_and_words_that_are_nowhere(index, tmp_path):
    queries = {"q-mice": "mice " * 600, "q-cats": "zebra", "q-rain": "rain"}
    beir = folder(tmp_path, queries=queries, qrels="q-mice\tmice\t1\nq-cats\tcats\t1\nq-rain\train\t1\n")
    notes = evaluated(index, beir)["notes"]
    assert notes["truncated_queries"]["examples"] == ["q-mice"]
    assert notes["unanswered_by_bm25"]["examples"] == ["q-cats"]


def test_counts_are_sums_and_no_judgements_are_no_mean():
    run = {"q1": [("a", 1.0), ("b", 0.5)], "q2": [("a", 1.0)]}
    assert evaluate(run, {"q1": {"a": 1}, "q2": {"a": 1}}, ["NumQ", "NumRet"]) == {"NumQ": 2.0, "NumRet": 3.0}
    with pytest.raises(InputError, match="There are no judgements"):
        evaluate(run, {})


# The document that bears the query's own id


def test_identical_ids_are_dropped_unless_they_are_relevant(index, tmp_path):
    qrels = "mice\tmice\t1\ncats\tmice\t1\ncats\tcats\t0\nrain\tbees\t1\n"
    beir = folder(tmp_path, queries=QUERIES, qrels=qrels)
    found = evaluated(index, beir, "--measures", "R@100 RR@10", "-o", tmp_path / "run.trec")
    assert found["systems"][0]["measures"]["R@100"] == 1.0
    assert [row["dropped_identical"] for row in found["systems"]] == [2, 2]
    note = found["notes"]["dropped_identical"]
    assert (note["queries"], note["kept_relevant"]) == (2, 1)
    assert (note["examples"], note["kept_examples"]) == (["cats", "rain"], ["mice"])
    assert "unanswered_by_bm25" not in found["notes"]  # what it found for the cats was dropped
    (written,) = tmp_path.glob("run.xtr*")
    ranked = [line.split()[:3:2] for line in written.read_text().splitlines()]
    assert ["mice", "mice"] in ranked
    assert ["cats", "cats"] not in ranked


def test_identical_ids_in_a_run():
    run = {"1": [("1", 3.0), ("2", 2.0)], "2": [("2", 3.0), ("1", 2.0)]}
    kept = without_identical_ids(run, {"1": {"1": 1}, "2": {"2": 0, "1": 1}}, 10)
    assert kept == {"1": [("1", 3.0), ("2", 2.0)], "2": [("1", 2.0)]}


# Files of judgements as people write them


@pytest.mark.parametrize(
    "header",
    [
        "query-id\tcorpus-id\tscore",
        "query_id doc_id relevance",
        "\ufeffqid\tdid\tlabel",
        "Topic\tDocNo\tRel",
        '"query-id"\t"corpus-id"\t"score"',
        "qid\tpid\tNote",
        "query-id\titer\tcorpus-id\tscore",
    ],
)
def test_headers_are_no_judgements(tmp_path, header):
    path = tmp_path / "test.tsv"
    line = "q\t0\td\t1\n" if "iter" in header else "q\td\t1\n"
    path.write_bytes(f"{header}\r\n{line}".encode())
    assert read_judgements(path).qrels == {"q": {"d": 1}}


def test_a_header_says_the_order_of_columns_and_may_come_again(tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("corpus-id\tquery-id\tscore\nd\tq\t1\ncorpus-id\tquery-id\tscore\ne\tq\t0\n")
    assert read_judgements(path).qrels == {"q": {"d": 1, "e": 0}}


@pytest.mark.parametrize("header", ["Anfrage\tDokument\tNote", "a,b,c", "query-id\tcorpus-id", "q1\ta\tyes"])
def test_what_is_no_header_is_told(tmp_path, header):
    path = tmp_path / "test.tsv"
    path.write_text(f"{header}\nq\td\t1\n")
    with pytest.raises(
        CollectionError, match=r"line 1: expected query, document and whole-number relevance.*must name"
    ):
        read_judgements(path)


@pytest.mark.parametrize(("written", "grade"), [("1.0", 1), ("+2", 2), ("0.00", 0), ("-1.", -1), (" 3 ", 3)])
def test_whole_numbers_however_they_are_written(tmp_path, written, grade):
    path = tmp_path / "test.tsv"
    path.write_text(f"q\td\t{written}\n")
    assert read_judgements(path).qrels == {"q": {"d": grade}}


@pytest.mark.parametrize("written", ["0.5", "nan", "inf", "1_0", "high", "1e9", "99999999999", "1,0"])
def test_what_is_no_whole_number(tmp_path, written):
    path = tmp_path / "test.tsv"
    path.write_text(f"q\td\t1\nq\te\t{written}\n")
    with pytest.raises(CollectionError, match="line 2: expected query, document and whole-number relevance"):
        read_judgements(path)


def test_grades_in_python():
    assert evaluate({"q": [("a", 1.0)]}, {"q": {"a": np.float64(1), "b": np.int32(0)}}, ["RR"]) == {"RR": 1.0}
    with pytest.raises(InputError, match=r"The relevance of 'a' for the query 'q' must be a whole number, got 0\.5"):
        evaluate({"q": [("a", 1.0)]}, {"q": {"a": 0.5}}, ["RR"])


@pytest.mark.parametrize("content", ["", "\n\n", "query-id\tcorpus-id\tscore\n"])
def test_no_judgements_at_all(tmp_path, content):
    path = tmp_path / "test.tsv"
    path.write_text(content)
    with pytest.raises(CollectionError, match="has no judgements"):
        read_judgements(path)


def test_an_id_of_nothing(tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("q\td\t1\n \td\t1\n")
    with pytest.raises(CollectionError, match="line 2: the id of a query or of a document is empty"):
        read_judgements(path)


def test_gzipped_queries_and_judgements(tmp_path):
    beir = folder(tmp_path)
    expected = read_test_collection(beir)
    for path in (beir / "queries.jsonl", beir / "qrels" / "test.tsv"):
        with gzip.open(f"{path}.gz", "wb") as zipped:
            zipped.write(path.read_bytes())
    both = read_test_collection(beir)
    assert {note.kind: note.facts for note in both.notes} == {
        "unread_files": {"files": ["queries.jsonl.gz", "test.tsv.gz"]}
    }
    for path in (beir / "queries.jsonl", beir / "qrels" / "test.tsv"):
        path.unlink()
    assert read_test_collection(beir) == expected
    with pytest.raises(CollectionError, match=r"splits found: test\)"):
        read_test_collection(beir, "dev")
    (beir / "queries.jsonl.gz").write_bytes((beir / "queries.jsonl.gz").read_bytes()[:-12])
    with pytest.raises(CollectionError, match=r"queries\.jsonl\.gz can't be read"):
        read_test_collection(beir)


def test_scores_of_a_run_are_numbers(tmp_path):
    (tmp_path / "run.trec").write_text("q Q0 a 1 0.5 tag\nq Q0 b 2 nan tag\n")
    with pytest.raises(CollectionError, match="line 2: the score 'nan' is no number"):
        read_run(tmp_path / "run.trec")


# What BM25 takes for a word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我爱北京", ["我爱", "爱北", "北京"]),
        ("字。 iPhone手机 x", ["字", "iphone", "手机"]),
        ("東京ﾀﾜｰ", ["東京", "京タ", "タワ", "ワー"]),
        ("한국어", ["한국", "국어"]),
        ("ที่นี่", ["ที่นี่"]),
        ("ພາສາ", ["ພາ", "າສ", "ສາ"]),
        ("ភាសា", ["ភាសា"]),
        ("မြန်မာ", ["မြန်", "န်မာ"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("cafe\u0301 CAFÉ", ["café", "café"]),
        ("Don't read U.S. papers, a lot", ["don", "read", "papers", "lot"]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("texts", "query"),
    [
        ({"a": "我们今天去北京看长城。", "b": "他喜欢吃苹果和香蕉。"}, "苹果"),
        ({"a": "京都のお寺を見ました。", "b": "東京タワーは高いです。"}, "タワーの高さ"),
        ({"a": "สุนัขนอนหลับบนพื้น", "b": "แมวกินปลาทุกวัน"}, "ปลา"),
    ],
    ids=["Chinese", "Japanese", "Thai"],
)
def test_bm25_finds_words_within_clauses(texts, query):
    bm25 = BM25([Passage(*item) for item in texts.items()])
    assert [document for document, _ in bm25.search({"q": query}, 2)["q"]][:1] == ["b"]
    facts = bm25.notes[0].facts
    assert facts["bigrams"] > 0.9
    assert not facts["looks_english"]
    assert "in scripts without spaces, became bigrams" in bm25.notes[0].sentence
    assert "not Latin" in bm25.notes[0].sentence


GERMAN = "Die Katze schläft auf dem Dach, und der Hund wartet vor der Tür, bis es Abend wird und alle nach Hause gehen."
RUSSIAN = "Кошка спит на крыше, а собака ждёт у двери, пока не наступит вечер и все не пойдут домой."
ENGLISH = "The cat sleeps on the roof, and the dog waits at the door until it is evening and all of them go home."


@pytest.mark.parametrize(("text", "english"), [(GERMAN * 2, False), (RUSSIAN, False), (ENGLISH * 2, True)])
def test_corpora_that_are_not_english_are_told(text, english):
    assert facts_of([text]).looks_english == english
    (note,) = BM25([Passage("a", text)]).notes
    assert ("a BM25 made for its language may be better" in note.sentence) == (not english)


def test_ids_that_come_twice_in_the_corpus():
    note = BM25([Passage("a", "cat"), Passage("a", "dog"), Passage("b", "cat")]).notes[1]
    assert (note.kind, note.facts) == ("corpus_ids_twice", {"ids": 1, "examples": ["a"]})


# What must be installed


@pytest.mark.parametrize(("module", "said"), [("ir_measures", "Evaluation"), ("bm25s", "BM25"), ("Stemmer", "BM25")])
def test_the_missing_extra_is_told_before_any_long_work(tmp_path, monkeypatch, module, said):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=f"{said} needs the extra 'eval': run pip install .*ir-measures"):
        run("evaluate", tmp_path / "no-index-is-opened", folder(tmp_path))


@pytest.mark.parametrize(("module", "said"), [("scipy", "A test of significance"), ("regex", "Looking for answers")])
def test_what_tests_and_answers_need_is_told_before_any_long_work(tmp_path, monkeypatch, module, said):
    tokeniser.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "x.qa.csv").write_text("q\t['a']\nr\t['b']\n")
    options = ["--significance"] * (module == "scipy")
    with pytest.raises(MissingExtraError, match=f"{said}.* needs the extra 'eval'"):
        run("evaluate", tmp_path / "no-index-is-opened", tmp_path / "x.qa.csv", *options)
