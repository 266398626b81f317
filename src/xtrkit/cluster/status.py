"""What a cluster is made of, shard by shard, and how its actors are: ``xtrkit cluster status``."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from xtrkit.cluster.places import Here
from xtrkit.cluster.ray_shards import ActorState, states_of_actors
from xtrkit.errors import XtrkitError
from xtrkit.indexing.store import Properties
from xtrkit.storage.shards import ClusterManifest, ShardFacts, pin_shard, read_cluster

READY_S = 10.0
"""How long an actor may take to say that it is there."""


@dataclass(frozen=True)
class ReplicaStatus:
    """One actor of a shard.

    Attributes:
        answers: whether it answers.
        restarts: how often it was started again; None where that is not known.
        generations: of the shard, that it has open.
        lag: by how many of the shard's generations the newest that it has open is behind the one on disk; None where it
            has none open.
    """

    answers: bool
    restarts: int | None
    generations: list[int]
    lag: int | None


@dataclass(frozen=True)
class ShardStatus:
    """One shard.

    Attributes:
        name: its directory in that of the cluster.
        generation: which of its generations belongs to the cluster's.
        documents, living: its documents, and those of them that are not deleted; None where it can't be read.
        tokens, bytes: its token vectors, and what it takes on disk; None where it can't be read.
        problem: why it can't be read; None where it can.
        replicas: its actors; None where no address was named.
    """

    name: str
    generation: int
    documents: int | None = None
    living: int | None = None
    tokens: int | None = None
    bytes: int | None = None
    problem: str | None = None
    replicas: list[ReplicaStatus] | None = None

    @property
    def ok(self) -> bool:
        """Whether it can be read, and its actors answer if that was asked for."""
        answering = self.replicas is None or (self.replicas and all(one.answers for one in self.replicas))
        return self.problem is None and bool(answering)


@dataclass(frozen=True)
class ClusterStatus:
    """A cluster.

    Attributes:
        cluster: its directory.
        generation: its newest generation.
        storage: how vectors are kept, such as "4 bits, grid"; None where no shard can be read.
        codec: sha256 of the codec that the shards share; None where vectors are kept as they are.
        shards: its shards, in the order in which documents are numbered.
    """

    cluster: str
    generation: int
    storage: str | None
    codec: str | None
    shards: list[ShardStatus]

    @property
    def ok(self) -> bool:
        """Whether all is well with every shard."""
        return all(shard.ok for shard in self.shards)


def status_of(path: str | Path, address: str | None = None) -> ClusterStatus:
    """Tell what a cluster is made of, and how the actors of its shards are.

    Args:
        path: its directory.
        address: of the Ray on which its shards run, or "auto"; without it no actor is asked.

    Raises:
        IndexFormatError: there is no cluster.
        IndexDamagedError: its cluster manifest is not what was written.
        InputError: no Ray answers at the address.
        MissingExtraError: Ray isn't installed, or is too old.
    """
    path = Path(path).absolute()
    cluster = read_cluster(path)
    actors: list[list[ActorState]] | list[None] = [None] * len(cluster.shards)
    if address is not None:
        actors = states_of_actors(Here(path), cluster, address, READY_S)
    shards, kept = zip(*(_seen(path, shard, cluster) for shard in cluster.shards), strict=True)
    told = [
        one if of_shard is None else replace(one, replicas=[_replica(one, actor) for actor in of_shard])
        for one, of_shard in zip(shards, actors, strict=True)
    ]
    return ClusterStatus(str(path), cluster.generation, next(filter(None, kept), None), cluster.codec, told)


def _replica(shard: ShardStatus, actor: ActorState) -> ReplicaStatus:
    lag = shard.generation - max(actor.generations) if actor.generations else None
    return ReplicaStatus(actor.answers, actor.restarts, list(actor.generations), lag)


def _seen(path: Path, shard: ShardFacts, cluster: ClusterManifest) -> tuple[ShardStatus, str | None]:
    """What a shard holds, or why that can't be told; and how it keeps vectors."""
    try:
        with closing(pin_shard(path, shard, cluster.codec)) as pinned:
            segments, size = pinned.manifest.segments, pinned.size
            properties = Properties.of(pinned.manifest, path / shard.name)
    except XtrkitError as error:
        return ShardStatus(shard.name, shard.generation, problem=str(error)), None
    documents, dead = sum(one.documents for one in segments), sum(one.dead for one in segments)
    tokens = sum(one.tokens for one in segments)
    kept = "float16" if properties.codec is None else f"{properties.bits} bits, {properties.codec}"
    return ShardStatus(shard.name, shard.generation, documents, documents - dead, tokens, size), kept
