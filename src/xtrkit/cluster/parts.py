"""What the build of a cluster has made so far: parts that are written once, in a directory that all workers see.

::

    .NAME.building/
      lock                         held by the process that directs the build
      model-HASH/                  what encodes
      texts-000007-HASH/           passages of a partition, consecutive ones
      vectors-000007-HASH/         their token vectors, float16, and how many each passage has
      layout-HASH/                 which partitions there are, and where the vectors of each passage begin
      sampled-000003-HASH/         of some consecutive tokens, vectors of those that centroids are found on
      centroids-HASH/              what was found on all of these
      assigned-000003-HASH/        clusters of some consecutive tokens, and sums over each cluster
      codec-HASH/                  what all shards share
      compressed-000003-HASH/      codes of some consecutive tokens
      shard-0001-HASH/             the files of a shard

A part is made under another name, flushed, and renamed: it is there whole or not at all, whoever is killed meanwhile,
and whoever comes second throws away what would be the same. HASH stands for all that a part was made of.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing import spool
from xtrkit.indexing.centroids import CentroidTree
from xtrkit.indexing.postings import Trained
from xtrkit.passage import Part, Passage
from xtrkit.storage.arrays import open_arrays, write_arrays
from xtrkit.storage.files import flush, storage_errors
from xtrkit.values import EncoderIdentity, offsets_of

Halves = npt.NDArray[np.float16]

ATTEMPT = "attempt-"
PASSAGES, ROWS, ARRAYS, FACTS = "passages.jsonl", "rows.f16", "arrays.safetensors", "facts.json"
ENCODED_BY = "encoded_by.txt"

FEW = 16
"""Of so many vectors a page of memory has one that is wanted, or less: then each is read alone."""


def hash_of(*facts: Any) -> str:
    """Sixteen digits that stand for some facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def once(workplace: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Make a part, unless it is there; return where it is.

    Args:
        workplace: where parts are.
        name: the part's.
        make: fills an empty directory; whenever it is called for this name, with the same.

    Raises:
        StorageError: it could not be written.
    """
    final, attempt = workplace / name, workplace / f"{ATTEMPT}{secrets.token_hex(8)}"
    if final.is_dir():
        return final
    try:
        with storage_errors(attempt, "making it"):
            attempt.mkdir()
        make(attempt)
        for file in sorted(attempt.iterdir()):
            flush(file)
        flush(attempt)
        with storage_errors(final, "naming it"):
            try:
                attempt.rename(final)
            except OSError:
                if not final.is_dir():  # else another attempt was first
                    raise
        flush(workplace)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)
    return final


def forget_attempts(workplace: Path) -> None:
    """Remove what killed workers have begun."""
    for path in workplace.glob(f"{ATTEMPT}*"):
        shutil.rmtree(path, ignore_errors=True)


def keep_to_model(workplace: Path, identity: EncoderIdentity) -> None:
    """Note what encodes, so that no other model is taken by mistake when an interrupted build goes on.

    Raises:
        InputError: another model has encoded something.
    """
    name = f"model-{hash_of(asdict(identity))}"
    others = [path for path in workplace.glob("model-*") if path.name != name]
    for path in others:
        if any(workplace.glob("vectors-*")):
            before = facts_in(path)
            raise InputError(
                f"An interrupted build has encoded with {before['name']} ({before['document_length']} tokens, "
                f"{before['fingerprint'][:12]}), this one would with {identity.name} ({identity.document_length} "
                f"tokens, {identity.fingerprint[:12]}): go on with the same model, or remove {workplace} to begin anew."
            )
        shutil.rmtree(path, ignore_errors=True)
    once(workplace, name, lambda directory: _write(directory / FACTS, json.dumps(asdict(identity)).encode()))


class Partition(NamedTuple):
    """Some consecutive passages.

    Attributes:
        name: number and hash.
        passages: how many they are.
        bytes: what they take on disk.
    """

    name: str
    passages: int
    bytes: int

    @property
    def texts(self) -> str:
        """The part that has their texts."""
        return f"texts-{self.name}"

    @property
    def vectors(self) -> str:
        """The part that has their token vectors."""
        return f"vectors-{self.name}"


def partitioned(workplace: Path, passages: Iterable[Passage], origin: str, most_bytes: int) -> Iterator[Partition]:
    """Write passages down, some consecutive ones at a time.

    Args:
        workplace: where parts are.
        passages: the passages.
        origin: what will make vectors of them; it goes into the names.
        most_bytes: of a partition, with ids and metadata; a single passage may have more.
    """
    lines = (json.dumps(passage, ensure_ascii=False).encode() + b"\n" for passage in passages)
    for number, together in enumerate(_together(lines, most_bytes)):
        content = b"".join(together)
        digest = hashlib.sha256(origin.encode() + b"\n" + content).hexdigest()[:16]
        partition = Partition(f"{number:06d}-{digest}", len(together), len(content))
        once(workplace, partition.texts, lambda path, content=content: _write(path / PASSAGES, content))  # type: ignore[misc]
        yield partition


def _together(lines: Iterable[bytes], most_bytes: int) -> Iterator[list[bytes]]:
    found, size = list[bytes](), 0
    for line in lines:
        if found and size + len(line) > most_bytes:
            yield found
            found, size = [], 0
        found.append(line)
        size += len(line)
    if found:
        yield found


def _write(path: Path, content: bytes) -> None:
    with storage_errors(path, "writing"):
        path.write_bytes(content)


def passages_of(workplace: Path, partition: Partition) -> Iterator[Passage]:
    """The passages of a partition.

    Raises:
        StorageError: they can't be read.
    """
    path = workplace / partition.texts / PASSAGES
    with storage_errors(path, "reading"), path.open("rb") as file:
        for line in file:
            identifier, text, metadata, part = json.loads(line)
            yield Passage(identifier, text, metadata, None if part is None else Part(*part))


def lengths_of(workplace: Path, partition: Partition) -> npt.NDArray[np.int64]:
    """How many token vectors each passage of a partition has."""
    return np.asarray(open_arrays(workplace / partition.vectors / ARRAYS)["lengths"], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Layout:
    """All partitions of a build, one after the other.

    Attributes:
        workplace: where parts are.
        name: of the part that says it.
        dim: dimensions of a token vector.
        partitions: the partitions.
        tokens: (N + 1,) where the vectors of each passage begin; in the file, which workers of a machine share.
    """

    workplace: Path
    name: str
    dim: int
    partitions: tuple[Partition, ...]
    tokens: npt.NDArray[np.int64]

    @cached_property
    def passages(self) -> npt.NDArray[np.int64]:
        """(P + 1,) where the passages of each partition begin."""
        return offsets_of(np.array([partition.passages for partition in self.partitions]))

    @cached_property
    def begins(self) -> npt.NDArray[np.int64]:
        """(P + 1,) where the vectors of each partition begin."""
        return self.tokens[self.passages]

    @property
    def n_tokens(self) -> int:
        """Token vectors, M."""
        return int(self.tokens[-1])

    def texts(self, first: int, end: int) -> Iterator[Passage]:
        """Passages from a number to another."""
        for number, partition in enumerate(self.partitions):
            begin, behind = int(self.passages[number]), int(self.passages[number + 1])
            if begin < end and first < behind:
                yield from islice(
                    passages_of(self.workplace, partition), max(0, first - begin), min(end, behind) - begin
                )


def write_layout(workplace: Path, partitions: tuple[Partition, ...], dim: int) -> Layout:
    """Say which partitions there are, all of which have their vectors."""
    name = f"layout-{hash_of(dim, partitions)}"

    def make(directory: Path) -> None:
        lengths = np.concatenate([lengths_of(workplace, partition) for partition in partitions])
        write_arrays(directory, ARRAYS, {"tokens": offsets_of(lengths)})
        _write(directory / FACTS, json.dumps({"dim": dim, "partitions": partitions}).encode())

    once(workplace, name, make)
    return read_layout(workplace, name)


def read_layout(workplace: Path, name: str) -> Layout:
    """What :func:`write_layout` wrote."""
    facts = facts_in(workplace / name)
    tokens = open_arrays(workplace / name / ARRAYS)["tokens"]
    return Layout(workplace, name, facts["dim"], tuple(Partition(*one) for one in facts["partitions"]), tokens)


def facts_in(directory: Path) -> Any:
    """The JSON of a part."""
    with storage_errors(directory / FACTS, "reading"):
        return json.loads((directory / FACTS).read_bytes())


@dataclass(frozen=True, eq=False)
class Rows:
    """Consecutive token vectors of a build: :class:`~xtrkit.indexing.postings.TokenRows`.

    Blocks are counted from the first. What is computed of a vector depends, in its last bits, on those beside it: where
    ``first`` is the beginning of a block of all vectors, they are what they are in one index.

    Attributes:
        layout: all partitions.
        first: number of the first vector.
        end: number behind the last.
    """

    layout: Layout
    first: int
    end: int

    @property
    def n_tokens(self) -> int:
        """How many there are."""
        return self.end - self.first

    @property
    def dim(self) -> int:
        """Dimensions of each."""
        return self.layout.dim

    def lengths(self) -> npt.NDArray[np.int64]:
        """How many each passage has, where the stretch begins and ends with passages."""
        begin, end = np.searchsorted(self.layout.tokens, [self.first, self.end])
        return np.diff(self.layout.tokens[begin : end + 1])

    def blocks(self) -> Iterator[tuple[slice, Halves]]:
        """The vectors, block after block."""
        for first in range(self.first, self.end, spool.BLOCK):
            end = min(first + spool.BLOCK, self.end)
            yield slice(first - self.first, end - self.first), self._read(first, end)

    def picked(self, numbers: npt.NDArray[np.int64]) -> Iterator[Halves]:
        """Those of some numbers, given in order: of each block, together; where they are few, no others are read."""
        for first in range(self.first, self.end, spool.BLOCK):
            end = min(first + spool.BLOCK, self.end)
            begin, behind = np.searchsorted(numbers, [first, end])
            chosen = numbers[begin:behind]
            few = len(chosen) * FEW <= end - first
            yield self._read_each(chosen) if few else self._read(first, end)[chosen - first]

    def _read(self, first: int, end: int) -> Halves:
        buffers, width, begins = list[bytes](), 2 * self.dim, self.layout.begins
        partition = int(np.searchsorted(begins, first, side="right")) - 1
        while first < end:
            behind = min(end, int(begins[partition + 1]))
            with self._opened(partition, -1) as file:
                file.seek((first - int(begins[partition])) * width)
                buffers.append(file.read((behind - first) * width))
            first, partition = behind, partition + 1
        return np.frombuffer(b"".join(buffers), dtype="<f2").reshape(-1, self.dim)

    def _read_each(self, numbers: npt.NDArray[np.int64]) -> Halves:
        buffers, width, begins = list[bytes](), 2 * self.dim, self.layout.begins
        partitions = np.searchsorted(begins, numbers, side="right") - 1
        for partition in np.unique(partitions).tolist():
            with self._opened(partition, 0) as file:
                for number in (numbers[partitions == partition] - begins[partition]).tolist():
                    file.seek(number * width)
                    buffers.append(file.read(width))
        return np.frombuffer(b"".join(buffers), dtype="<f2").reshape(-1, self.dim)

    @contextmanager
    def _opened(self, partition: int, buffering: int) -> Iterator[IO[bytes]]:
        path = self.layout.workplace / self.layout.partitions[partition].vectors / ROWS
        with storage_errors(path, "reading"), path.open("rb", buffering) as file:
            yield file


class Ranges(NamedTuple):
    """Parts that each have something of some consecutive tokens.

    Attributes:
        kind: what they have.
        hash: of what they are made of.
        tokens: how many each is of, whole blocks; the last one has what is left.
    """

    kind: str
    hash: str
    tokens: int

    def part(self, number: int) -> str:
        """One of them."""
        return f"{self.kind}-{number:06d}-{self.hash}"

    def bounds(self, n_tokens: int) -> list[tuple[int, int]]:
        """The first token of each, and that behind its last."""
        return [(first, min(first + self.tokens, n_tokens)) for first in range(0, n_tokens, self.tokens)]

    def parts(self, n_tokens: int) -> list[str]:
        """All of them."""
        return [self.part(number) for number in range(len(self.bounds(n_tokens)))]

    def between(self, workplace: Path, array: str, first: int, end: int) -> Iterator[npt.NDArray[Any]]:
        """What they have of the tokens from one to another, part after part."""
        for number in range(first // self.tokens, -(-end // self.tokens)):
            begin = number * self.tokens
            found = open_arrays(workplace / self.part(number) / ARRAYS)[array]
            yield found[max(0, first - begin) : end - begin]


def picked_of(workplace: Path, ranges: Ranges, layout: Layout, numbers: npt.NDArray[np.int64]) -> Iterator[Halves]:
    """What workers have picked of all vectors, as :meth:`Rows.picked` gives it.

    Args:
        workplace: where parts are.
        ranges: the parts, which have it.
        layout: all vectors.
        numbers: of those that were picked.
    """
    for part, (first, end) in zip(ranges.parts(layout.n_tokens), ranges.bounds(layout.n_tokens), strict=True):
        blocks = [*range(first, end, spool.BLOCK), end]
        path = workplace / part / ROWS
        with storage_errors(path, "reading"), path.open("rb") as file:
            for size in np.diff(np.searchsorted(numbers, blocks)).tolist():
                yield np.frombuffer(file.read(size * 2 * layout.dim), dtype="<f2").reshape(-1, layout.dim)


def write_trained(directory: Path, trained: Trained) -> None:
    """Write what it takes to assign tokens."""
    arrays = {**trained._asdict(), "longest": np.array([trained.longest]), **vars(trained.tree)}
    del arrays["tree"]
    write_arrays(directory, ARRAYS, arrays)


def read_trained(directory: Path) -> Trained:
    """What :func:`write_trained` wrote."""
    arrays = {name: np.array(values) for name, values in open_arrays(directory / ARRAYS).items()}
    tree = CentroidTree(arrays["groups"], arrays["offsets"], arrays["centroids"])
    return Trained(arrays["rotation"], tree, arrays["held_out"], float(arrays["longest"][0]))
