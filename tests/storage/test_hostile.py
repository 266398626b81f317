"""Files made to harm, their checksums signed anew: an error or an index, never a crash, never a hang."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.storage import real
from tests.storage.test_damage import FATAL
from tests.storage.test_manifest import signed
from tests.storage.toy import STEPS
from tests.storage.zygote import in_children
from xtrkit.errors import XtrkitError
from xtrkit.indexing.compressed_format import open_quantiser, open_tokens
from xtrkit.indexing.filters import compiled
from xtrkit.indexing.store import Properties
from xtrkit.lexical.bm25 import SegmentWords, WordIndex
from xtrkit.lexical.postings import open_words
from xtrkit.lexical.terms import ANALYSER
from xtrkit.recipes import COLBERT, XTR
from xtrkit.search.compressed import CompressedEngine
from xtrkit.storage.arrays import open_arrays
from xtrkit.storage.manifest import decoded
from xtrkit.storage.passage_file import PassageFile
from xtrkit.values import EVERYONE, Ragged, Segment

ODD = [
    None,
    True,
    False,
    0,
    1,
    -1,
    7,
    2**31,
    2**32 - 1,
    2**53,
    2**63,
    2**64,
    1.5,
    1e308,
    "",
    "x",
    "../x",
    "a" * 99,
    "\0",
    [],
    {},
    [[]],
]
BYTES = [0, 1, 0x7F, 0x80, 0xFE, 0xFF]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of a small index: manifest, codec, arrays and passages of one segment."""
    directory = tmp_path_factory.mktemp("hostile") / "index"
    for step in STEPS[:6]:
        real.apply(directory, step)
    manifest = real.Opened(directory).manifest
    (segment,) = manifest.segments
    names = {"codec": manifest.codec.name, "tokens": segment.vectors.name, "passages": segment.passages.name}
    names["words"] = segment.words.name
    names["manifest"] = f"manifest-{manifest.generation:012d}.json"
    return segment, {kind: (directory / name).read_bytes() for kind, name in names.items()}, names


def changed_json(value, random):
    """A value with one of its parts changed, at any depth."""
    if isinstance(value, dict | list) and value and random.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[int(random.integers(len(keys)))]
        copy = value.copy()
        kind = random.random()
        if kind < 0.1:
            del copy[key]
        elif kind < 0.15 and isinstance(copy, dict):
            copy[str(ODD[int(random.integers(len(ODD)))])] = copy[key]
        elif kind < 0.2 and isinstance(copy, list):
            copy.append(copy[key])
        else:
            copy[key] = changed_json(value[key], random)
        return copy
    if isinstance(value, int) and random.random() < 0.5:
        return int(value) + int(random.integers(-9, 10))
    return ODD[int(random.integers(len(ODD)))]


def changed_bytes(content, random, first=0):
    """Content with some bytes changed, and sometimes cut or longer."""
    content = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        place = first + int(random.integers(len(content) - first)) if len(content) > first else 0
        if random.random() < 0.3:
            size = int(random.integers(1, 9))
            content[place : place + size] = bytes([BYTES[int(random.integers(len(BYTES)))]]) * size
        else:
            content[place : place + 1] = bytes([int(random.integers(256))])
    if random.random() < 0.1:
        del content[int(random.integers(len(content))) :]
    if random.random() < 0.05:
        content += bytes(int(random.integers(1, 100)))
    return bytes(content)


def changed_arrays(content, random):
    """An array file with another header, or with other numbers in it."""
    size = int.from_bytes(content[:8], "little")
    if random.random() < 0.5:
        header = json.dumps(changed_json(json.loads(content[8 : 8 + size]), random)).encode()
        header += b" " * (-(8 + len(header)) % 64)
        return len(header).to_bytes(8, "little") + header + content[8 + size :]
    if random.random() < 0.5:
        return changed_bytes(content, random)
    return changed_bytes(content, random, 8 + size)[: len(content)].ljust(len(content), b"\xff")


class Loader:
    """Loads one changed file after the other, as opening and searching an index does."""

    def __init__(self, files, box):
        self._segment, self._contents, self._names = files
        self._box = Path(box)
        for kind in ("codec", "tokens", "passages", "words"):
            (self._box / kind).write_bytes(self._contents[kind])

    def __call__(self, given):
        kind, seed = given
        random = np.random.default_rng(seed)
        try:
            with np.errstate(all="ignore"):  # scales that are no numbers give scores that are none
                getattr(self, kind)(random)
        except XtrkitError:
            return False
        return True

    def manifest(self, random):
        record = json.loads(self._contents["manifest"].splitlines()[0])
        for _ in range(int(random.integers(1, 3))):
            record = changed_json(record, random)
        path = self._box / self._names["manifest"]
        try:
            content = signed(record)
        except ValueError:
            return
        manifest = decoded(content if random.random() < 0.9 else changed_bytes(content, random), path)
        Properties.of(manifest, path)

    def codec(self, random):
        self._search("codec", random)

    def tokens(self, random):
        self._search("tokens", random)

    def _search(self, kind, random):
        (self._box / "changed").write_bytes(changed_arrays(self._contents[kind], random))
        paths = {name: self._box / ("changed" if name == kind else name) for name in ("codec", "tokens")}
        for values in open_arrays(self._box / "changed").values():
            values.tobytes()
        quantiser = open_quantiser(paths["codec"], "grid", 4)
        tokens = open_tokens(paths["tokens"], quantiser, self._segment.documents, self._segment.tokens)
        live = random.random(self._segment.documents) < 0.7 if random.random() < 0.5 else EVERYONE
        engine = CompressedEngine([Segment(tokens, live)])
        query = Ragged.from_arrays([real.vectors_of("query")], dim=8)
        if quantiser.dim == real.DIM:
            engine.search(query, 3, XTR)
            engine.search(query, 3, COLBERT)
            engine.vectors(0)

    def words(self, random):
        path, n = self._box / "changed", self._segment.documents
        path.write_bytes(changed_arrays(self._contents["words"], random))
        words = open_words(path, n)
        words.problem()
        live = random.random(n) < 0.7 if random.random() < 0.5 else EVERYONE
        scores = WordIndex([SegmentWords(words, ANALYSER, live, n)]).scores("text of n1g3 n6g3")
        assert len(scores) == n

    def passages(self, random):
        path = self._box / "changed"
        path.write_bytes(changed_bytes(self._contents["passages"], random))
        file = PassageFile(path, self._segment.documents)
        file.problems()
        try:
            condition = compiled({"length": {"$gte": 3}})
            file.matching(condition.sql, condition.values)
            list(file.all_passages(texts=True))
            for number in range(self._segment.documents):
                file.passages([number])
        finally:
            file.close()


def check_hostile(files, box, number):
    kinds = ["manifest", "codec", "tokens", "passages", "words"]
    given = [(kinds[seed % 5], seed) for seed in range(number)]
    for seed in range(10):
        Loader(files, box)((kinds[seed % 5], seed))  # compiles what children would compile each
    opened = 0
    for what, (status, result) in in_children(Loader(files, box), given, at_a_time=1000):
        assert status not in [-fatal for fatal in FATAL], what
        assert result is not None, (what, status)
        opened += result
    assert 0 < opened < number
    print(f"{number} hostile files: {number - opened} refused, the others read and searched")  # noqa: T201


def test_hostile_files(files, box):
    check_hostile(files, box, 2000)


@pytest.mark.slow
def test_many_hostile_files(files, box):
    check_hostile(files, box, 120_000)
