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
    ENCODED_BY,
    FACTS,
    ROWS,
    Partition,
    Ranges,
    Rows,
    facts_in,
    once,
    passages_of,
    read_layout,
    read_trained,
)
from xtrkit.encoding.base import Encoder
from xtrkit.indexing import spool
from xtrkit.indexing.codec import Codes, code_width
from xtrkit.indexing.compressed_format import open_quantiser
from xtrkit.indexing.documents import checked_documents
from xtrkit.indexing.postings import assign_tokens, drawn_sample, encode_block, write_postings
from xtrkit.indexing.segments import segment_facts, vectors_name, write_segment
from xtrkit.indexing.workers import Workers
from xtrkit.storage.arrays import ArraySpec, ArrayWriter, append_array, write_arrays
from xtrkit.storage.files import FileFacts, storage_errors
from xtrkit.storage.manifest import SegmentFacts
from xtrkit.texts.encoding import encoded, encoded_by


class Task(NamedTuple):
    """A piece of work.

    Attributes:
        part: what it makes.
        method: of :class:`Worker`.
        arguments: that it takes, beside the part.
        size: how much it is, as progress counts.
        holds: bytes that a worker needs for it at most, beside its encoder (:mod:`xtrkit.cluster.holding`).
    """

    part: str
    method: str
    arguments: tuple[Any, ...]
    size: int
    holds: int


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


class Pieces(NamedTuple):
    """What a shard's compressed vectors are put together from.

    Attributes:
        codec: what they are compressed with.
        assigned: the clusters of all tokens.
        compressed: their codes.
    """

    codec: SharedCodec
    assigned: Ranges
    compressed: Ranges


class ShardPlan(NamedTuple):
    """What becomes a shard.

    Attributes:
        segment: its segment's name.
        first: number of its first passage.
        end: number behind its last.
        pieces: what its vectors are put together from; None keeps them as they are.
    """

    segment: str
    first: int
    end: int
    pieces: Pieces | None


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
        self._drawn = lru_cache(1)(lambda n_tokens, dim: drawn_sample(n_tokens, dim).numbers)
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
            (directory / ENCODED_BY).write_text(encoded_by(encoder) or "", encoding="utf-8")
        write_arrays(directory, ARRAYS, {"lengths": np.concatenate(lengths)})

    def sample(self, directory: Path, layout: str, first: int, end: int) -> None:
        """Pick, of some consecutive tokens, those that centroids are found on."""
        rows = Rows(self._layout(layout), first, end)
        with storage_errors(directory, "writing in it"), (directory / ROWS).open("wb") as file:
            for vectors in rows.picked(self._drawn(rows.layout.n_tokens, rows.dim)):
                append_array(file, vectors)

    def assign(self, directory: Path, layout: str, trained: str, first: int, end: int) -> None:
        """Find the clusters of some consecutive tokens."""
        rows = Rows(self._layout(layout), first, end)
        found, sums = assign_tokens(rows, self._trained(trained), threads=self._threads)
        write_arrays(directory, ARRAYS, {"assigned": found, **sums.arrays()})

    def compress(
        self, directory: Path, layout: str, codec: SharedCodec, assigned: Ranges, first: int, end: int
    ) -> None:
        """Compress some consecutive tokens: whole blocks, as one index has them, and so the same bits."""
        rows, quantiser = Rows(self._layout(layout), first, end), self._quantiser(codec)
        _ = quantiser.decoded_centroids  # once, before threads ask for them
        (clusters,) = assigned.between(self._workplace, "assigned", first, end)
        scales, errors = list[npt.NDArray[np.float16]](), list[float]()
        specs = {
            "codes": ArraySpec("|u1", (rows.n_tokens, code_width(rows.dim, codec.bits))),
            "scales": ArraySpec("<f2", (rows.n_tokens,)),
            "errors": ArraySpec("<f8", (-(-rows.n_tokens // spool.BLOCK),)),
        }
        with Workers(self._threads) as workers, ArrayWriter(directory, ARRAYS, specs) as writer:
            for codes, of_block, error in workers.map(
                lambda given: encode_block(quantiser, given[1], clusters[given[0]]), rows.blocks()
            ):
                writer.append("codes", codes)
                scales.append(of_block)
                errors.append(error)
            writer.append("scales", np.concatenate(scales))
            writer.append("errors", np.array(errors))
            writer.finish()

    def shard(self, directory: Path, layout: str, plan: ShardPlan) -> None:
        """Write the files of a shard."""
        opened = self._layout(layout)
        rows = Rows(opened, int(opened.tokens[plan.first]), int(opened.tokens[plan.end]))
        passages = opened.texts(plan.first, plan.end)
        if plan.pieces is None:
            facts, _ = write_segment(directory, plan.segment, rows, passages, None)
        else:
            name, lengths = vectors_name(plan.segment), rows.lengths()
            vectors = self._put_together(directory, name, rows, plan.pieces)
            facts = segment_facts(directory, plan.segment, lengths, vectors, passages)
        with storage_errors(directory / FACTS, "writing"):
            (directory / FACTS).write_text(json.dumps(asdict(facts)))

    def _put_together(self, directory: Path, name: str, rows: Rows, pieces: Pieces) -> FileFacts:
        """Write the codes of a shard, cluster after cluster."""

        def within(ranges: Ranges, array: str) -> Iterator[npt.NDArray[Any]]:
            return ranges.between(self._workplace, array, rows.first, rows.end)

        assigned = np.concatenate(list(within(pieces.assigned, "assigned")))
        scales = np.concatenate(list(within(pieces.compressed, "scales")))
        blocks = _blocks(within(pieces.compressed, "codes"))
        quantiser = self._quantiser(pieces.codec)
        return write_postings(directory, name, blocks, rows.lengths(), assigned, scales, quantiser)


def _blocks(parts: Iterator[Codes]) -> Iterator[tuple[slice, Codes]]:
    """Consecutive rows, some at a time."""
    place = 0
    for part in parts:
        for first in range(0, len(part), spool.BLOCK):
            block = part[first : first + spool.BLOCK]
            yield slice(place, place + len(block)), block
            place += len(block)


def shard_made(directory: Path) -> SegmentFacts:
    """What :meth:`Worker.shard` says of its files, as a manifest does."""
    found = facts_in(directory)
    files = {key: FileFacts(*value) for key, value in found.items() if isinstance(value, list)}
    return SegmentFacts(**{**found, **files})


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
