"""The passages of a segment: what was written comes back, and what was not is never shown."""

import signal
import sqlite3

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.errors import IndexDamagedError, InputError
from xtrkit.passage import Part, Passage, checked_passage
from xtrkit.storage import passage_file
from xtrkit.storage.files import facts_of
from xtrkit.storage.passage_file import PassageFile, write_passages

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.none() | scalars | st.lists(scalars, min_size=1, max_size=3)
names = texts.filter(lambda name: name and name.isprintable() and not set(name) & set('"\\') and name[0] != "$")
fields = st.dictionaries(names, values, min_size=1, max_size=3)
parts = st.builds(Part, texts.filter(bool), st.integers(0, 9), st.integers(10, 99))
passages = st.lists(
    st.builds(Passage, texts.filter(bool), st.none() | texts, st.none() | fields, st.none() | parts),
    min_size=1,
    max_size=8,
    unique_by=lambda passage: passage.id,
)

THREE = [Passage("a", "first", {"year": 2020}), Passage("b", "second", {"year": 2021}), Passage("c")]


@pytest.fixture
def three(tmp_path):
    write_passages(tmp_path, "docs", THREE)
    return tmp_path / "docs"


@given(passages)
def test_what_is_written_is_what_is_read(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("passages") / "docs"
    facts = write_passages(path.parent, path.name, map(checked_passage, written))
    assert facts == facts_of(path)
    read = PassageFile(path, len(written))
    assert list(read.all_passages(texts=True)) == written
    backwards = list(range(len(written)))[::-1]
    assert read.passages(backwards) == written[::-1]
    for document in {passage.part.document for passage in written if passage.part}:
        cut_out = {n: p._replace(text=None) for n, p in enumerate(written) if p.part and p.part.document == document}
        assert read.of_documents([document, "nobody's"]) == cut_out
    assert [read.number(passage.id) for passage in written] == list(range(len(written)))
    assert read.ids(range(len(written))) == [passage.id for passage in written]
    assert read.problems() == []
    read.close()
    assert [path.name for path in path.parent.iterdir()] == ["docs"], "no journal, no lock"


def test_ids_that_are_remembered_are_those_of_the_file(three, monkeypatch):
    monkeypatch.setattr(passage_file, "IDS_KEPT", 2)
    read = PassageFile(three, 3)
    for numbers in ([0], [1, 0], [2, 1, 0], [0, 2, 0], [], [1]):
        assert read.ids(numbers) == ["abc"[number] for number in numbers]
        assert len(read._ids) <= 3
    with pytest.raises(IndexDamagedError, match="passage 3 is missing"):
        read.ids([0, 3])
    read.close()
    with pytest.raises(InputError, match="The index is closed"):
        read.ids([1])


def test_an_id_that_comes_twice_leaves_no_file(tmp_path):
    with pytest.raises(InputError, match="The id 'a' comes twice"):
        write_passages(tmp_path, "docs", [Passage("a"), Passage("a")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("passage", "why"),
    [
        (Passage(1), "Ids must be strings, got 1 of type int"),
        (Passage(""), "at least one character"),
        (Passage("a\0b"), "no NUL"),
        (Passage("\ud800"), "surrogate"),
        (Passage("é" * 257), "Ids may have 512 bytes, .* has 514"),
        (Passage("a", 3), "Texts must be strings, got 3 of type int for the id 'a'"),
        (Passage("a", "\udfff"), "surrogate"),
        (Passage("a", None, [1]), "metadata of 'a' must be a dict, got list"),
        (Passage("a", None, {1: 1}), "name that is a string"),
        (Passage("a", None, {'"': 1}), "name that is a string"),
        (
            Passage("a", None, {"x": {"y": 1}}),
            "must be a string, a number, a boolean or None, or a list of such, got dict",
        ),
        (Passage("a", None, {"x": [1, None]}), "has None in its list"),
        (Passage("a", None, {"x": "a\0b"}), "holds the character NUL"),
        (Passage("a", None, {"$id": 1}), "needs another name"),
        (Passage("a", None, {"x": float("nan")}), "finite number, got nan"),
        (Passage("a", None, {"x": 2**63}), "fit into 64 bits"),
        (Passage("a", None, {"x": "\ud800"}), "surrogate"),
    ],
)
def test_what_could_not_be_stored_is_told_before(passage, why):
    with pytest.raises(InputError, match=why):
        checked_passage(passage)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE other (x)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM meta; END",
        "CREATE INDEX i ON texts (text)",
        "DROP TABLE texts",
        "DROP INDEX of_document",
        "ALTER TABLE texts RENAME TO words",
        "DELETE FROM meta WHERE number = 2",
        "DELETE FROM meta WHERE number = 0",
        "INSERT INTO meta VALUES (9, 'x', NULL, NULL, NULL, NULL, NULL, 0)",
    ],
)
def test_other_tables_than_ours_are_refused(three, statement):
    with sqlite3.connect(three) as connection:
        connection.execute(statement)
    with pytest.raises(IndexDamagedError, match="docs is damaged"):
        PassageFile(three, 3)


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("UPDATE texts SET text = 'other' WHERE number = 0", lambda file: file.passages([0])),
        ("UPDATE texts SET text = x'ff' WHERE number = 0", lambda file: file.passages([0])),
        ("UPDATE texts SET number = 5 WHERE number = 0", lambda file: file.passages([0])),
        ("INSERT INTO texts VALUES (2, 'never written')", lambda file: file.passages([2])),
        ("UPDATE meta SET id = 'x' WHERE number = 0", lambda file: file.ids([0])),
        ("UPDATE meta SET id = 7 WHERE number = 0", lambda file: file.ids([0])),
        ("UPDATE meta SET fields = '{}' WHERE number = 0", lambda file: file.passages([0])),
        ("UPDATE meta SET text_crc = NULL WHERE number = 0", lambda file: file.ids([0])),
        ("UPDATE meta SET document = 'other' WHERE number = 0", lambda file: file.of_documents(["other"])),
        ("DELETE FROM meta WHERE number = 1", lambda file: list(file.all_passages())),
        ("DELETE FROM meta WHERE number = 1", lambda file: file.ids([1])),
    ],
)
def test_a_changed_row_is_never_shown(three, statement, read):
    with sqlite3.connect(three) as connection:
        connection.execute(statement)
    file = PassageFile(three, 3)
    with pytest.raises(IndexDamagedError, match="docs is damaged"):
        read(file)
    assert file.problems()


def test_flipped_bits_of_a_large_file_are_problems_and_not_errors(tmp_path):
    """In a file of many pages, others break than in one of three."""
    written = [Passage(f"id {number}", f"text {number} " * 20, {"n": number}) for number in range(300)]
    size, random = write_passages(tmp_path, "docs", written).size, np.random.default_rng(0)
    content, reported, path = (tmp_path / "docs").read_bytes(), 0, tmp_path / "flipped"
    for _ in range(100):
        flipped, bit = bytearray(content), int(random.integers(8 * size))
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            file = PassageFile(path, len(written))
        except IndexDamagedError:
            continue
        if file.problems():
            reported += 1
        else:
            assert list(file.all_passages(texts=True)) == written
        file.close()
    assert reported > 30


def test_a_closed_file_says_so(three):
    file = PassageFile(three, 3)
    file.close()
    with pytest.raises(InputError, match="closed"):
        file.passages([0])


def test_a_statement_that_does_not_end_is_stopped(three):
    """A hostile file could make SQLite walk in circles; here the circle is in the condition."""
    file = PassageFile(three, 3)
    endless = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n)"
    with pytest.raises(IndexDamagedError, match="interrupted"):
        file.matching(endless, ())


def test_ctrl_c_is_no_damage(three, monkeypatch):
    """A signal that comes while SQLite works is what it is, not a statement that was stopped for its steps."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    monkeypatch.setattr("xtrkit.storage.passage_file.STEPS_PER_PASSAGE", 10**9)
    file = PassageFile(three, 3)
    long = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500000) SELECT max(i) FROM n)"
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            file.matching(long, ())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
