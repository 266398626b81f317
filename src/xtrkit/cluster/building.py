"""Texts in, a cluster out: encoded, assigned and compressed by as many workers as there are.

What is made has the bits of what splitting the one index of the same texts would make. One process directs: it reads
and cuts the texts, finds centroids on a sample of all vectors, adds up what the workers found, and writes the
manifests, that of the cluster last. Whoever dies meanwhile, what was made stays (:mod:`xtrkit.cluster.parts`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from xtrkit.cluster.crew import Assigned, Crew, Hire, InProcess, ShardPlan, SharedCodec, Task, shard_made
from xtrkit.cluster.parts import (
    ARRAYS,
    Layout,
    Partition,
    Rows,
    forget_attempts,
    hash_of,
    once,
    partitioned,
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
from xtrkit.indexing.codec import codec_named
from xtrkit.indexing.compressed_format import write_quantiser
from xtrkit.indexing.creating import BUILDING, Making, creator, make_empty
from xtrkit.indexing.postings import ClusterSums, find_centroids, fitted
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
from xtrkit.texts.encoding import warn_of
from xtrkit.texts.given import Given, source_of
from xtrkit.texts.splitting import splitting_for
from xtrkit.texts.taking import Taken, check_any, take
from xtrkit.values import Splitting

VERSION = 1
"""Of what parts hold; those of another version are not gone on with."""

MOST_TOKENS = 1 << 32
"""Tokens of a shard, whose places are 32 bits wide."""


class Portions(NamedTuple):
    """How work is cut into tasks; the cluster is the same.

    Attributes:
        characters: of the texts that are encoded together, a minute's work.
        tokens: that are assigned together; by default a million, and 16 for each centroid, so that the sums over the
            clusters, which are written down for each task, stay a quarter of the vectors.
    """

    characters: int = 1 << 20
    tokens: int | None = None


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
        if self.portions.characters < 1 or (self.portions.tokens or 1) < 1:
            raise InputError(f"Portions must be of at least one character and one token, got {self.portions}.")


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
        InputError: something is at ``target`` already, or there are fewer passages than shards.
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
        build = _Build(workplace, encoder, making, reporter)
        with closing(hire(workplace, encoder, making.batch_size)) as crew:
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
            for partition in partitioned(self._workplace, taken, origin, self._making.portions.characters):
                partitions.append(partition)
                advance(partition.passages)
        tasks = [Task(one.vectors, "encode", (one,), one.passages) for one in partitions]
        self._have_done("Encoding", "passages", tasks, crew)
        return write_layout(self._workplace, tuple(partitions), identity.dim)

    def shards(self, layout: Layout, n_shards: int, crew: Crew) -> list[ShardPlan]:
        """Have the files of all shards written."""
        codec, assigned = self._compression(layout, crew)
        ends = ends_of(layout.lengths, n_shards)
        origin = hash_of(layout.name, codec, ends)
        plans, tasks = [], []
        for number, (first, end) in enumerate(pairwise([0, *ends])):
            tokens = int(layout.tokens[end] - layout.tokens[first])
            if tokens >= MOST_TOKENS:
                raise InputError(f"Shard {number} would have {tokens:,} tokens, of 4,294,967,295: make more shards.")
            segment = new_segment_name(1, hash_of(origin, number)[:8])
            plans.append(ShardPlan(segment, first, end, codec, assigned))
            tasks.append(Task(_part_of(number, plans[-1]), "shard", (layout.name, plans[-1]), tokens))
        self._have_done("Writing shards", "tokens", tasks, crew)
        return plans

    def _compression(self, layout: Layout, crew: Crew) -> tuple[SharedCodec | None, Assigned | None]:
        """Find centroids, have all tokens assigned, and fit a codec."""
        if self._codec is None:
            return None, None
        codec, making, reporter = self._codec, self._making, self._reporter
        digest = hash_of(layout.name, making.codec, making.nbits)
        every = Rows(layout, 0, layout.n_tokens)
        place = once(
            self._workplace,
            f"centroids-{digest}",
            lambda directory: write_trained(directory, find_centroids(every, codec, reporter=reporter)),
        )
        trained = read_trained(place)
        assigned = _assigned(digest, making.portions, len(trained.tree.centroids))
        firsts = range(0, layout.n_tokens, assigned.tokens)
        ends = [min(first + assigned.tokens, layout.n_tokens) for first in firsts]
        tasks = [
            Task(assigned.part(number), "assign", (layout.name, place.name, first, end), end - first)
            for number, (first, end) in enumerate(zip(firsts, ends, strict=True))
        ]
        self._have_done("Assigning tokens", "tokens", tasks, crew)

        def make(directory: Path) -> None:
            sums = ClusterSums(trained)
            for task in tasks:
                sums.include(open_arrays(self._workplace / task.part / ARRAYS))
            write_quantiser(directory, name, fitted(codec, trained, sums))

        name = new_codec_name(1, digest[:8])
        made = once(self._workplace, f"codec-{digest}", make)
        return SharedCodec(f"{made.name}/{name}", making.codec, making.nbits), assigned

    def put_in_place(
        self, layout: Layout, plans: Sequence[ShardPlan], splitting: Splitting | None, target: Path
    ) -> None:
        """Commit the shards, the cluster after them, and give it its name.

        Raises:
            StorageError: the disk refused, or something is there by now.
        """
        building, codec = make_empty(self._workplace / BUILDING), plans[0].codec
        found = [shard_made(self._workplace / _part_of(number, plan)) for number, plan in enumerate(plans)]
        properties = Properties(layout.dim, self._making.nbits, encoder=self._encoder.identity, splitting=splitting)
        if codec is not None:
            errors = {block: error for _, of_shard in found for block, error in of_shard.items()}
            error = 0.0
            for block in sorted(errors):  # in order, as one index adds them up
                error += errors[block]
            properties = replace(
                properties,
                codec=codec.name,
                trained_tokens=layout.n_tokens,
                trained_error=error / layout.n_tokens,
            )
        file = None if codec is None else file_facts_of(self._workplace / codec.file)
        shards = []
        with self._reporter.phase("Committing", len(plans), "shards") as advance:
            for number, (name, (segment, _)) in enumerate(zip(names_of(len(plans)), found, strict=True)):
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


def _assigned(digest: str, portions: Portions, n_centroids: int) -> Assigned:
    """How many tokens are assigned together: whole blocks."""
    tokens = portions.tokens or max(1 << 20, 16 * n_centroids)
    tokens = -(-tokens // spool.BLOCK) * spool.BLOCK
    return Assigned(hash_of(digest, tokens), tokens)
