"""The writer: what is committed, what can't be, and that a refused batch leaves no trace."""

import hashlib
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.conftest import unit_rows
from xtrkit.cli.app import app
from xtrkit.errors import IndexFormatError, IndexLockedError, InputError
from xtrkit.index import Index
from xtrkit.indexing import writer as writers
from xtrkit.indexing.checking import verify
from xtrkit.indexing.filters import compiled
from xtrkit.indexing.merging import Source
from xtrkit.indexing.repairing import drop_segment
from xtrkit.passage import Passage

RANDOM = np.random.default_rng(5)
DIM = 16


def documents(number, seed=0):
    random = np.random.default_rng(seed)
    return [unit_rows(random, int(random.integers(1, 6)), DIM) for _ in range(number)]


@pytest.fixture(params=[16, 4], ids=["exact", "compressed"])
def path(request, tmp_path):
    metadata = [{"n": i, "lang": "en" if i % 3 else "de", "half": i / 2, "odd": bool(i % 2)} for i in range(30)]
    ids, texts = [f"d{i}" for i in range(30)], [f"text {i}" for i in range(30)]
    Index.create(
        tmp_path / "idx", [documents(30)], ids=ids, texts=texts, metadata=metadata, nbits=request.param
    ).close()
    return tmp_path / "idx"


def digest(directory):
    return {file.name: hashlib.sha256(file.read_bytes()).digest() for file in directory.iterdir()}


def ranking(index, seed=9, **choices):
    query = unit_rows(np.random.default_rng(seed), 3, DIM)
    return list(index.search(query, k=200, nprobe="all", imputation="none", **choices))


def test_segments_are_searched_as_one(path, monkeypatch):
    """Added in five commits with updates and deletions, before and after a merge: the same ranking."""
    monkeypatch.setattr(writers, "MOST_CHANGED", np.inf)
    index = Index.open(path)
    for number in range(5):
        with index.writer() as writer:
            writer.add([f"e{number} {i}" for i in range(7)], documents(7, seed=number + 1))
            writer.update(["d1", f"d{number + 2}"], documents(2, seed=number + 100))
            writer.delete([f"d{number + 10}"])
    assert index.refresh()
    assert (len(index), index.generation) == (30 + 35 - 5, 6)
    assert index.n_segments == 6
    before = ranking(index)
    assert len(before) == 60
    opened = index.snapshot()
    summary = index.compact(retrain=False)
    assert (summary.segments, summary.documents, summary.retrained) == (1, 60, False)
    assert ranking(opened) == before, "an opened index stays as it is"
    assert index.n_segments == 1
    after = ranking(index)
    assert dict(after).keys() == dict(before).keys()
    for identifier, score in after:
        assert score == pytest.approx(dict(before)[identifier], abs=1e-6)
    assert verify(path, full=True).ok


def test_what_changed_too_much_is_merged(path):
    """There are few segments and few dead documents, however many commits there were; each is as right as before."""
    index, segments, kept = Index.open(path), [], {f"d{i}" for i in range(30)}
    for number in range(40):
        with index.writer() as writer:
            writer.add([f"e{number}"], documents(1, seed=number))
            if number % 4 == 0:
                writer.delete([f"d{number // 4}"])
                kept.remove(f"d{number // 4}")
        kept.add(f"e{number}")
        index.refresh()
        segments.append(index.n_segments)
        facts = [segment.facts for segment in index._store.segments]
        assert sum(segment.dead for segment in facts) <= len(kept) / 2
    assert 1 < max(segments) <= 4
    assert set(index.ids()) == kept
    assert verify(path, full=True).ok


@pytest.mark.parametrize(
    ("sizes", "dead", "merged"),
    [
        ([100], [0], 0),
        ([100], [20], 0),
        ([100], [21], 1),
        ([100, 25], [0, 0], 0),
        ([100, 26], [0, 0], 2),
        ([100, 10], [16, 0], 2),
        ([1000, 100, 26], [0, 0, 0], 2),
        ([1000, 100, 25], [0, 0, 0], 0),
        ([1000, 200, 51], [0, 0, 0], 3),
        ([1000, 100, 9, 2], [0, 0, 0, 1], 1),
        ([1000, 100, 9, 2], [0, 0, 0, 0], 0),
    ],
)
def test_which_segments_are_merged(tmp_path, sizes, dead, merged):
    """Each has living tokens four times as many as died in it and came after it."""
    one, sources = np.ones((1, 4), np.float32), []
    for number, (size, gone) in enumerate(zip(sizes, dead, strict=True)):
        Index.create(tmp_path / str(number), [[one] * size], nbits=16).close()
        (segment,) = Index.open(tmp_path / str(number))._store.segments
        sources.append(Source(segment, np.arange(size) >= gone))
    kept, tail = writers._tail(sources)
    assert (len(tail), kept + tail) == (merged, sources)


def test_more_than_memory_is_written_on_the_way(path, monkeypatch):
    monkeypatch.setattr(writers, "STAGED_BYTES", 100)
    with Index.open(path).writer() as writer:
        for number in range(3):
            passages = [Passage(name, f"text {number}") for name in (f"e{number}", "again")]
            writer.add(passages, documents(2, seed=number))
    index = Index.open(path)
    assert (writer.summary.added, len(index)) == (4, 34)
    assert index.get(["again"])[0].text == "text 2"


def test_nothing_done_makes_no_generation(path):
    before = digest(path)
    with Index.open(path).writer() as writer:
        writer.delete([])
    assert writer.summary.generation == 1
    assert {name: value for name, value in digest(path).items() if name != "writer.lock"} == before


def test_a_deleted_id_may_come_again(path):
    index = Index.open(path)
    with index.writer() as writer:
        writer.delete(["d3"])
        writer.add([Passage("d3", "new")], documents(1, seed=8))
    index.refresh()
    assert index.get(["d3"])[0].text == "new"
    assert len(index) == 30


ONE = documents(1)
BAD_BATCHES = {
    "an id twice": (["a", "a"], documents(2), {}, "The id 'a' comes twice in a batch"),
    "an id that is none": ([1], ONE, {}, "Ids must be strings, got 1 of type int"),
    "a string of ids": (
        "ab",
        documents(2),
        {},
        "There must be a list of passages or ids, one for each document, got 'ab' of type",
    ),
    "no ids": (None, ONE, {}, "Give an id for each document, got None"),
    "metadata of text": (["a"], ONE, {"metadata": "n"}, "metadata of 'a' must be a dict, got str"),
    "a part that is none": (["a"], ONE, {"part": "doc"}, r"part that 'a' is must be .* got 'doc'"),
    "a part of no document": (["a"], ONE, {"part": (None, 0, 1)}, "a string and two places in its text"),
    "a part without an end": (["a"], ONE, {"part": ("doc", 0)}, r"got \('doc', 0\)"),
    "a part backwards": (["a"], ONE, {"part": ("doc", 3, 2)}, r"got \('doc', 3, 2\)"),
    "a part at no place": (["a"], ONE, {"part": ("doc", 0.0, 2)}, "two places in its text"),
    "a part of half a character": (["a"], ONE, {"part": ("\udc00", 0, 2)}, "a string and two places"),
    "None as id": ([None], ONE, {}, "Ids must be strings"),
    "bytes as id": ([b"a"], ONE, {}, "Ids must be strings"),
    "an empty id": ([""], ONE, {}, "at least one character"),
    "NUL in an id": (["a\0"], ONE, {}, "no NUL"),
    "half a character": (["\ud800"], ONE, {}, "half a surrogate pair"),
    "a long id": (["x" * 513], ONE, {}, "Ids may have 512 bytes"),
    "too few ids": (["a"], documents(2), {}, "There are 1 passages, but more documents"),
    "too many ids": (["a", "b"], ONE, {}, "There are more passages than the 1 documents"),
    "a text that is none": (["a"], ONE, {"text": 3}, "Texts must be strings, got 3"),
    "half a character in a text": (["a"], ONE, {"text": "\udc00"}, "half a surrogate pair"),
    "metadata that are none": (["a"], ONE, {"metadata": [1]}, "metadata of 'a' must be a dict"),
    "nested metadata": (["a"], ONE, {"metadata": {"x": {"y": 1}}}, "got dict"),
    "a list in a list as metadata": (["a"], ONE, {"metadata": {"x": [[1]]}}, "without lists or dicts in it, got list"),
    "NaN as metadata": (["a"], ONE, {"metadata": {"x": float("nan")}}, "finite number, got nan"),
    "infinity as metadata": (["a"], ONE, {"metadata": {"x": float("inf")}}, "finite number, got inf"),
    "a large number as metadata": (["a"], ONE, {"metadata": {"x": 2**63}}, "fit into 64 bits"),
    "a number as field": (["a"], ONE, {"metadata": {3: 1}}, "needs a name"),
    "an empty field": (["a"], ONE, {"metadata": {"": 1}}, "needs a name"),
    "a quoted field": (["a"], ONE, {"metadata": {'x"': 1}}, "needs a name"),
    "another dimension": (["a"], [unit_rows(RANDOM, 2, 8)], {}, "has vectors of 8 dimensions, those before had 16"),
    "no tokens": (["a"], [np.zeros((0, DIM), np.float32)], {}, "at least one token"),
    "one axis": (["a"], [np.zeros(DIM, np.float32)], {}, "expected token vectors of shape"),
    "three axes": (["a"], [np.zeros((1, 1, DIM), np.float32)], {}, "expected token vectors of shape"),
    "whole numbers": (["a"], [np.ones((2, DIM), np.int32)], {}, "floating-point numbers, got int32"),
    "a list": (["a"], [[[1.0] * DIM]], {}, "got list"),
    "NaN": (["a"], [np.full((2, DIM), np.nan, np.float32)], {}, "NaN, infinity"),
    "infinity": (["a"], [np.full((2, DIM), np.inf, np.float32)], {}, "NaN, infinity"),
    "too large": (["a"], [np.full((2, DIM), 1e6, np.float32)], {}, "beyond ±65504"),
    "zeros": (["a"], [np.zeros((2, DIM), np.float32)], {}, "a token vector of zeros"),
    "one of two": (["a", "b"], [*ONE, np.full((2, DIM), np.nan, np.float32)], {}, "Document 'b' has NaN"),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_a_bad_batch_is_refused_whole(path, case):
    ids, embeddings, more, message = BAD_BATCHES[case]
    index = Index.open(path)
    index.writer().close()
    before = digest(path)
    with pytest.raises(InputError, match=message), index.writer() as writer:
        writer.add([Passage(ids[0], **more)] if more else ids, embeddings)
    assert digest(path) == before
    with index.writer() as writer:
        with pytest.raises(InputError, match=message):
            writer.add([Passage(ids[0], **more)] if more else ids, embeddings)
        writer.add(["good"], ONE)
    index.refresh()
    assert set(index.ids()) == {*(f"d{i}" for i in range(30)), "good"}


BAD_CALLS = {
    "delete what is not there": (lambda writer: writer.delete(["d1", "zz"]), "has the id 'zz'"),
    "delete a number": (lambda writer: writer.delete([1]), "Ids must be strings, got 1"),
    "delete a string": (lambda writer: writer.delete("d1"), "Ids are given as a list, got 'd1' of type str"),
    "update what is not there": (lambda writer: writer.update(["zz"], ONE), "has the id 'zz'"),
    "update with other dimensions": (
        lambda writer: writer.update(["d1"], [unit_rows(RANDOM, 2, 8)]),
        "those before had",
    ),
    "update one twice": (lambda writer: writer.update(["d1", "d1"], documents(2)), "comes twice in a batch"),
    "add once it has given up": (lambda writer: (writer.close(), writer.add(["a"], ONE)), "has committed or given up"),
    "update half": (lambda writer: writer.update(["d1", "zz"], documents(2)), "has the id 'zz'"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_a_bad_call_changes_nothing(path, case):
    call, message = BAD_CALLS[case]
    index = Index.open(path)
    index.writer().close()
    before = digest(path)
    with pytest.raises(InputError, match=message), index.writer() as writer:
        call(writer)
    assert digest(path) == before


BAD_FILTERS = {
    "no dict": (["n"], "A filter must be a dict"),
    "a string": ("n = 1", "A filter must be a dict"),
    "an unknown operator": ({"n": {"$like": "x"}}, r"Unknown operator '\$like' on the field 'n'"),
    "an operator as field": ({"$gte": 3}, r"names metadata fields, or \$and, \$or, \$not"),
    "a quoted field": ({'n"': 3}, "names metadata fields"),
    "an empty field": ({"": 3}, "names metadata fields"),
    "a number as field": ({3: 3}, "names metadata fields"),
    "or without a list": ({"$or": {"n": 1}}, r"\$or in a filter takes a list"),
    "in without a list": ({"n": {"$in": 3}}, "takes a list"),
    "exists without a boolean": ({"n": {"$exists": 1}}, "is true or false, got 1"),
    "a list as value": ({"n": [1]}, "takes a text or a number"),
    "NaN": ({"n": {"$gte": float("nan")}}, "takes a text or a number, got nan"),
    "a boolean in order": ({"odd": {"$gte": True}}, "takes a text or a number, got True"),
    "None in order": ({"n": {"$lt": None}}, "takes a text or a number, got None"),
    "a large number": ({"n": 2**63}, "does not fit into 64 bits"),
    "half a character": ({"n": "\ud800"}, "half a surrogate pair"),
    "too deep": (json.loads('{"$not":' * 30 + "{}" + "}" * 30), "A filter must be a dict"),
    "too many values": ({"n": {"$in": list(range(900))}}, "A filter may hold 900 values"),
    "a field that none has": ({"nn": 3}, "has the metadata field 'nn', which the filter names: did you mean 'n'"),
    "another kind": ({"n": "3"}, "'n' holds numbers, and the filter compares it with texts such as '3'"),
}


@pytest.mark.parametrize("case", BAD_FILTERS)
def test_a_filter_that_is_none(path, case):
    where, message = BAD_FILTERS[case]
    before = digest(path)
    with pytest.raises(InputError, match=message):
        ranking(Index.open(path), where=where)
    assert digest(path) == before


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, lambda n: True),
        ({"n": 3}, lambda n: n == 3),
        ({"n": 3.0}, lambda n: n == 3),
        ({"half": {"$gt": 3, "$lte": 5.5}}, lambda n: 3 < n / 2 <= 5.5),
        ({"odd": True}, lambda n: n % 2 == 1),
        ({"lang": "de"}, lambda n: n % 3 == 0),
        ({"lang": {"$ne": "de"}}, lambda n: n % 3 > 0),
        ({"lang": {"$gt": "de"}}, lambda n: n % 3 > 0),
        ({"n": {"$in": [1, 2, "x"]}}, lambda n: n in (1, 2)),
        ({"n": {"$in": []}}, lambda n: False),
        ({"n": {"$nin": [1, 2]}}, lambda n: n not in (1, 2)),
        ({"none": {"$exists": False}}, lambda n: True),
        ({"lang": None}, lambda n: False),
        ({"n": {"$exists": True}}, lambda n: True),
        ({"$or": [{"n": 1}, {"lang": "de", "n": {"$lt": 5}}]}, lambda n: n == 1 or (n % 3 == 0 and n < 5)),
        ({"$and": [{"n": {"$gte": 3}}, {"$not": {"odd": True}}]}, lambda n: n >= 3 and n % 2 == 0),
        ({"n') OR 1 --": {"$exists": True}}, lambda n: False),
        ({"lang": "de' OR 1 --"}, lambda n: False),
    ],
)
def test_filters(path, where, expected):
    """k results where k match, in the order of the whole ranking."""
    index = Index.open(path)
    whole = ranking(index)
    found = ranking(index, where=where)
    assert [identifier for identifier, _ in found] == [name for name, _ in whole if expected(int(name[1:]))]
    assert "OR 1 --" not in compiled(where).sql


def test_two_writers(path):
    index = Index.open(path)
    with index.writer() as writer:
        writer.add(["e"], documents(1))
        with pytest.raises(IndexLockedError, match="changing the index at"):
            index.writer()
    with pytest.raises(InputError, match="has committed or given up"):
        writer.add(["f"], documents(1))


def test_a_writer_needs_an_index(tmp_path):
    with pytest.raises(IndexFormatError, match="There is no index at"):
        writers.IndexWriter(tmp_path)
    assert not list(tmp_path.iterdir())


def test_drift_is_told_and_compact_finds_new_centroids(tmp_path):
    random = np.random.default_rng(0)
    here = [unit_rows(random, 8, DIM) + np.eye(DIM, dtype=np.float32)[0] * 3 for _ in range(200)]
    there = [unit_rows(random, 8, DIM) - np.eye(DIM, dtype=np.float32)[1] * 3 for _ in range(200)]
    index = Index.create(tmp_path / "idx", [here], nbits=4)
    with index.writer() as writer:
        writer.add([f"x{i}" for i in range(200)], there)
    assert writer.summary.drift > writers.DRIFT_LIMIT
    assert "`xtrkit compact INDEX` finds new ones" in writer.summary.advice
    summary = index.compact()
    assert summary.retrained
    assert summary.advice is None


def test_damage_is_not_given_a_fresh_checksum(path):
    """Merging reads what it merges against its sha256 first."""
    index = Index.open(path)
    with index.writer() as writer:
        writer.add(["e"], documents(1))
    file = next(path.glob("s000000000001-*.vectors.safetensors"))
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    with pytest.raises(IndexFormatError, match=f"{file.name} is damaged .its content"):
        index.compact()
    report = verify(path, full=True)
    assert [(problem.file, problem.segment) for problem in report.problems] == [(file.name, file.name[:22])]
    assert report.problems[0].ids[:2] == ["d0", "d1"]
    assert report.repair == [f"xtrkit repair {path} --drop-segment {file.name[:22]}"]
    generation, lost, n_lost = drop_segment(path, file.name[:22])
    assert n_lost == len(lost)
    assert sorted(lost) == sorted(f"d{i}" for i in range(30))
    assert list(Index.open(path).ids()) == ["e"]
    assert generation == 3
    with pytest.raises(InputError, match="is the only segment"):
        drop_segment(path, Index.open(path)._store.segments[0].facts.name)
    with pytest.raises(InputError, match="has no segment 'nothing'"):
        drop_segment(path, "nothing")


class Ran:
    def __init__(self, result):
        self.returncode, self.stdout = result.exit_code, result.stdout
        self.stderr = str(result.exception)


def run(*arguments):
    return Ran(CliRunner().invoke(app, [str(argument) for argument in arguments]))


def test_the_command_line(tmp_path):
    """index, add, search --where, delete, compact, verify, repair: each does what it says."""
    lines = [{"_id": str(i), "text": f"Passage number {i}.", "metadata": {"year": 2000 + i}} for i in range(8)]
    for name, part in {"first": lines[:5], "more": lines[4:]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in part))
    idx = tmp_path / "idx"
    assert run("index", tmp_path / "first.jsonl", idx).returncode == 0
    added = json.loads(run("add", idx, tmp_path / "more.jsonl", "--json").stdout)
    assert (added["added"], added["updated"], added["documents"], added["generation"]) == (3, 1, 8, 2)
    found = json.loads(run("search", idx, "Which passage?", "--where", '{"year": {"$gt": 2005}}', "--json").stdout)
    assert {hit["id"] for hit in found["hits"]} == {"6", "7"}
    assert "--where must be JSON" in run("search", idx, "x", "--where", "year > 3").stderr
    assert "Deleted 1 passages" in run("delete", idx, "0").stdout
    assert "No document of this index has the id '0'" in run("delete", idx, "0").stderr
    assert run("delete", idx, "0", "--missing-ok").returncode == 0
    assert "generation 4 has 7 passages in 1 segment." in run("compact", idx).stdout
    report = run("verify", idx, "--full", "--json")
    assert (report.returncode, json.loads(report.stdout)["ok"]) == (0, True)
    assert f"Copied generation 4 to {tmp_path / 'copy'}." in run("backup", idx, tmp_path / "copy").stdout
    assert json.loads(run("verify", tmp_path / "copy", "--full", "--json").stdout)["ok"]
    assert "exists already: choose another place for the copy" in run("backup", idx, tmp_path / "copy").stderr
    assert run("vectors", idx, tmp_path / "out.safetensors").returncode == 0
    assert len((tmp_path / "out.ids.txt").read_text().splitlines()) == 7
    (file,) = idx.glob("*.vectors.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    broken = run("verify", idx, "--json")
    problem = json.loads(broken.stdout)["problems"][0]
    assert (broken.returncode, problem["file"], problem["ids"]) == (1, file.name, ["1", "2", "3", "4", "5", "6", "7"])
    assert json.loads(broken.stdout)["repair"] == [f"xtrkit repair {idx} --reencode {problem['segment']}"]
    encoded = run("repair", idx, "--reencode", problem["segment"])
    assert "Generation 5 has 7 passages encoded anew" in encoded.stdout, encoded.stderr
    assert json.loads(run("verify", idx, "--full", "--json").stdout)["ok"]
    assert "Choose one way" in run("repair", idx).stderr
