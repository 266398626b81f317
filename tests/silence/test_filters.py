"""Conditions that can't be meant as they are written are told, and values are found however they were given."""

import enum
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from xtrkit import Index, Passage
from xtrkit.errors import InputError
from xtrkit.indexing.writer import IndexWriter
from xtrkit.passage import Part

DIM = 8
BERGEN = timezone(timedelta(hours=2))


class Colour(str, enum.Enum):  # noqa: UP042 - what people have
    RED = "red"


FIELDS = [
    {"year": 1990, "lang": "en", "tags": ["boat", "sea"], "day": date(2024, 5, 1), "rare": 7, "odd": False},
    {"year": np.int64(1995), "lang": np.str_("de"), "tags": ("whale",), "day": date(2024, 5, 2), "odd": True},
    {
        "year": np.float32(2000.5),
        "lang": "fr",
        "tags": {"sea", "whale"},
        "day": datetime(2024, 5, 1, 12),
        "odd": np.True_,
    },
    {"year": 2005, "lang": Colour.RED, "sizes": np.array([1, 5, 9]), "day": np.datetime64("2024-05-03T08:00:00", "ns")},
    {"year": 2010, "note": None, "sizes": [2.5, 7], "when": datetime(2024, 1, 1, 1, tzinfo=BERGEN)},
    {"year": 2015, "title": "The Whale and the Sea", "when": datetime(2024, 1, 1, tzinfo=UTC)},
]


def vectors(n, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=(3, DIM)).astype(np.float32) for _ in range(n)]


def made(path, metadata=None, parts=None, ids=None):
    fields = FIELDS if metadata is None else metadata
    ids = ids or [f"p{i}" for i in range(len(fields))]
    return Index.create(path, [vectors(len(fields))], ids=ids, metadata=fields, parts=parts, nbits=16)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return made(tmp_path_factory.mktemp("filters") / "idx")


QUERY = vectors(1, 1)[0]


def found(index, where, **more):
    return sorted(index.search(QUERY, 100, where=where, **more).ids)


NO_FIELD = {
    "a slip": (
        {"yaer": 1990},
        "metadata field 'yaer', which the filter names: did you mean 'year'\\? There are 'day', ",
    ),
    "a slip that met everything": ({"yaer": {"$ne": 1990}}, "did you mean 'year'"),
    "none of": ({"langs": {"$nin": ["en"]}}, "did you mean 'lang'"),
    "in a not": ({"$not": {"tag": "sea"}}, "did you mean 'tags'"),
    "in one of two": ({"$or": [{"lang": "en"}, {"langauge": "en"}]}, "did you mean 'lang'"),
    "deep inside": ({"$and": [{"$or": [{"$not": {"Year": {"$lt": 3}}}]}]}, "did you mean 'year'"),
    "equal to nothing": ({"nothing": None}, "'nothing', which the filter names"),
    "an empty list": ({"nothing": {"$in": []}}, "'nothing', which the filter names"),
    "part of a text": ({"titel": {"$contains": "Whale"}}, "did you mean 'title'"),
    "asked and taken for granted": ({"yaer": {"$exists": False, "$gt": 3}}, "did you mean 'year'"),
    "the id": ({"id": "p1"}, 'of passages, "\\$id" is the id'),
    "the document": ({"document": "p1"}, 'of documents, "\\$document" is the id'),
}


@pytest.mark.parametrize("case", NO_FIELD)
def test_a_field_that_no_passage_has_is_an_error_that_names_those_there_are(index, case):
    where, message = NO_FIELD[case]
    with pytest.raises(InputError, match=message):
        index.search(QUERY, where=where)


NO_KIND = {
    "a text for numbers": (
        {"year": "1990"},
        "'year' holds numbers, and the filter compares it with texts such as '1990'",
    ),
    "it met everything": ({"year": {"$ne": "1990"}}, "give numbers"),
    "a number for texts": ({"lang": {"$gte": 3}}, "'lang' holds texts"),
    "a number for booleans": ({"odd": 1}, "'odd' holds booleans"),
    "texts for a list of numbers": ({"sizes": {"$in": ["1", "5"]}}, "'sizes' holds numbers and lists"),
    "nothing but None": ({"note": "x"}, "holds nothing but None"),
    "no list": ({"year": {"$contains": 1990}}, r"\$contains asks whether .* it holds numbers: compare it with"),
}


@pytest.mark.parametrize("case", NO_KIND)
def test_a_kind_that_a_field_never_holds_is_an_error(index, case):
    where, message = NO_KIND[case]
    with pytest.raises(InputError, match=message):
        index.search(QUERY, where=where)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"rare": 7}, "0"),
        ({"rare": {"$ne": 7}}, "12345"),
        ({"nowhere": {"$exists": False}}, "012345"),
        ({"nowhere": {"$exists": True}}, ""),
        ({"note": None}, "012345"),
        ({"year": {"$in": [1990, "2005"]}}, "0"),
        # values however they come
        ({"year": np.int16(1995)}, "1"),
        ({"year": {"$gt": np.float64(2000.4), "$lt": np.array(2010)}}, "23"),
        ({"lang": np.str_("en")}, "0"),
        ({"lang": Colour.RED}, "3"),
        ({"odd": np.True_}, "12"),
        ({"year": {"$in": {1990, 1995}}}, "01"),
        ({"year": {"$in": (1990,)}}, "0"),
        ({"year": {"$in": np.array([1990, 2015])}}, "05"),
        ({"year": {"$in": range(1990, 1996)}}, "01"),
        ({"lang": {"$nin": frozenset(["en", "de"])}}, "2345"),
        # dates are ISO texts, in the order of time
        ({"day": date(2024, 5, 1)}, "0"),
        ({"day": {"$gte": date(2024, 5, 1), "$lt": date(2024, 5, 2)}}, "02"),
        ({"day": "2024-05-02"}, "1"),
        ({"day": {"$gte": np.datetime64("2024-05-02")}}, "13"),
        ({"day": datetime(2024, 5, 3, 8)}, "3"),
        ({"when": {"$lt": datetime(2024, 1, 1, tzinfo=UTC)}}, "4"),
        ({"when": datetime(2024, 1, 1, 2, tzinfo=BERGEN)}, "5"),
        # lists: one of them is enough, and each comparison may be met by another
        ({"tags": "sea"}, "02"),
        ({"tags": {"$contains": "sea"}}, "02"),
        ({"tags": {"$ne": "sea"}}, "1345"),
        ({"tags": {"$in": ["whale", "boat"]}}, "012"),
        ({"tags": {"$nin": ["whale", "boat"]}}, "345"),
        ({"tags": {"$contains": "se"}}, ""),
        ({"sizes": {"$gt": 8}}, "3"),
        ({"sizes": {"$gt": 2, "$lt": 3}}, "34"),
        ({"sizes": {"$contains": 7}}, "4"),
        ({"$not": {"tags": {"$contains": "sea"}}}, "1345"),
        ({"tags": {"$exists": True}}, "012"),
        ({"title": {"$contains": "Whale"}}, "5"),
        ({"title": {"$contains": "whale"}}, ""),
        ({"title": {"$contains": 'e" and'}}, ""),
        # what every passage has
        ({"$id": "p3"}, "3"),
        ({"$id": {"$in": ["p3", "p4", "nobody"]}}, "34"),
        ({"$id": {"$gte": "p4"}}, "45"),
        ({"$document": {"$ne": "p1"}}, "02345"),
        ({"$id": {"$contains": "5"}}, "5"),
    ],
)
def test_what_is_found(index, where, expected):
    assert found(index, where) == [f"p{n}" for n in expected]


def test_lists_and_dates_come_back(index):
    passages = index.get([f"p{i}" for i in range(6)])
    assert [passage.metadata.get("tags") for passage in passages[:3]] == [["boat", "sea"], ["whale"], ["sea", "whale"]]
    assert passages[3].metadata == {"year": 2005, "lang": "red", "sizes": [1, 5, 9], "day": "2024-05-03T08:00:00"}
    assert [passage.metadata["when"] for passage in passages[4:]] == [
        "2023-12-31T23:00:00+00:00",
        "2024-01-01T00:00:00+00:00",
    ]


BAD = {
    "NUL in a value": ({"lang": "e\0n"}, "no text has the character NUL"),
    "NUL in a list": ({"lang": {"$in": ["en", "d\0e"]}}, "no text has the character NUL"),
    "NUL in a name": ({"la\0ng": "en"}, "A filter names metadata fields"),
    "NUL in an id": ({"$id": "\0"}, "no text has the character NUL"),
    "an empty or": ({"$or": []}, "at least one"),
    "an empty not": ({"$not": {}}, "nothing would meet it"),
    "nothing said": ({"year": {}}, "says nothing of the field 'year'"),
    "an operator without its sign": ({"year": {"gte": 3}}, r"Unknown operator 'gte' .*did you mean \$gte\?"),
    "an iterator": ({"year": {"$in": iter([1990])}}, "takes a list"),
    "a text as list": ({"lang": {"$in": "en"}}, "takes a list"),
    "a list in a list": ({"year": {"$in": [[1990]]}}, "takes a text or a number"),
    "a list": ({"tags": ["sea", "boat"]}, r'takes a text or a number, got .* \(for one of several values: {"\$in"'),
    "no time": ({"day": np.datetime64("NaT")}, "it is no time"),
    "nanoseconds": ({"day": np.datetime64("2024-05-03T08:00:00.000000001", "ns")}, "finer than microseconds"),
    "a number as id": ({"$id": 3}, "ids are texts, got 3"),
    "whether it has an id": ({"$document": {"$exists": True}}, "Every passage has"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_condition(index, case):
    where, message = BAD[case]
    with pytest.raises(InputError, match=message):
        index.search(QUERY, where=where)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a", None], "has None in its list"),
        ([["a"]], "without lists or dicts in it, got list"),
        ([{"a": 1}], "without lists or dicts in it, got dict"),
        (np.zeros((2, 2)), r"an array of shape \(2, 2\)"),
        (["a\0"], "holds the character NUL"),
        ([1.0, float("nan")], "finite number"),
        (np.timedelta64(3, "D"), "got timedelta64"),
        (timedelta(3), "got timedelta"),
        (b"a", "got bytes"),
        ((one for one in "ab"), "got generator"),
        (np.datetime64("NaT"), "it is no time"),
    ],
)
def test_metadata_that_cannot_be_kept(tmp_path, value, message):
    with pytest.raises(InputError, match=message):
        made(tmp_path / "idx", [{"x": value}])
    assert not list(tmp_path.iterdir())


def test_a_field_of_the_dead_alone_is_none(tmp_path):
    index = made(tmp_path / "idx", [{"n": i, **({"gone": 1} if i < 2 else {})} for i in range(40)])
    assert found(index, {"gone": 1}) == ["p0", "p1"]
    index.delete(["p0"])
    assert found(index, {"gone": 1}) == ["p1"]
    index.delete(["p1"])
    assert index.n_segments == 1
    with pytest.raises(InputError, match=r"'gone', which the filter names\. There are 'n'\."):
        index.search(QUERY, where={"gone": {"$ne": 1}})
    with IndexWriter(index.path) as writer:
        writer.add([Passage("new", None, {"gone": 2, "n": "text"})], vectors(1, 3))
    index.refresh()
    assert found(index, {"gone": 2}) == ["new"]
    assert found(index, {"n": "text"}) == ["new"]
    index.delete(index.ids())
    assert found(index, {"anything": 1}) == [], "nothing is there to have it"


def test_no_metadata_at_all(tmp_path):
    index = made(tmp_path / "idx", [None, None])
    with pytest.raises(InputError, match="which the filter names; none has any metadata"):
        index.search(QUERY, where={"year": 3})


def test_many_fields_are_not_all_named(tmp_path):
    index = made(tmp_path / "idx", [{f"field{i:02}": i for i in range(50)}])
    with pytest.raises(InputError, match=r"'field00', .* and 30 more"):
        index.search(QUERY, where={"other": 3})


def test_long_lists_are_gone_through(tmp_path):
    """More steps than a file without lists could explain."""
    index = made(tmp_path / "idx", [{"numbers": list(range(100_000))}, {"numbers": [3]}])
    assert found(index, {"numbers": {"$gte": 99_999}}) == ["p0"]
    assert found(index, {"$and": [{"numbers": {"$ne": -n}} for n in range(1, 60)]}) == ["p0", "p1"]


@pytest.fixture
def cut(tmp_path):
    """Two documents that were cut up, one that wasn't, and a passage of "a" that has the id "b"."""
    ids = ["a#0", "a#1", "b", "c", "b#0", "b#1"]
    parts = [Part("a", 0, 5), Part("a", 5, 9), Part("a", 9, 12), None, Part("b", 0, 3), Part("b", 3, 6)]
    return made(tmp_path / "idx", [{"n": i} for i in range(6)], parts, ids)


def test_ids_of_documents_stand_for_their_passages(cut):
    assert found(cut, {"$document": "a"}) == ["a#0", "a#1", "b"]
    assert found(cut, {"$document": "c"}) == ["c"]
    assert found(cut, {"$document": {"$in": ["b", "c"]}}) == ["b#0", "b#1", "c"]
    assert found(cut, None, subset=["a"]) == ["a#0", "a#1", "b"]
    assert found(cut, None, subset=["b"]) == ["b"], "a passage comes first"
    assert found(cut, None, subset=np.array(["c", "a"])) == ["a#0", "a#1", "b", "c"]
    with pytest.raises(InputError, match="has the id 'nobody'"):
        cut.search(QUERY, subset=["a", "nobody"])
    with pytest.raises(InputError, match="A subset's ids have no NUL"):
        cut.search(QUERY, subset=["a\0"])
    with pytest.raises(
        InputError, match=r"'a' is the id of a document that was cut into 3 passages.*documents=\['a'\]"
    ):
        cut.get(["c", "a"])
    with pytest.raises(InputError, match="cut into 3 passages"):
        cut.number("a")


def test_a_passage_of_another_document_is_not_counted(cut):
    assert [passage.id for passage in cut.get(documents=["b"])] == ["b#0", "b#1"]
    with cut.writer() as writer:
        assert writer.ids_of_documents(["b", "c"]) == {"b": ["b#0", "b#1"], "c": ["c"]}
        writer.add([Passage("b", None, None, Part("z", 0, 1))], vectors(1, 5))
        assert writer.ids_of_documents(["b", "z"]) == {"b": ["b#0", "b#1"], "z": ["b"]}
    cut.refresh()
    assert cut.delete(documents=["b"]).deleted == 2
    assert sorted(cut.ids()) == ["a#0", "a#1", "b", "c"]


def test_deleting_a_document_by_its_id(cut):
    assert cut.delete(["a", "c"]).deleted == 4
    assert sorted(cut.ids()) == ["b#0", "b#1"]
    with pytest.raises(InputError, match="has the id 'a'"):
        cut.delete(["b", "a"])
    assert cut.delete(["b", "a"], missing_ok=True).deleted == 2


def test_texts_with_nul_come_back(tmp_path):
    texts = ["a\0b", "\0", "after\0" * 3]
    index = Index.create(tmp_path / "idx", [vectors(3)], texts=texts, nbits=16)
    assert [passage.text for passage in index.get(["0", "1", "2"])] == texts
    assert index.verify(full=True).ok


def test_an_id_that_nothing_has_is_named(tmp_path):
    index = made_with_a_cut_document(tmp_path / "idx")
    for where in ({"$document": "zz"}, {"$id": "doc"}, {"$or": [{"$document": {"$in": ["zz", "yy"]}}]}):
        with pytest.raises(InputError, match=r"No (document|passage) of this index has the id '(zz|doc)'"):
            index.search(np.eye(1, 8, dtype=np.float32), where=where)
    for where in ({"$document": {"$in": ["doc", "zz"]}}, {"$document": {"$ne": "zz"}}, {"$id": "doc¶1"}):
        assert index.search(np.eye(1, 8, dtype=np.float32), where=where).ids == ["doc¶1"]


def test_an_empty_list_is_nothing(tmp_path):
    index = made_with_a_cut_document(tmp_path / "idx", {"tags": []})
    assert index.get(["doc¶1"])[0].metadata == {"tags": None}


def made_with_a_cut_document(path, metadata=None):
    rows = [np.eye(1, 8, dtype=np.float32)]
    parts, ids = [("doc", 0, 1)], ["doc¶1"]
    return Index.create(path, [rows], ids=ids, parts=parts, metadata=[metadata], nbits=16)
