"""The work of building a cluster that others can do: tasks, who does one, and who sees to it that all are done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit.cluster.parts import (
    ARRAYS,
    FACTS,
    ROWS,
    Partition,
    Rows,
    facts_in,
    once,
    passages_of,
    read_layout,
    read_trained,
)
from xtrkit.encoding.base import Encoder
from xtrkit.indexing import spool
from xtrkit.indexing.codec import Codes
from xtrkit.indexing.compressed_format import Quantiser, open_quantiser
from xtrkit.indexing.documents import checked_documents
from xtrkit.indexing.postings import assign_tokens, encode_block, write_postings
from xtrkit.indexing.segments import segment_facts, vectors_name, write_segment
from xtrkit.indexing.workers import Workers
from xtrkit.storage.arrays import append_array, open_arrays, write_arrays
from xtrkit.storage.files import FileFacts, storage_errors
from xtrkit.storage.manifest import SegmentFacts
from xtrkit.texts.encoding import encoded


class Task(NamedTuple):
    """A piece of work.

    Attributes:
        part: what it makes.
        method: of :class:`Worker`.
        arguments: that it takes, beside the part.
        size: how much it is.
    """

    part: str
    method: str
    arguments: tuple[Any, ...]
    size: int


class Assigned(NamedTuple):
    """The parts that say which token belongs to which cluster.

    Attributes:
        hash: of what they are made of.
        tokens: how many each has; the last one has what is left.
    """

    hash: str
    tokens: int

    def part(self, number: int) -> str:
        """One of them."""
        return f"assigned-{number:06d}-{self.hash}"


class SharedCodec(NamedTuple):
    """The codec of all shards.

    Attributes:
        file: its path below the workplace.
        name: of the codec.
        bits: bits a dimension.
    """

    file: str
    name: str
    bits: int


class ShardPlan(NamedTuple):
    """What becomes a shard.

    Attributes:
        segment: its segment's name.
        first: number of its first passage.
        end: number behind its last.
        codec: what its vectors are compressed with; None keeps them as they are.
        assigned: the clusters of all tokens; None without codec.
    """

    segment: str
    first: int
    end: int
    codec: SharedCodec | None
    assigned: Assigned | None


class Worker:
    """Does tasks, one after the other; each leaves a part, the same whoever does it, and however often."""

    def __init__(
        self, workplace: Path, load: Callable[[], Encoder], batch_size: int, threads: int | None = None
    ) -> None:
        """Begin.

        Args:
            workplace: where parts are.
            load: gives the encoder, when the first text is to be encoded.
            batch_size: texts encoded together.
            threads: how many compute; as many as there are cores to use where None is given.
        """
        self._workplace, self._load, self._batch_size, self._threads = workplace, load, batch_size, threads
        self._encoder: Encoder | None = None
        self._layout = lru_cache(1)(lambda name: read_layout(workplace, name))
        self._trained = lru_cache(1)(lambda name: read_trained(workplace / name))
        self._quantiser = lru_cache(1)(lambda codec: open_quantiser(workplace / codec.file, codec.name, codec.bits))

    def do(self, task: Task) -> int:
        """Do a task; return its size."""
        once(self._workplace, task.part, lambda directory: getattr(self, task.method)(directory, *task.arguments))
        return task.size

    def encode(self, directory: Path, partition: Partition) -> None:
        """Encode the passages of a partition."""
        self._encoder = encoder = self._encoder or self._load()
        passages = list(passages_of(self._workplace, partition))
        lengths, done = [], 0
        with storage_errors(directory, "writing in it"), (directory / ROWS).open("wb") as file:
            for chunk in encoded(encoder, (passage.text or "" for passage in passages), self._batch_size):
                documents = list(chunk.embeddings)
                names = [passage.id for passage in passages[done : done + len(documents)]]
                checked = checked_documents(names, documents, encoder.identity.dim)
                append_array(file, checked.rows)
                lengths.append(np.asarray(checked.lengths, dtype=np.int64))
                done += len(documents)
        write_arrays(directory, ARRAYS, {"lengths": np.concatenate(lengths)})

    def assign(self, directory: Path, layout: str, trained: str, first: int, end: int) -> None:
        """Find the clusters of some consecutive tokens."""
        rows = Rows(self._layout(layout), first, end)
        found, sums = assign_tokens(rows, self._trained(trained), threads=self._threads)
        write_arrays(directory, ARRAYS, {"assigned": found, **sums.arrays()})

    def shard(self, directory: Path, layout: str, plan: ShardPlan) -> None:
        """Write the files of a shard."""
        opened = self._layout(layout)
        rows = Rows(opened, int(opened.tokens[plan.first]), int(opened.tokens[plan.end]))
        passages, errors = opened.texts(plan.first, plan.end), dict[int, float]()
        if plan.codec is None or plan.assigned is None:
            facts, _ = write_segment(directory, plan.segment, rows, passages, None)
        else:
            quantiser = self._quantiser(plan.codec)
            place, scales = _places(self._workplace, rows, plan.assigned), np.empty(rows.n_tokens, dtype=np.float16)
            with Workers(self._threads) as workers:
                codes = _compressed(rows, place, quantiser, workers, (scales, errors))
                assigned = place[rows.first - _block(rows.first) :][: rows.n_tokens]
                name, lengths = vectors_name(plan.segment), rows.lengths()
                vectors = write_postings(directory, name, codes, lengths, assigned, scales, quantiser)
            facts = segment_facts(directory, plan.segment, lengths, vectors, passages)
        with storage_errors(directory / FACTS, "writing"):
            (directory / FACTS).write_text(json.dumps({"segment": asdict(facts), "errors": [*errors.items()]}))


def _block(token: int) -> int:
    """The first token of the block that one is in."""
    return token - token % spool.BLOCK


def _whole_blocks(rows: Rows) -> Rows:
    """The blocks, of all vectors, that some of these are in."""
    end = min(rows.layout.n_tokens, _block(rows.end + spool.BLOCK - 1))
    return Rows(rows.layout, _block(rows.first), end)


def _places(workplace: Path, rows: Rows, assigned: Assigned) -> npt.NDArray[np.int32]:
    """The clusters of all tokens of :func:`_whole_blocks`."""
    around, parts = _whole_blocks(rows), []
    for number in range(around.first // assigned.tokens, -(-around.end // assigned.tokens)):
        begin = number * assigned.tokens
        found = open_arrays(workplace / assigned.part(number) / ARRAYS)["assigned"]
        parts.append(found[max(0, around.first - begin) : around.end - begin])
    return np.concatenate(parts)


def _compressed(
    rows: Rows,
    assigned: npt.NDArray[np.int32],
    quantiser: Quantiser,
    workers: Workers,
    filled: tuple[npt.NDArray[np.float16], dict[int, float]],
) -> Iterator[tuple[slice, Codes]]:
    """The codes of a shard's tokens.

    Blocks are those of one index, and so all bits: that in which two shards meet is done for both.

    Args:
        rows: the shard's.
        assigned: clusters of all tokens of its blocks.
        quantiser: centroids and codec.
        workers: who does it.
        filled: receives the scales, and {block: Σ ‖x − c‖²}.
    """
    around, (scales, errors) = _whole_blocks(rows), filled
    _ = quantiser.decoded_centroids  # once, before threads ask for them
    results = workers.map(
        lambda given: (given[0], encode_block(quantiser, given[1], assigned[given[0]])), around.blocks()
    )
    for block, (codes, found, error) in results:
        first = around.first + block.start
        errors[first // spool.BLOCK] = error
        own = slice(max(rows.first - first, 0), min(rows.end - first, len(codes)))
        target = slice(first + own.start - rows.first, first + own.stop - rows.first)
        scales[target] = found[own]
        yield target, codes[own]


def shard_made(directory: Path) -> tuple[SegmentFacts, dict[int, float]]:
    """What :meth:`Worker.shard` says of its files: what a manifest does, and {block: Σ ‖x − c‖²}."""
    found = facts_in(directory)
    files = {key: FileFacts(*value) for key, value in found["segment"].items() if isinstance(value, list)}
    return SegmentFacts(**{**found["segment"], **files}), dict(found["errors"])


class Crew(Protocol):
    """Whoever gets tasks done."""

    def done(self, tasks: Sequence[Task]) -> Iterator[int]:
        """Do tasks, some at a time and in any order; give the size of each when it is done."""

    def close(self) -> None:
        """Let the workers go."""


Hire = Callable[[Path, Encoder, int], Crew]
"""A workplace, the encoder, and how many texts are encoded together -> who works there."""


class InProcess:
    """This process does the tasks, one after the other, on all its cores."""

    def __init__(self, workplace: Path, encoder: Encoder, batch_size: int) -> None:
        self._worker = Worker(workplace, lambda: encoder, batch_size)

    def done(self, tasks: Sequence[Task]) -> Iterator[int]:
        """Do tasks; give the size of each when it is done."""
        return map(self._worker.do, tasks)

    def close(self) -> None:
        """There is nothing to let go."""
