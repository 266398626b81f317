"""Long documents: cut up within the window, whole between them, found and grouped by document."""

import json
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.commands import in_text
from xtrkit.encoding import load_encoder
from xtrkit.evaluating.measuring import IndexedDocuments, check_searchable, measure
from xtrkit.evaluation.beir import read_test_collection
from xtrkit.evaluation.measures import LEAST_DEPTH
from xtrkit.index import Index
from xtrkit.passage import Passage
from xtrkit.recipes import COLBERT, XTR
from xtrkit.retriever import Retriever
from xtrkit.texts.document import Document, Section
from xtrkit.texts.splitting import Splitter, splitting_for

ANIMALS = ["The cat sleeps on the warm roof.", "A whale sings in the deep sea.", "Bees dance to show where nectar is."]
LONG = " ".join(f"Section {number} is about trains and their timetables." for number in range(40))
STORY = "\n\n".join([LONG, " ".join(ANIMALS), LONG])


@pytest.fixture(scope="module", params=["default", "xtr"])
def encoder(request, checkpoints):
    return load_encoder("default" if request.param == "default" else checkpoints["xtr"], document_length=64)


def pieces_of(document, encoder):
    return list(Splitter(encoder, splitting_for(encoder)).passages(document))


@pytest.mark.parametrize("text", [STORY, "word " * 500, "日本語の文章です。 " * 60], ids=["story", "words", "cjk"])
def test_pieces_fit_overlap_in_order_and_leave_nothing_out(encoder, text):
    pieces = pieces_of(Document("d", text, {"year": 1}), encoder)
    assert [piece.id for piece in pieces] == [f"d¶{number}" for number in range(1, len(pieces) + 1)]
    assert len(pieces) > 1
    covered = set()
    for piece in pieces:
        document, first, last = piece.part
        assert (document, piece.metadata) == ("d", {"year": 1})
        assert piece.text == text[first:last]
        assert encoder.document_token_count(piece.text) <= 64
        covered |= set(range(first, last))
    assert not "".join(text[place] for place in sorted(set(range(len(text))) - covered)).strip()
    assert all(a.part[1] < b.part[1] for a, b in pairwise(pieces))


def test_sentences_stay_whole_where_they_fit(encoder):
    pieces = pieces_of(Document("d", STORY), encoder)
    for sentence in ANIMALS:
        assert any(sentence in piece.text for piece in pieces)


def test_short_texts_stay_as_they_are_and_iterating_again_is_the_same(encoder):
    assert pieces_of(Document("a", "short", {"n": 1}), encoder) == [Passage("a", "short", {"n": 1})]
    assert pieces_of(Document("d", STORY), encoder) == pieces_of(Document("d", STORY), encoder)


def test_sections_stand_apart_and_what_is_between_them_is_kept(encoder):
    text = "Before all.\n# One\nFirst things.\n  # Two\n" + LONG + "\n\nAfter all."
    one, two, end = text.index("# One"), text.index("# Two"), text.index("After")
    sections = (Section(one, two, {"headings": "One"}), Section(two, end, {"headings": "Two"}))
    pieces = pieces_of(Document("d", text, {"year": 1}, sections), encoder)
    assert [piece.text for piece in pieces[:2]] == ["Before all.", "# One\nFirst things."]
    assert [piece.metadata for piece in pieces[:2]] == [{"year": 1}, {"year": 1, "headings": "One"}]
    assert {piece.metadata["headings"] for piece in pieces[2:-1]} == {"Two"}
    assert len(pieces) > 5
    assert (pieces[-1].text, pieces[-1].metadata) == ("After all.", {"year": 1})
    assert all(text[piece.part.first : piece.part.last] == piece.text for piece in pieces)


def test_a_document_of_one_section_stays_whole_and_bears_what_the_section_does(encoder):
    pieces = pieces_of(Document("d", "One page.", None, (Section(0, 9, {"page": 1}),)), encoder)
    assert pieces == [Passage("d", "One page.", {"page": 1})]


def test_results_are_grouped_by_document_k_of_them(tmp_path):
    encoder = load_encoder(document_length=64)
    texts = [Passage("story", STORY), Passage("cats", "Cats sleep all day."), Passage("trains", LONG)]
    summary = Retriever.create(tmp_path / "idx", texts, model=encoder).indexed
    assert summary.truncated == 0
    assert summary.passages > 10
    retriever = Retriever.open(tmp_path / "idx")
    for query in ("where are the timetables of trains?", "which animal sings in the sea?"):
        apart = retriever.search(query, 40, group_by_document=False)
        grouped = retriever.search(query, 3)
        documents = [hit.part.document if hit.part else hit.id for hit in grouped]
        assert sorted(documents) == ["cats", "story", "trains"]
        best = {}
        for hit in apart:
            best.setdefault(hit.part.document if hit.part else hit.id, hit.id)
        assert best[documents[0]] == grouped[0].id
    found = retriever.search("which animal sings in the sea?", 1)[0]
    assert "whale" in found.text
    assert STORY[found.part.first : found.part.last] == found.text


def test_a_document_that_comes_again_replaces_all_of_its_passages(tmp_path):
    encoder = load_encoder(document_length=64)
    Retriever.create(tmp_path / "idx", [Passage("d", STORY), Passage("e", "other")], model=encoder)
    retriever, opened_before = Retriever.open(tmp_path / "idx"), Retriever.open(tmp_path / "idx")
    retriever.add([Passage("d", " ".join([LONG[:600], "A whale."]))])
    ids = list(retriever.index.ids())
    assert all(identifier.startswith("d¶") or identifier == "e" for identifier in ids)
    opened_before.add([Passage("d", "now short")])
    assert sorted(Index.open(tmp_path / "idx").ids()) == ["d", "e"]


def test_from_the_command_line(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "story.txt").write_text(STORY * 4, encoding="utf-8")
    (tmp_path / "notes" / "cat.txt").write_text("Cats sleep.", encoding="utf-8")
    results = []
    for arguments in (
        ["index", str(tmp_path / "notes"), str(tmp_path / "idx"), "--json"],
        ["search", str(tmp_path / "idx"), "a whale in the sea", "-k", "2", "--json"],
    ):
        ran = in_text(*arguments)
        assert ran.returncode == 0, ran.stderr
        results.append(json.loads(ran.stdout))
    indexed, found = results
    assert indexed["passages"] > 2
    assert indexed["truncated"] == 0
    assert {hit["part"]["document"] if hit["part"] else hit["id"] for hit in found["hits"]} == {"story.txt", "cat.txt"}


def test_documents_are_evaluated_by_their_best_passage(tmp_path):
    """Judged are documents; a hundred passages of one of them don't push the others out of the ranking."""
    encoder = load_encoder(document_length=16)
    texts = {"trains": LONG * 6, "story": STORY, "cats": "Cats sleep all day."}
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "where are the timetables of trains?"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tstory\t1\n")
    Retriever.create(tmp_path / "idx", [Passage(*item) for item in texts.items()], model=encoder, nbits=16)
    retriever, test = Retriever.open(tmp_path / "idx"), read_test_collection(tmp_path, "test")
    assert sum(identifier.startswith("trains¶") for identifier in retriever.index.ids()) > 2 * LEAST_DEPTH
    check_searchable(retriever, test, IndexedDocuments.of(retriever.index))
    embeddings = retriever.encode_queries(list(test.queries.values()))
    for row in measure(
        retriever, test, [("XTR", XTR), ("MaxSim", COLBERT)], ["RR@10"], embeddings=embeddings, advance=lambda _: None
    ):
        assert sorted(document for document, _ in row.run["q"]) == ["cats", "story", "trains"]
        assert row.measures["RR@10"] > 0
        (hit,) = retriever.search(test.queries["q"], 1, recipe=XTR if row.system == "XTR" else COLBERT)
        assert row.run["q"][0] == (hit.part.document, pytest.approx(hit.score, rel=1e-5))


FREED = """
import gc, sys, weakref
from xtrkit import Retriever, load_encoder

encoder = load_encoder()
kept = weakref.ref(encoder)
with Retriever.create(sys.argv[1], ["The keeper wrote. " * 400, "Short."], model=encoder) as retriever:
    retriever.add([{"id": "more", "text": "The keeper slept. " * 400}])
del encoder, retriever
gc.collect()
print("freed" if kept() is None else "kept")
"""


def test_an_encoder_is_freed_with_its_last_retriever(tmp_path):
    """In a process of its own: other tests' threads may hold on to anything for a while."""
    command = [sys.executable, "-c", FREED, str(tmp_path / "idx")]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "freed"
