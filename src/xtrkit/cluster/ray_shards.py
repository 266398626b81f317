"""Shards as actors of Ray: processes on this machine or on others, started again when they die.

The exchanges of a search need the same process, so these are plain named actors, which Ray's own balancing leaves
alone. Each is asked for a generation of its shard and opens what it is asked for, so that a new one can be opened
everywhere before anybody searches it, while searches of the old one end. An actor that died comes back without what was
looked at: the search begins again, with another replica of the shard where there is one.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from xtrkit.cluster.places import Place
from xtrkit.cluster.ray_session import NAMESPACE, join, leave, loaded_ray
from xtrkit.errors import InputError, ShardDownError, XtrkitError
from xtrkit.storage.shards import ClusterManifest, ShardFacts

CPUS = 0.01
"""Logical CPUs that an actor reserves: Ray counts them, and shards share a machine's."""
PATIENCE_S = 60.0
"""How long a shard that is down is waited for."""
ANSWER_S = 120.0
"""How long one answer may take."""
DOWN_S = 5.0
"""How long no search is begun with a replica that was down, where there is another."""
IDLE_S = 60.0
"""How long an actor keeps an older generation that nobody asks for."""
MOST_REPLICAS = 64
OPENING = "ready"
"""What is asked first of a generation, and may take long: its files may have to be pulled. So an actor has a thread for
it, and answers searches of older generations meanwhile."""


class Replica(NamedTuple):
    """One of the actors of a shard: the name of the shard, and its number."""

    shard: str
    number: int


class RayShards:
    """The actors of a cluster's shards.

    Attributes:
        address: of the Ray on which they run, for other processes.
        restarts: how many calls met an actor that had died, and were made again.
        replicas: actors of each shard.
    """

    def __init__(self, place: Place, address: str, replicas: int = 1) -> None:
        """Join a Ray.

        Args:
            place: where the cluster lies.
            address: "local" starts Ray on this machine, for as long as this is open; "auto", or an address, joins one
                that runs.
            replicas: actors of each shard, on machines apart as far as there are machines.

        Raises:
            InputError: nothing answers at the address, or there can't be so many replicas.
            MissingExtraError: Ray isn't installed, or is too old.
        """
        if isinstance(replicas, bool) or not isinstance(replicas, int) or not 1 <= replicas <= MOST_REPLICAS:
            raise InputError(f"A shard has 1 to {MOST_REPLICAS} replicas, got {replicas!r}.")
        self._place, self.replicas, self.restarts = place, replicas, 0
        self._ray = loaded_ray()
        self._own, self._closed = join(self._ray, address), False
        self._actors: dict[Replica, Any] = {}
        self._places: dict[Replica, int] = {}
        self._down: dict[Replica, float] = {}
        self._last: Sequence[ShardFacts] = ()  # of the generation before, which searches may still be at
        self._turn, self._lock = 0, threading.Lock()
        self.address = str(self._ray.get_runtime_context().gcs_address)

    def at(self, cluster: ClusterManifest) -> RayGeneration:
        """A generation of the cluster, opened by every actor; those that do not run are started.

        Raises:
            ShardDownError: an actor doesn't answer.
            XtrkitError: one of them can't open its shard.
        """
        everyone = [Replica(shard.name, number) for shard in cluster.shards for number in range(self.replicas)]
        with self._lock:
            self._places |= {replica: place for place, replica in enumerate(everyone)}
        for replica in everyone:
            self.actor(replica)
        for number in range(self.replicas):  # all shards at a time, replica after replica: the others go on answering
            RayGeneration(self, cluster.shards, [number] * len(cluster.shards)).ask(OPENING, [()] * len(cluster.shards))
        with self._lock:
            for replica in self._actors.keys() - set(everyone):  # of shards that were split
                if not any(shard.name == replica.shard for shard in self._last):
                    self._ray.kill(self._actors.pop(replica))  # others may hold it: who still needs it starts it again
            self._last = cluster.shards
        return RayGeneration(self, cluster.shards)

    def close(self) -> None:
        """Let the actors go; those that this started end, and Ray, too, if this started it."""
        with self._lock:
            own, self._own, self._closed = self._own and not self._closed, False, True
            self._actors = {}  # an actor ends with the last handle of who started it
        if own:
            leave(self._ray)

    def check_open(self) -> None:
        """Refuse to go on behind :meth:`close`.

        Raises:
            InputError: it is closed.
        """
        if self._closed:
            raise InputError("This cluster is closed: open it again.")

    def actor(self, replica: Replica) -> Any:
        """Its handle; one that does not run is started, as that of a shard that was split, for who searches it yet."""
        with self._lock:
            self.check_open()
            if replica not in self._actors:
                self._actors[replica] = self._started(replica)
            return self._actors[replica]

    def choice(self, shards: Sequence[ShardFacts]) -> list[int]:
        """Which replica of each shard a search is begun with: in turn, those that are up."""
        self._turn += 1
        return [self._up(shard.name, self._turn) for shard in shards]

    def other(self, replica: Replica, *, died: bool) -> int | None:
        """Another replica of the shard of one that is down; None where none is up."""
        self._down[replica] = time.monotonic() + DOWN_S
        if died:  # for good, if the process that had started it is gone: whoever asks first starts it again
            with self._lock:
                self.check_open()  # Ray would be started again by who asks it for an actor
                self._actors[replica] = self._started(replica)
        number = self._up(replica.shard, replica.number + 1)
        return None if self._is_down(Replica(replica.shard, number)) else number

    def _up(self, shard: str, turn: int) -> int:
        order = [(turn + step) % self.replicas for step in range(self.replicas)]
        return next((number for number in order if not self._is_down(Replica(shard, number))), order[0])

    def _is_down(self, replica: Replica) -> bool:
        return self._down.get(replica, 0.0) > time.monotonic()

    def _started(self, replica: Replica) -> Any:
        """An actor, found or started: replicas of a shard follow each other, and so lie on machines apart."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray = self._ray
        place = self._places.get(replica, replica.number)
        nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        actor = ray.remote(concurrency_groups={OPENING: 1})(_ShardActor).options(
            name=actor_name(self._place, replica),
            namespace=NAMESPACE,
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=CPUS,
            scheduling_strategy=NodeAffinitySchedulingStrategy(nodes[place % len(nodes)], soft=True),
            runtime_env={"env_vars": threads},
        )
        return actor.remote(self._place)


class RayGeneration:
    """One generation of a cluster's shards, as a coordinator asks them; a search of it, with the replicas that it asks.

    Attributes:
        replicas: the number of the replica of each shard.
    """

    def __init__(self, owner: RayShards, shards: Sequence[ShardFacts], replicas: list[int] | None = None) -> None:
        self._owner, self._shards, self._chosen = owner, tuple(shards), replicas is not None
        self.replicas = [0] * len(shards) if replicas is None else replicas

    def chosen(self) -> RayGeneration:
        """For one search, whose exchanges go to the same replicas."""
        return self if self._chosen else RayGeneration(self._owner, self._shards, self._owner.choice(self._shards))

    def ask(self, method: str, messages: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a method of each shard, each with arguments of its own, and wait for all.

        Raises:
            ShardDownError: one doesn't answer.
            XtrkitError: what one of them raised.
        """
        answers = self.ask_those(method, dict(enumerate(messages)))
        return [answers[number] for number in range(len(messages))]

    def ask_those(self, method: str, messages: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """Call a method of some shards, each with arguments of its own, and wait for all of them.

        Raises:
            ShardDownError: one doesn't answer.
            XtrkitError: what one of them raised.
        """
        packed: dict[int, bytes] = {}  # most messages are the same for all shards
        for message in messages.values():
            if id(message) not in packed:
                packed[id(message)] = pickle.dumps((method, message), pickle.HIGHEST_PROTOCOL)
        opening = method == OPENING
        calls = {shard: self._call(shard, packed[id(message)], opening) for shard, message in messages.items()}
        if not opening and (all_at_once := self._answers(calls)) is not None:
            return all_at_once
        return {shard: self._answer(shard, call, packed[id(messages[shard])], opening) for shard, call in calls.items()}

    def _answers(self, calls: Mapping[int, Any]) -> dict[int, Any] | None:
        """What the shards answer where all of them do, which costs less than one by one; None where one is down.

        Raises:
            ShardDownError: one is silent.
        """
        ray = self._owner._ray
        try:
            answers = ray.get(list(calls.values()), timeout=ANSWER_S)
        except ray.exceptions.GetTimeoutError as error:
            raise ShardDownError(
                f"One of the shards {', '.join(map(str, calls))} does not answer within {ANSWER_S:g} s: look at the "
                "machines that they are on (ray status)."
            ) from error
        except ray.exceptions.RayError:
            return None
        return {shard: _value(pickle.loads(answer)) for shard, answer in zip(calls, answers, strict=True)}

    def _call(self, shard: int, packed: bytes, opening: bool) -> Any:
        facts = self._shards[shard]
        call = self._owner.actor(Replica(facts.name, self.replicas[shard])).call
        return (call.options(concurrency_group=OPENING) if opening else call).remote(tuple(facts), packed)

    def _answer(self, shard: int, call: Any, packed: bytes, opening: bool) -> Any:
        """What a shard answers; where one died meanwhile another replica is asked, or it again when it is back."""
        ray, until = self._owner._ray, None
        while True:
            try:
                answer = pickle.loads(ray.get(call, timeout=None if opening else ANSWER_S))
            except _lost(ray) as error:
                now = time.monotonic()
                if (until is not None and now > until) or isinstance(error, ray.exceptions.GetTimeoutError):
                    raise ShardDownError(
                        f"Shard {shard} does not answer ({type(error).__name__}): look at the machine that it is on "
                        "(ray status)."
                    ) from error
                if until is None:
                    self._owner.restarts += 1
                    until = now + PATIENCE_S
                replica = Replica(self._shards[shard].name, self.replicas[shard])
                other = self._owner.other(replica, died=isinstance(error, ray.exceptions.ActorDiedError))
                if other is None:
                    time.sleep(0.1)
                else:
                    self.replicas[shard] = other
                call = self._call(shard, packed, opening)
                continue
            except ray.exceptions.RayTaskError as error:
                if not opening:
                    raise
                raise ShardDownError(
                    f"Shard {shard} can't be opened by its actor ({type(error.cause).__name__}: {error.cause}): look "
                    "whether its machine has the same xtrkit, and what it needs."
                ) from error
            return _value(answer)


def _value(answer: tuple[str, Any]) -> Any:
    """What an actor answered.

    Raises:
        XtrkitError: what it raised.
    """
    outcome, value = answer
    if outcome == "raised":
        raise value
    return value


def _lost(ray: Any) -> tuple[type[Exception], ...]:
    """How Ray says that an actor is down, or that its answer was lost with its machine."""
    errors = ray.exceptions
    return errors.RayActorError, errors.GetTimeoutError, errors.ObjectLostError


class ActorState(NamedTuple):
    """How an actor is.

    Attributes:
        answers: whether it answers.
        restarts: how often it was started again since it was made; None where Ray doesn't tell.
        generations: of its shard, that it has opened; empty where it doesn't answer.
    """

    answers: bool
    restarts: int | None
    generations: tuple[int, ...]


def states_of_actors(place: Place, cluster: ClusterManifest, address: str, patience: float) -> list[list[ActorState]]:
    """Ask the actors of a cluster's shards how they are; those that nobody started stay unstarted.

    Args:
        place: where the cluster lies.
        cluster: its shards.
        address: that of the Ray on which they run, or "auto".
        patience: seconds that each has to answer.

    Raises:
        InputError: nothing answers at the address, or it is "local", where nothing of anybody else's runs.
        MissingExtraError: Ray isn't installed, or is too old.
    """
    if address == "local":
        raise InputError(
            "A Ray that is started here for a moment has no shards: name the address of the one that serves them, or "
            "auto."
        )
    ray = loaded_ray()
    own = join(ray, address)
    try:
        return [list(_states(ray, place, shard, patience)) for shard in cluster.shards]
    finally:
        if own:
            leave(ray)


def _states(ray: Any, place: Place, shard: ShardFacts, patience: float) -> Iterator[ActorState]:
    for number in range(MOST_REPLICAS):
        try:
            actor = ray.get_actor(actor_name(place, Replica(shard.name, number)), namespace=NAMESPACE)
        except ValueError:  # nobody started it, or who did has ended
            return
        try:
            generations = ray.get(actor.opened.remote(), timeout=patience)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            yield ActorState(False, _restarts(ray, actor), ())
        else:
            yield ActorState(True, _restarts(ray, actor), tuple(generations))


def _restarts(ray: Any, actor: Any) -> int | None:
    """How often an actor was started again: Ray's public way of telling asks its dashboard, which may not run."""
    try:
        return int(ray._private.state.actors(actor._actor_id.hex())["NumRestarts"])
    except (AttributeError, KeyError, TypeError):
        return None


def actor_name(place: Place, replica: Replica) -> str:
    """The name under which an actor is found: of one place, shard and replica."""
    of_place = hashlib.sha256(os.fsencode(place.where)).hexdigest()[:16]
    return f"xtrkit-{replica.shard}-{replica.number}-{of_place}"


class _ShardActor:
    """A shard's process: its generations, opened when they are asked for."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._hosts: dict[ShardFacts, Any] = {}
        self._used: dict[ShardFacts, float] = {}
        self._opening = threading.Lock()

    def call(self, shard: tuple[Any, ...], packed: bytes) -> bytes:
        """What a method of the host returns, or our own error that it raises: Ray's would bring its traceback along.

        Shards are opened here: an error of a constructor is a dead actor to Ray, which starts it again. Messages are
        pickled by us: half the time of Ray's own way with them, and arrays that may be written to, as kernels want.
        """
        method, arguments = pickle.loads(packed)
        try:
            answer = "returned", getattr(self._host(ShardFacts(*shard)), method)(*arguments)
        except XtrkitError as error:
            answer = "raised", error
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)

    def opened(self) -> list[int]:
        """The generations that are open."""
        return sorted(shard.generation for shard in list(self._hosts))

    def _host(self, shard: ShardFacts) -> Any:
        host = self._hosts.get(shard)
        if host is None:
            with self._opening:
                host = self._open(shard)
        now = self._used[shard] = time.monotonic()
        for other in [one for one, used in list(self._used.items()) if now - used > IDLE_S]:
            self._hosts.pop(other, None)
            self._used.pop(other, None)
        return host

    def _open(self, shard: ShardFacts) -> Any:
        from xtrkit.cluster.host import ShardHost

        if shard not in self._hosts:  # the other thread may have opened it meanwhile
            path = self._place.shard(shard)
            newest = max(list(self._hosts.items()), key=lambda one: one[0].generation, default=(None, None))[1]
            self._hosts[shard] = ShardHost(path, shard, newest)
        return self._hosts[shard]
