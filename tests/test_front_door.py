"""Texts through the front door: what passages may be, what comes back, and what wrong arguments get."""

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

import xtrkit
from xtrkit import Hits, Index, Passage, Retriever
from xtrkit.encoding import load_encoder
from xtrkit.errors import CollectionError, IndexExistsError, IndexLockedError, InputError, StorageError
from xtrkit.texts import taking
from xtrkit.texts.given import source_of
from xtrkit.texts.taking import take

TEXTS = ["The ferry to the island runs daily.", "Bread rises because yeast makes gas.", "A lighthouse warns ships."]
LONG = " ".join(f"The {n}th bridge of the city was built in the year {1700 + n}." for n in range(120))


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "idx"


@pytest.fixture
def retriever(path, encoder):
    records = [{"id": f"p{n}", "text": text, "place": n, "odd": n % 2 == 1} for n, text in enumerate(TEXTS)]
    return Retriever.create(path, records, model=encoder, nbits=4)


class Once:
    """An iterable, no iterator, that can be gone through once."""

    def __init__(self, things):
        self._things = iter(things)

    def __iter__(self):
        return self._things


class OnceUnseen(Once):
    """That it is spent shows nowhere but in what it gives."""

    def __iter__(self):
        yield from self._things


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (TEXTS, [Passage(str(n), text) for n, text in enumerate(TEXTS)]),
        (Once(TEXTS), [Passage(str(n), text) for n, text in enumerate(TEXTS)]),
        (iter(TEXTS), [Passage(str(n), text) for n, text in enumerate(TEXTS)]),
        ((text for text in TEXTS[:1]), [Passage("0", TEXTS[0])]),
        (dict.fromkeys(TEXTS[:1]).keys(), [Passage("0", TEXTS[0])]),
        (np.array(TEXTS[:1]), [Passage("0", TEXTS[0])]),
        (
            [("a", "x"), ["b", "y"], ("c", "z", {"n": 1})],
            [Passage("a", "x"), Passage("b", "y"), Passage("c", "z", {"n": 1})],
        ),
        ({"a": "x"}.items(), [Passage("a", "x")]),
        ([(7, "x"), (np.int64(8), "y")], [Passage("7", "x"), Passage("8", "y")]),
        ([{"id": "a", "text": "x"}], [Passage("a", "x")]),
        ([{"_id": 3, "title": "T", "text": "x", "metadata": {"n": 1}}], [Passage("3", "T x", {"n": 1})]),
        ([{"text": "x", "lang": "en", "n": np.float32(0.5)}], [Passage("0", "x", {"lang": "en", "n": 0.5})]),
        ([Passage("a", "x", {"n": None}, ("doc", 0, 1))], [Passage("a", "x", {"n": None}, ("doc", 0, 1))]),
        (["x", ("a", "y"), {"text": "z"}], [Passage("0", "x"), Passage("a", "y"), Passage("2", "z")]),
        (["", "x", "\u200b"], [Passage("1", "x")]),
    ],
)
def test_passages_may_be_given_as_people_have_them_and_be_gone_through_twice(tmp_path, encoder, given, expected):
    passages = take(source_of(given), encoder, None, tmp_path)
    assert list(passages) == expected
    assert list(passages) == expected


def test_what_is_given_is_read_once_and_kept_outside_the_memory(tmp_path, encoder):
    seen = []
    given = (seen.append(n) or f"text {n} \u2028 ü \n end" for n in range(1000))
    passages = take(source_of(given), encoder, None, tmp_path)
    first, second = iter(passages), iter(passages)
    for n in range(1000):  # two at different places
        assert next(first).text == f"text {n} \u2028 ü \n end"
        assert n % 2 or next(second).id == str(n // 2)
    assert seen == list(range(1000))


def test_what_can_be_gone_through_once_is_enough(retriever, encoder, tmp_path):
    assert len(Retriever.create(tmp_path / "other", OnceUnseen(TEXTS), model=encoder)) == 3
    summary = retriever.add(OnceUnseen([("x", "text"), ("p1", "another")]))
    assert (summary.added, summary.updated) == (1, 1)


def test_a_path_is_a_collection_on_disk(tmp_path, encoder):
    (tmp_path / "one.txt").write_text("a text", encoding="utf-8")
    for given in (tmp_path, str(tmp_path), str(tmp_path / "*.txt"), tmp_path / "one.txt"):
        assert list(take(source_of(given), encoder, None, tmp_path)) == [Passage("one.txt", "a text")]


WRONG = {
    "a text": ("one text", "got 'one text' of type str, and no file or folder of that name is there: put texts"),
    "a dict": ({"a": "x"}, "of type dict: give its items"),
    "a table": (
        type("Frame", (list,), {"columns": ["id", "text"]})(["id", "text"]),
        "got a table of type Frame: give its",
    ),
    "a number": (7, "Passages come as an iterable, got 7 of type int"),
    "nothing": (None, "Passages come as an iterable, got None"),
    "bytes": ([b"x"], "Passage 0: expected a text, a dict .* got b'x' of type bytes"),
    "numbers": ([1, 2], "Passage 0: expected a text"),
    "None among them": (["x", None], "Passage 1: expected a text"),
    "one thing": ([("a",)], r"Passage 0: expected a text"),
    "no text": ([{"id": "a"}], """Passage 0: a dict has no "text" that is a text: its keys are \\['id'\\]"""),
    "a text that is none": ([{"text": 3}], 'no "text" that is a text'),
    "a title that is none": ([{"text": "x", "title": 3}], '"title" of .* must be a text, got int'),
    "metadata that are none": ([{"text": "x", "metadata": [1]}], '"metadata" of .* must be a dict, got list'),
    "a dict as metadata": ([{"text": "x", "tags": {"a": 1}}], "metadata field 'tags' of '.' must be a string"),
    "NaN": ([{"text": "x", "n": float("nan")}], "metadata field 'n' of '.' must be a finite number"),
    "a quoted field": ([{"text": "x", 'a"b': 1}], "needs a name that is a string"),
    "a field twice": ([{"text": "x", "n": 1, "metadata": {"n": 2}}], "the field 'n' of '.' stands beside its metadata"),
    "two ids": ([{"id": "a", "_id": "b", "text": "x"}], 'a dict has "id" and "_id"'),
    "an empty id": ([("", "x")], "Ids must have at least one character"),
    "True as id": ([(True, "x")], "Ids must be strings, got True"),
    "NUL in an id": ([("a\0", "x")], "no NUL"),
    "half a character": ([("a", "\ud800")], "half a surrogate pair"),
    "an id twice": ([("a", "x"), ("a", "y")], "The id 'a' comes twice"),
    "embeddings alone": ([Passage("a")], "the passage 'a' has no text"),
    "a part that is none": (
        [Passage("a", "x", None, ("doc", 2, 1))],
        r"part that 'a' is must be \(document, first, last\)",
    ),
    "none at all": ([], "nothing to index|passages"),
    "an empty iterator": (iter([]), "nothing to index|passages"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("call", ["create", "add", "rerank"])
def test_wrong_passages_get_a_sentence_and_leave_nothing(path, retriever, encoder, case, call, tmp_path):
    given, sentence = WRONG[case]
    if call == "rerank" and case in ("an id twice", "none at all", "an empty iterator"):
        return  # nothing is stored
    if not isinstance(given, list | tuple | dict | str | int | type(None)):
        given = iter([])
    before = sorted(file.name for file in path.iterdir())
    calls = {
        "create": lambda: Retriever.create(tmp_path / "other", given, model=encoder),
        "add": lambda: retriever.add(given),
        "rerank": lambda: retriever.rerank("ships", given),
    }
    with pytest.raises((InputError, CollectionError), match=sentence):
        calls[call]()
    assert sorted(file.name for file in path.iterdir()) == before
    assert not list(tmp_path.glob("*other*"))
    assert not list(tmp_path.glob(".*other*"))


def test_the_last_passage_is_checked_before_the_first_is_encoded(tmp_path, encoder):
    class Deaf:
        def __getattr__(self, name):
            return getattr(encoder, name)

        def stream_documents(self, texts, **choices):
            raise AssertionError("encoded")

    for given in ([*TEXTS, {"text": "x", "n": float("inf")}], iter([*TEXTS, 3])):
        with pytest.raises(CollectionError, match="Passage 3: "):
            Retriever.create(tmp_path / "idx", given, model=Deaf())


def test_hits_are_a_sequence_that_tells_of_the_search(retriever):
    hits = retriever.search("what warns ships?", 2)
    assert isinstance(hits, Hits)
    assert hits.ids[0] == hits[0].id == "p2"
    assert (len(hits), [hit.rank for hit in hits], hits[-1].rank) == (2, [1, 2], 2)
    assert hits[0].metadata == {"place": 2, "odd": False}
    assert (hits[0].document, hits[0].text) == ("p2", TEXTS[2])
    assert (hits.truncated, hits.query) == (False, "what warns ships?")
    assert hits.k_prime >= 1
    assert {"encode", "codes", "passages"} <= set(hits.seconds)
    (again,) = retriever.search_batch(["what warns ships?"], 2)
    assert again == hits


def test_a_batch_is_its_queries_with_everything_that_a_search_gives(retriever):
    queries = ["island", "yeast", "ships"]
    together = retriever.search_batch(queries, 2, where={"odd": False}, explain=True, nprobe="all")
    for query, hits in zip(queries, together, strict=True):
        alone = retriever.search(query, 2, where={"odd": False}, explain=True, nprobe="all")
        assert hits.ids == alone.ids
        assert [hit.matches is not None for hit in hits] == [True] * len(hits)
        assert {hit.metadata["odd"] for hit in hits} == {False}
    assert retriever.search_batch([], 3) == []


def test_a_query_beyond_the_window_says_so(retriever):
    words = " ".join(f"word{n}" for n in range(300))
    assert retriever.search(words).truncated
    assert retriever.rerank(words, TEXTS).truncated
    assert not retriever.search("short").truncated


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda r: r.search(""), "A query must be a text with something in it"),
        (lambda r: r.search(None), "A query must be a text"),
        (lambda r: r.search(["a"]), "A query must be a text"),
        (lambda r: r.search("a", 0), "k must be a whole number of at least 1"),
        (lambda r: r.search("a", k_prim=3), "Unknown search choice 'k_prim'"),
        (lambda r: r.search("a", where={"plaice": {"$near": 1}}), "near"),
        (lambda r: r.search("a", rerank_depth=-1), "rerank_depth must be"),
        (lambda r: r.search_batch("a text"), "Queries come as a list, got the text 'a text'"),
        (lambda r: r.search_batch(["a", ""]), "A query must be a text"),
        (lambda r: r.search_batch(["a"], n_probe=3), "Unknown search choice 'n_probe'"),
        (lambda r: r.get("p0"), "Ids are given as a list, got 'p0' of type str"),
        (lambda r: r.get(["nobody"]), "No document of this index has the id 'nobody'"),
        (lambda r: r.get([0]), "Ids must be strings, got 0 of type int"),
        (lambda r: r.get(documents=["nothing.pdf"]), "No passage of this index belongs to a document 'nothing.pdf'"),
        (lambda r: r.delete("p0"), "Ids are given as a list"),
        (lambda r: r.delete(), "There are no ids to delete"),
        (lambda r: r.delete(["nobody"]), "has the id 'nobody'"),
        (lambda r: r.delete(["p0"], documents=["nothing.pdf"]), "belongs to a document 'nothing.pdf'"),
        (lambda r: r.delete(documents="p0"), "Ids are given as a list"),
        (lambda r: r.rerank("", TEXTS), "A query must be a text"),
        (lambda r: r.rerank("a", TEXTS, 0), "k must be a whole number"),
        (lambda r: Retriever.create(r.index.path.parent / "x", TEXTS, nbits=3), "nbits must be 1, 2, 4 or 8, or 16"),
        (lambda r: Retriever.create(r.index.path.parent / "x", TEXTS, codec="zip"), "zip"),
        (lambda r: Retriever.create(r.index.path.parent / "x", TEXTS, batch_size=0), "batch_size must be at least 1"),
    ],
)
def test_wrong_arguments_get_a_sentence_and_change_nothing(retriever, call, sentence):
    with pytest.raises(InputError, match=sentence):
        call(retriever)
    assert retriever.index.generation == 1
    assert len(retriever) == 3
    assert not (retriever.index.path.parent / "x").exists()


def test_a_place_that_is_taken_is_told_before_anything_is_read(path, retriever):
    with pytest.raises(IndexExistsError, match="exists already"):
        Retriever.create(path, iter(lambda: pytest.fail("read"), None))


def test_a_closed_retriever_and_a_second_writer(path, retriever, encoder):
    with retriever.index.writer(), pytest.raises(IndexLockedError, match="changing the index"):
        retriever.add([("new", "text")])
    retriever.close()
    with pytest.raises(InputError, match="The index is closed"):
        retriever.search("ships")
    with pytest.raises(InputError, match="The index is closed"):
        retriever.get(["p0"])


def test_adding_replaces_what_has_the_same_id_and_deleting_takes_away(retriever):
    summary = retriever.add([("p1", "Rye bread is dark."), {"id": "new", "text": "A harbour.", "place": 9}])
    assert (summary.added, summary.updated, summary.documents) == (1, 1, 4)
    assert retriever.get(["new", "p1"]) == [
        Passage("new", "A harbour.", {"place": 9}),
        Passage("p1", "Rye bread is dark."),
    ]
    assert retriever.search("harbour", 1).ids == ["new"]
    assert retriever.delete(["new", "p1"]).deleted == 2
    assert "new" not in retriever.search("harbour", 10).ids
    assert retriever.delete(["gone"], missing_ok=True).deleted == 0


def test_texts_that_are_added_without_ids_replace_nothing(path, encoder):
    retriever = Retriever.create(path, TEXTS, model=encoder)
    retriever.delete(["1"])
    retriever.compact()
    retriever.add(["first more", "second more"])
    assert sorted(retriever.index.ids()) == ["0", "2", "3", "4"]
    retriever.add(iter(["third more"]))
    assert len(retriever) == 5
    assert {passage.text for passage in retriever.get(list(retriever.index.ids()))} == {
        TEXTS[0], TEXTS[2], "first more", "second more", "third more"
    }  # fmt: skip


def test_a_long_document_is_found_got_and_deleted_as_a_whole(path, encoder):
    retriever = Retriever.create(path, [("long", LONG), ("short", "A whale.")], model=encoder, split=True, nbits=4)
    pieces = retriever.get(documents=["long"])
    assert len(pieces) > 2
    assert {piece.document for piece in pieces} == {"long"}
    assert [piece.part.first for piece in pieces] == sorted(piece.part.first for piece in pieces)
    hits = retriever.search("bridge of 1790", 5)
    assert hits[0].document == "long"
    assert [hit.document for hit in retriever.search("bridge", 5, group_by_document=True)] == ["long", "short"]
    some = [piece.id for piece in pieces[:2]]
    assert [hit.document for hit in retriever.search("bridge", 5, subset=some, group_by_document=True)] == ["long"]
    assert retriever.delete(documents=["long"]).deleted == len(pieces)
    assert list(retriever.index.ids()) == ["short"]
    assert retriever.delete(documents=["short"]).deleted == 1


def test_texts_are_put_in_order_without_being_indexed(retriever):
    hits = retriever.rerank("how does bread rise?", TEXTS)
    assert hits.ids[0] == "1"
    assert sorted(hits.ids) == ["0", "1", "2"]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    hits = retriever.rerank("ships", [{"id": "x", "text": TEXTS[2], "n": 3}, ("y", TEXTS[0])], 1)
    assert (hits.ids, hits[0].metadata) == (["x"], {"n": 3})
    embedding = retriever.encode_queries(["ships"])[0]
    vectors = retriever.encoder.encode_documents([TEXTS[2]])[0]
    assert hits[0].score == pytest.approx((embedding @ vectors.T).max(axis=1).sum(), abs=1e-5)
    assert len(retriever) == 3


def test_index_and_retriever_look_after_themselves(retriever, tmp_path):
    for kept in (retriever, retriever.index):
        name = type(kept).__name__
        assert kept.verify(full=True).ok
        assert kept.backup(tmp_path / f"copy of {name}") == 1
        assert kept.export_vectors(tmp_path / f"{name}.npy") == (3, retriever.index.n_tokens)
        assert kept.compact().documents == 3
    assert Retriever.open(tmp_path / "copy of Index").search("ships", 1).ids == ["p2"]


def answer(retriever, query):
    return [(hit.id, hit.score) for hit in retriever.search(query, 3)], str(retriever.index.path)


def test_a_retriever_travels_to_another_process_by_path(retriever, monkeypatch, tmp_path):
    expected = answer(retriever, "ships")
    sent = pickle.dumps(retriever)
    assert len(sent) < 2000
    retriever.add([("new", "ships ships ships")])  # what was sent stays at its generation while that is there
    monkeypatch.chdir(tmp_path.parent)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(answer, (pickle.loads(sent), "ships")) == expected
    assert Path(expected[1]).is_absolute()
    retriever.compact()
    reopened = pickle.loads(sent)
    assert reopened.index.generation == retriever.index.generation
    assert reopened.search("ships", 1).ids == ["new"]


def test_an_explanation_adds_up_to_the_score_of_the_hit(retriever):
    for choices in ({}, {"nprobe": 1, "k_prime": 2}, {"scoring": "maxsim"}, {"imputation": "0.2"}, {"rerank": 3}):
        for hit in retriever.search("what warns ships of the coast?", 3, explain=True, **choices):
            total = sum(match.similarity for match in hit.matches)
            n = 1 if choices.get("scoring") == "maxsim" else len(hit.matches)
            assert total / n == pytest.approx(hit.score, abs=2e-6)


def test_the_names_of_the_front_door_are_public():
    assert xtrkit.Retriever is Retriever
    assert xtrkit.Index is Index
    assert {"Hit", "Hits", "Passage"} <= set(xtrkit.__all__)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_disk_that_is_full_while_texts_are_read(tmp_path, monkeypatch):
    """One sentence, and nothing more where the file is let go of."""
    monkeypatch.setattr(taking.tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb", buffering=512))  # noqa: SIM115
    taken = taking.Taken(tmp_path, {})
    taken.append(Passage("short", "A text."), "")
    with pytest.raises(StorageError, match="keeping texts there until they are encoded failed"):
        list(taken)
    with pytest.raises(StorageError, match="No space left on device"):
        taken.append(Passage("long", "A text. " * 1000), "")
    del taken
