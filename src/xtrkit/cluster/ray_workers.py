"""Workers that build a cluster as actors of Ray: plain ones, replaced when they die, each with a task at a time.

An actor loads the encoder once. What it makes lies in the build's workplace, a directory that all machines see under
the same name; only tasks and sizes travel. A task whose actor died is given to another one, and comes to the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from xtrkit.cluster.crew import Hire, Task, Worker
from xtrkit.cluster.dispatch import Dispatcher, Outcome, Room
from xtrkit.cluster.ray_session import check_address, join, loaded_ray
from xtrkit.encoding.base import Encoder
from xtrkit.encoding.load import load_encoder_of
from xtrkit.errors import InputError, ModelError, StorageError, XtrkitError
from xtrkit.values import EncoderIdentity


@dataclass(frozen=True)
class Hiring:
    """Which workers there are.

    Attributes:
        address: "local" starts Ray on this machine, for as long as the build takes; "auto", or an address, joins one
            that runs.
        workers: how many; None is one for each of Ray's CPUs, or GPUs where they have some.
        gpus: of each worker; it then encodes on one, if the model can.
    """

    address: str
    workers: int | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.workers is not None and (type(self.workers) is not int or self.workers < 1):
            raise InputError(f"The number of workers must be a whole number of at least 1, got {self.workers!r}.")
        if self.gpus < 0:
            raise InputError(f"A worker has 0 GPUs or more, got {self.gpus!r}.")


def on_ray(address: str, workers: int | None = None, gpus: float = 0.0) -> Hire:
    """Workers on Ray, for :func:`~xtrkit.cluster.building.build_cluster`; see :class:`Hiring`.

    Raises:
        InputError: nothing answers at the address; told before anything is read.
        MissingExtraError: Ray isn't installed, or is too old.
    """
    hiring = Hiring(address, workers, gpus)
    loaded_ray()
    check_address(address)
    return lambda workplace, encoder, batch_size: RayCrew(hiring, workplace, encoder, batch_size)


class RayCrew:
    """Actors that do tasks: :class:`~xtrkit.cluster.crew.Crew`."""

    def __init__(self, hiring: Hiring, workplace: Path, encoder: Encoder, batch_size: int) -> None:
        """Start them.

        Args:
            hiring: which.
            workplace: where parts are.
            encoder: the encoder that they load by its name, with the lengths that it has.
            batch_size: texts encoded together.

        Raises:
            InputError: nothing answers at the address, or its machines have no GPU where one is asked for.
            MissingExtraError: Ray isn't installed, or is too old.
        """
        self._ray = loaded_ray()
        self._own = join(self._ray, hiring.address)
        self._team: RayTeam | None = None
        try:
            self._team = RayTeam(self._ray, hiring, (str(workplace), encoder.identity, batch_size))
            self._dispatcher = Dispatcher(self._team)
        except BaseException:
            self.close()
            raise

    @property
    def replaced(self) -> int:
        """How many workers died, and were replaced."""
        return self._dispatcher.replaced

    def done(self, tasks: Sequence[Task]) -> Iterator[int]:
        """Do tasks, one at a time each; give the size of each when it is done.

        Raises:
            WorkerDownError: a task has cost too many workers.
            XtrkitError: what a worker raised.
        """
        return self._dispatcher.done(tasks)

    def close(self) -> None:
        """Let the actors go, and Ray, too, if this started it."""
        if self._ray.is_initialized():
            if self._team is not None:
                self._team.close()
            if self._own:
                self._ray.shutdown()


class RayTeam:
    """The actors: :class:`~xtrkit.cluster.dispatch.Team`.

    Attributes:
        actors: the actors.
    """

    def __init__(self, ray: ModuleType, hiring: Hiring, given: tuple[str, EncoderIdentity, int]) -> None:
        """Start them.

        Args:
            ray: Ray, which was joined.
            hiring: which.
            given: what each is made with.

        Raises:
            InputError: there is no GPU where one is asked for.
        """
        self._ray, self._given = ray, given
        there = ray.cluster_resources()
        cpus, gpus = there.get("CPU", 1.0), there.get("GPU", 0.0)
        if hiring.gpus > gpus:
            raise InputError(f"Each worker shall have {hiring.gpus:g} GPUs, and Ray has {gpus:g}: ask for fewer.")
        workers = hiring.workers or max(1, int(gpus / hiring.gpus if hiring.gpus else cpus))
        self._options = {"num_cpus": min(1.0, cpus / workers), "num_gpus": hiring.gpus}
        self.actors = [self._actor() for _ in range(workers)]

    @property
    def size(self) -> int:
        """How many they are."""
        return len(self.actors)

    def greet(self, place: int) -> Any:
        """Ask one of them on which machine it is."""
        return self.actors[place].machine.remote()

    def begin(self, place: int, task: Task) -> Any:
        """Give one of them a task."""
        return self.actors[place].do.remote(task)

    def ended(self, calls: Iterable[Any]) -> tuple[Any, Outcome]:
        """Wait until one of some calls has ended."""
        (call,), _ = self._ray.wait(list(calls), num_returns=1)
        try:
            how, value = self._ray.get(call)
        except self._ray.exceptions.RayActorError as error:
            return call, Outcome("died", error)
        return call, Outcome("returned", self._room(value)) if how == "machine" else Outcome(how, value)

    def replace(self, place: int) -> None:
        """Put another one in a worker's place."""
        self._ray.kill(self.actors[place])  # one that is cut off may still live
        self.actors[place] = self._actor()

    def close(self) -> None:
        """Let them go."""
        for actor in self.actors:
            self._ray.kill(actor)

    def _room(self, machine: str) -> Room:
        """What the workers of a machine may hold: the memory that Ray has for tasks there."""
        of_machines = {node["NodeID"]: node["Resources"].get("memory") for node in self._ray.nodes()}
        return Room(machine, int(of_machines.get(machine) or sys.maxsize))

    def _actor(self) -> Any:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        options = {"scheduling_strategy": "SPREAD", "runtime_env": {"env_vars": threads}, **self._options}
        return self._ray.remote(_Actor).options(**options).remote(*self._given)


class _Actor:
    """A worker's process."""

    def __init__(self, workplace: str, identity: EncoderIdentity, batch_size: int) -> None:
        self._workplace = Path(workplace)
        self._worker = Worker(self._workplace, lambda: _loaded(identity), batch_size, threads=1)

    def machine(self) -> tuple[str, str]:
        """On which machine it is."""
        import ray

        return "machine", ray.get_runtime_context().get_node_id()

    def do(self, task: Task) -> tuple[str, Any]:
        """The size of a task that is done, or our own error: Ray's would bring its traceback along."""
        try:
            if not self._workplace.is_dir():
                raise StorageError(
                    f"A worker does not see {self._workplace}: build in a directory that all machines have under the "
                    "same name."
                )
            return "returned", self._worker.do(task)
        except XtrkitError as error:
            return "raised", error


def _loaded(identity: EncoderIdentity) -> Encoder:
    """The encoder of a build, on a worker's machine.

    Raises:
        ModelError: it is not there, or another one has its name.
    """
    encoder = load_encoder_of(identity, threads=1)
    if encoder.identity.fingerprint != identity.fingerprint:
        raise ModelError(f"A worker has another model under the name {identity.name}: put the same on all machines.")
    return encoder
