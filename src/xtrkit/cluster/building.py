"""Texts in, a cluster out: encoded, assigned and compressed by as many workers as there are.

What is made has the bits of what splitting the one index of the same texts would make. One process directs: it reads
and cuts the texts, finds centroids on a sample of all vectors, adds up what the workers found, and writes the
manifests, that of the cluster last. Whoever dies meanwhile, what was made stays (:mod:`xtrkit.cluster.parts`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xtrkit.cluster.crew import Crew, Hire, InProcess, Pieces, ShardPlan, SharedCodec, Task, shard_made
from xtrkit.cluster.holding import by_assigning, by_compressing, by_encoding, by_sampling, by_shard
from xtrkit.cluster.parts import (
    ARRAYS,
    ENCODED_BY,
    Layout,
    Partition,
    Ranges,
    Rows,
    forget_attempts,
    hash_of,
    keep_to_model,
    once,
    partitioned,
    picked_of,
    read_trained,
    write_layout,
    write_trained,
)
from xtrkit.cluster.splitting import check_shards, ends_of, same_file
from xtrkit.encoding.base import Encoder
from xtrkit.encoding.load import load_encoder
from xtrkit.encoding.new_directory import check_new
from xtrkit.errors import InputError
from xtrkit.indexing import spool
from xtrkit.indexing.codec import Codec, codec_named
from xtrkit.indexing.compressed_format import write_quantiser
from xtrkit.indexing.creating import BUILDING, Making, creator, make_empty
from xtrkit.indexing.postings import ClusterSums, Trained, drawn_sample, find_centroids, fitted
from xtrkit.indexing.spool import claim, clear, workplace_of
from xtrkit.indexing.store import DEFAULT_BITS, EXACT_BITS, Properties
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.arrays import open_arrays
from xtrkit.storage.files import facts_of as file_facts_of
from xtrkit.storage.files import flush, storage_errors
from xtrkit.storage.generations import commit, new_codec_name, new_segment_name
from xtrkit.storage.manifest import Manifest
from xtrkit.storage.shards import ClusterManifest, facts_of, is_cluster, names_of, write_cluster
from xtrkit.texts.building import IndexingSummary, existing_folder, expectation
from xtrkit.texts.encoding import nprobe_of, warn_of
from xtrkit.texts.given import Given, source_of
from xtrkit.texts.splitting import splitting_for
from xtrkit.texts.taking import Taken, check_any, take
from xtrkit.values import Splitting

VERSION = 2
"""Of what parts hold; those of another version are not gone on with."""

MOST_TOKENS = 1 << 32
"""Tokens of a shard, whose places are 32 bits wide."""


class Portions(NamedTuple):
    """How work is cut into tasks; the cluster is the same.

    Attributes:
        bytes: of the texts that are encoded together, with ids and metadata, a minute's work; a single passage may have
            more.
        tokens: that are worked on together later; by default a million, and where they are assigned 16 for each
            centroid, so that the sums over the clusters, which are written down for each task, stay a quarter of the
            vectors.
    """

    bytes: int = 1 << 20
    tokens: int | None = None

    def together(self, least: int) -> int:
        """How many tokens are worked on together: whole blocks."""
        tokens = self.tokens or max(1 << 20, least)
        return -(-tokens // spool.BLOCK) * spool.BLOCK


PORTIONS = Portions()


@dataclass(frozen=True)
class ClusterMaking:
    """How a cluster is made.

    Attributes:
        nbits: 1, 2, 4 or 8 compress vectors to so many bits a dimension; 16 keeps them as float16.
        codec: how they are compressed: "grid", or "buckets" as ColBERTv2 and PLAID do.
        split: cut documents into passages.
        skip_bad: leave out what can't be read instead of refusing all of it.
        batch_size: texts encoded together.
        portions: how work is cut into tasks.
    """

    nbits: int = DEFAULT_BITS
    codec: str = "grid"
    split: bool = True
    skip_bad: bool = False
    batch_size: int = 32
    portions: Portions = PORTIONS

    def __post_init__(self) -> None:
        Making(self.nbits, self.codec)  # refuses what can't be
        if self.portions.bytes < 1 or (self.portions.tokens or 1) < 1:
            raise InputError(f"Portions must be of at least one byte and one token, got {self.portions}.")


PLAIN = ClusterMaking()


def build_cluster(
    source: Given,
    target: str | Path,
    n_shards: int,
    *,
    model: str | Path | Encoder = "default",
    making: ClusterMaking = PLAIN,
    hire: Hire = InProcess,
    reporter: Reporter = SILENT,
) -> IndexingSummary:
    """Encode documents and make a cluster of them: the one that splitting the index of the same documents would make.

    A run that is stopped or killed leaves what was done beside ``target``, and the same call goes on from there.

    Args:
        source: the documents, as :meth:`xtrkit.Retriever.create` takes them; gone through once.
        target: the directory to make; it appears when the cluster is complete.
        n_shards: how many shards, at least 1.
        model: the encoder, as :func:`xtrkit.load_encoder` takes it, or a loaded one.
        making: bits, codec, and the like.
        hire: who does the work: this process, or workers on Ray (:func:`xtrkit.cluster.ray_workers.on_ray`).
        reporter: told about the progress.

    Raises:
        InputError: something is at ``target`` already, there are fewer passages than shards, or an interrupted run has
            encoded with another model.
        CollectionError: something can't be read; found before anything is encoded.
        IndexLockedError: another process builds this cluster.
        ModelError: the model can't be loaded.
        StorageError: a file can't be read or written.
    """
    check_shards(n_shards)
    target = Path(target).absolute()
    workplace = workplace_of(target)
    _check_target(target, workplace)
    encoder = load_encoder(model) if isinstance(model, str | Path) else model
    Making(making.nbits, making.codec).check_dim(encoder.identity.dim)
    splitting = splitting_for(encoder) if making.split else None
    opened = source_of(source)
    taken = take(opened, encoder, splitting, existing_folder(target), skip_bad=making.skip_bad, reporter=reporter)
    check_any(taken)
    if taken.n_passages < n_shards:
        raise InputError(f"There are {taken.n_passages:,} passages, too few for {n_shards:,} shards: make fewer.")
    unknown = warn_of(taken, encoder)
    if reporter.shown:
        reporter.note(expectation(taken, encoder, Making(making.nbits, making.codec), target))
    with claim(workplace):
        forget_attempts(workplace)
        keep_to_model(workplace, encoder.identity)
        build = _Build(workplace, encoder, making, reporter)
        with _nothing_left(workplace), closing(hire(workplace, encoder, making.batch_size)) as crew:
            layout = build.encoded(taken, crew)
            shards = build.shards(layout, n_shards, crew)
        build.put_in_place(layout, shards, splitting, target)
        clear(workplace)
    return IndexingSummary(
        len(taken.ids), taken.n_passages, layout.n_tokens, taken.truncated, unknown, taken.unreadable, taken.report
    )


def _check_target(target: Path, workplace: Path) -> None:
    """Refuse a place that is taken; what a build has left that died when all was in place goes.

    Raises:
        InputError: something is there.
        IndexLockedError: another process builds there.
    """
    if is_cluster(target) and workplace.is_dir():
        with claim(workplace):
            clear(workplace)
    check_new(target)


@contextmanager
def _nothing_left(workplace: Path) -> Iterator[None]:
    """Tidy up after a run that was stopped before anything was encoded: there is nothing to go on with."""
    try:
        yield
    except BaseException:
        if not any(workplace.glob("vectors-*")):
            clear(workplace)
        raise


class _Build:
    """The steps of a build, for the process that directs it."""

    def __init__(self, workplace: Path, encoder: Encoder, making: ClusterMaking, reporter: Reporter) -> None:
        self._workplace, self._encoder, self._making, self._reporter = workplace, encoder, making, reporter
        self._codec = None if making.nbits == EXACT_BITS else codec_named(making.codec, making.nbits)

    def encoded(self, taken: Taken, crew: Crew) -> Layout:
        """Write texts down in partitions, and have them encoded."""
        identity = self._encoder.identity
        origin = json.dumps([VERSION, asdict(identity)], sort_keys=True)
        partitions: list[Partition] = []
        with self._reporter.phase("Partitioning", taken.n_passages, "passages") as advance:
            for partition in partitioned(self._workplace, taken, origin, self._making.portions.bytes):
                partitions.append(partition)
                advance(partition.passages)
        tasks = [Task(one.vectors, "encode", (one,), one.passages, by_encoding(one, identity)) for one in partitions]
        self._have_done("Encoding", "passages", tasks, crew)
        return write_layout(self._workplace, tuple(partitions), identity.dim)

    def shards(self, layout: Layout, n_shards: int, crew: Crew) -> list[ShardPlan]:
        """Have the files of all shards written."""
        pieces = None if self._codec is None else self._compressed(layout, self._codec, crew)
        ends = ends_of(np.diff(layout.tokens), n_shards)
        origin = hash_of(layout.name, pieces, ends)
        plans, tasks = [], []
        for number, (first, end) in enumerate(pairwise([0, *ends])):
            rows = Rows(layout, int(layout.tokens[first]), int(layout.tokens[end]))
            if rows.n_tokens >= MOST_TOKENS:
                raise InputError(
                    f"Shard {number} would have {rows.n_tokens:,} tokens, of 4,294,967,295: make more shards."
                )
            segment = new_segment_name(1, hash_of(origin, number)[:8])
            plans.append(ShardPlan(segment, first, end, pieces))
            holds = by_shard(rows, None if pieces is None else pieces.codec.bits)
            tasks.append(Task(_part_of(number, plans[-1]), "shard", (layout.name, plans[-1]), rows.n_tokens, holds))
        self._have_done("Writing shards", "tokens", tasks, crew)
        return plans

    def _compressed(self, layout: Layout, codec: Codec, crew: Crew) -> Pieces:
        """Find centroids, have all tokens assigned, fit a codec, and have all tokens compressed."""
        making = self._making
        digest = hash_of(layout.name, making.codec, making.nbits)
        centroids = self._centroids(layout, codec, digest, crew)
        trained = read_trained(centroids)
        together = making.portions.together(16 * len(trained.tree.centroids))
        most = min(together, layout.n_tokens)
        assigned = Ranges("assigned", hash_of(digest, together), together)
        holds = by_assigning(most, trained)
        self._of_ranges("Assigning tokens", "assign", assigned, (layout, centroids.name), holds, crew)
        shared = self._fitted(layout, codec, digest, trained, assigned)
        compressed = Ranges("compressed", hash_of(digest, together), together)
        holds = by_compressing(most, trained)
        self._of_ranges("Compressing tokens", "compress", compressed, (layout, shared, assigned), holds, crew)
        return Pieces(shared, assigned, compressed)

    def _centroids(self, layout: Layout, codec: Codec, digest: str, crew: Crew) -> Path:
        """Have the vectors of a sample picked, and find centroids on them; the part that has these."""
        workplace, name, dim = self._workplace, f"centroids-{digest}", layout.dim
        if not (workplace / name).is_dir():
            drawn = drawn_sample(layout.n_tokens, dim)
            together = self._making.portions.together(1 << 22)
            sampled = Ranges("sampled", hash_of(layout.name, together), together)
            holds = by_sampling(drawn, dim)
            self._of_ranges("Picking a sample", "sample", sampled, (layout,), holds, crew)
            picked = picked_of(workplace, sampled, layout, drawn.numbers)
            once(
                workplace,
                name,
                lambda directory: write_trained(
                    directory, find_centroids(picked, layout.n_tokens, dim, codec, reporter=self._reporter)
                ),
            )
        return workplace / name

    def _fitted(self, layout: Layout, codec: Codec, digest: str, trained: Trained, assigned: Ranges) -> SharedCodec:
        """Add up what was found of each cluster, and fit a codec."""
        name, parts = new_codec_name(1, digest[:8]), assigned.parts(layout.n_tokens)

        def make(directory: Path) -> None:
            sums = ClusterSums(trained)
            with self._reporter.phase("Adding up clusters", len(parts), "parts") as advance:
                for part in parts:
                    sums.include(open_arrays(self._workplace / part / ARRAYS))
                    advance(1)
            write_quantiser(directory, name, fitted(codec, trained, sums))

        made = once(self._workplace, f"codec-{digest}", make)
        return SharedCodec(f"{made.name}/{name}", self._making.codec, self._making.nbits)

    def _of_ranges(
        self, what: str, method: str, ranges: Ranges, given: tuple[Layout, *tuple[Any, ...]], holds: int, crew: Crew
    ) -> None:
        """Have something done for all tokens, some consecutive ones at a time."""
        layout, *more = given
        tasks = [
            Task(ranges.part(number), method, (layout.name, *more, first, end), end - first, holds)
            for number, (first, end) in enumerate(ranges.bounds(layout.n_tokens))
        ]
        self._have_done(what, "tokens", tasks, crew)

    def put_in_place(
        self, layout: Layout, plans: Sequence[ShardPlan], splitting: Splitting | None, target: Path
    ) -> None:
        """Commit the shards, the cluster after them, and give it its name.

        Raises:
            StorageError: the disk refused, or something is there by now.
        """
        building, pieces = make_empty(self._workplace / BUILDING), plans[0].pieces
        codec = None if pieces is None else pieces.codec
        found = [shard_made(self._workplace / _part_of(number, plan)) for number, plan in enumerate(plans)]
        names = {(self._workplace / one.vectors / ENCODED_BY).read_text("utf-8") for one in layout.partitions}
        properties = Properties(
            layout.dim,
            self._making.nbits,
            encoder=self._encoder.identity,
            splitting=splitting,
            encoded_by=tuple(sorted(names - {""})),
            nprobe=nprobe_of(self._encoder),
        )
        if pieces is not None:
            error = 0.0
            for part in pieces.compressed.parts(layout.n_tokens):  # in order, as one index adds them up
                for of_block in open_arrays(self._workplace / part / ARRAYS)["errors"].tolist():
                    error += of_block
            properties = replace(
                properties,
                codec=pieces.codec.name,
                trained_tokens=layout.n_tokens,
                trained_error=error / layout.n_tokens,
            )
        file = None if codec is None else file_facts_of(self._workplace / codec.file)
        shards = []
        with self._reporter.phase("Committing", len(plans), "shards") as advance:
            for number, (name, segment) in enumerate(zip(names_of(len(plans)), found, strict=True)):
                with storage_errors(building / name, "making it"):
                    (building / name).mkdir()
                    for one in segment.files:
                        same_file(self._workplace / _part_of(number, plans[number]), building / name, one)
                    if codec is not None and file is not None:
                        same_file((self._workplace / codec.file).parent, building / name, file)
                commit(building / name, Manifest(1, creator(), properties.record(), file, (segment,)))
                shards.append(facts_of(building, name, 1))
                advance(1)
            write_cluster(building, ClusterManifest(1, creator(), None if file is None else file.sha256, tuple(shards)))
            check_new(target)
            with storage_errors(target, "naming it"):
                building.rename(target)
            flush(target.parent)

    def _have_done(self, what: str, unit: str, tasks: Sequence[Task], crew: Crew) -> None:
        """Have those tasks done that were not done before."""
        left = [task for task in tasks if not (self._workplace / task.part).is_dir()]
        before = sum(task.size for task in tasks) - sum(task.size for task in left)
        if before:
            self._reporter.note(f"{what}: {before:,} {unit} of an interrupted run are there already.")
        with self._reporter.phase(what, sum(task.size for task in tasks), unit, before) as advance:
            for size in crew.done(left):
                advance(size)


def _part_of(number: int, plan: ShardPlan) -> str:
    return f"shard-{number:04d}-{hash_of(plan)}"
