"""Workers that build a cluster as actors of Ray: plain ones, replaced when they die, each with a task at a time.

An actor loads the encoder once. What it makes lies in the build's workplace, a directory that all machines see under
the same name; only tasks and sizes travel. A task whose actor died is given to another one, and comes to the same.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtrkit.cluster.crew import Hire, Task, Worker
from xtrkit.cluster.ray_session import join, loaded_ray
from xtrkit.encoding.base import Encoder
from xtrkit.encoding.load import load_encoder_of
from xtrkit.errors import InputError, ModelError, StorageError, XtrkitError
from xtrkit.values import EncoderIdentity

MOST_DEATHS = 3
"""How many workers may die of one task: the next would, too."""


class WorkerDownError(XtrkitError):
    """Workers die again and again."""


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
    """Workers on Ray, for :func:`~xtrkit.cluster.building.build_cluster`; see :class:`Hiring`."""
    hiring = Hiring(address, workers, gpus)
    return lambda workplace, encoder, batch_size: RayCrew(hiring, workplace, encoder, batch_size)


class RayCrew:
    """Actors that do tasks: :class:`~xtrkit.cluster.crew.Crew`.

    Attributes:
        replaced: how many died, and were replaced.
    """

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
        self._ray, self.replaced = loaded_ray(), 0
        self._own = join(self._ray, hiring.address)
        self._given, self._actors = (str(workplace), encoder.identity, batch_size), list[Any]()
        try:
            there = self._ray.cluster_resources()
            cpus, gpus = there.get("CPU", 1.0), there.get("GPU", 0.0)
            if hiring.gpus > gpus:
                raise InputError(f"Each worker shall have {hiring.gpus:g} GPUs, and Ray has {gpus:g}: ask for fewer.")
            workers = hiring.workers or max(1, int(gpus / hiring.gpus if hiring.gpus else cpus))
            self._options = {"num_cpus": min(1.0, cpus / workers), "num_gpus": hiring.gpus}
            self._actors = [self._actor() for _ in range(workers)]
        except BaseException:
            self.close()
            raise

    def done(self, tasks: Sequence[Task]) -> Iterator[int]:
        """Do tasks, one at a time each; give the size of each when it is done.

        Raises:
            WorkerDownError: a task has cost too many workers.
            XtrkitError: what a worker raised.
        """
        ray, waiting, deaths = self._ray, deque(tasks), Counter[str]()
        free, working = deque(range(len(self._actors))), dict[Any, tuple[int, Task]]()
        while waiting or working:
            while waiting and free:
                task, place = waiting.popleft(), free.popleft()
                working[self._actors[place].do.remote(task)] = (place, task)
            (call,), _ = ray.wait(list(working), num_returns=1)
            place, task = working.pop(call)
            free.append(place)
            try:
                outcome, value = ray.get(call)
            except ray.exceptions.RayActorError as error:
                deaths[task.part] += 1
                if deaths[task.part] >= MOST_DEATHS:
                    raise WorkerDownError(
                        f"{deaths[task.part]} workers died of {task.part} ({error}): look whether their memory was "
                        "used up (ray status); the same call goes on from here, with fewer workers if need be."
                    ) from error
                self.replaced += 1
                ray.kill(self._actors[place])  # one that is cut off may still live
                self._actors[place] = self._actor()
                waiting.appendleft(task)
                continue
            if outcome == "raised":
                raise value
            yield value

    def close(self) -> None:
        """Let the actors go, and Ray, too, if this started it."""
        if self._ray.is_initialized():
            for actor in self._actors:
                self._ray.kill(actor)
            if self._own:
                self._ray.shutdown()

    def _actor(self) -> Any:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        options = {"scheduling_strategy": "SPREAD", "runtime_env": {"env_vars": threads}, **self._options}
        return self._ray.remote(_Actor).options(**options).remote(*self._given)


class _Actor:
    """A worker's process."""

    def __init__(self, workplace: str, identity: EncoderIdentity, batch_size: int) -> None:
        self._workplace = Path(workplace)
        self._worker = Worker(self._workplace, lambda: _loaded(identity), batch_size, threads=1)

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
