"""Shards as actors of Ray: one process each, on this machine or on others, started again when they die.

The rounds of a search need the same process, so these are plain named actors, which Ray's own balancing leaves alone.
An actor that died comes back with its index opened and without what was looked at: the search begins again.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xtrkit.errors import InputError, XtrkitError, missing_extra
from xtrkit.storage.shards import ClusterManifest

OLDEST_RAY = (2, 60)
NAMESPACE = "xtrkit"
CPUS = 0.01
"""Logical CPUs that an actor reserves: Ray counts them, and shards share a machine's."""
PATIENCE_S = 60.0
"""How long a shard that is down is waited for."""
ANSWER_S = 120.0
"""How long one answer may take."""
READY_S = 10.0
"""How long a shard may take to say that it is there."""
CONNECT_S = 5.0
"""How long a Ray may take to answer at its address; Ray itself waits for minutes."""
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
"""How a client of gRPC begins, with empty settings; a server answers with its own."""


class ShardDownError(XtrkitError):
    """A shard does not answer: its process died and was not started again in time."""


class RayShards:
    """The shards of a cluster on Ray.

    Attributes:
        address: of the Ray on which they run, for other processes.
        restarts: how many calls met a shard that had died, and were made again.
    """

    def __init__(self, path: Path, cluster: ClusterManifest, address: str) -> None:
        """Start an actor for each shard, or find those that are there.

        Args:
            path: the cluster's directory, under the same name on every machine that has shards.
            cluster: its shards.
            address: "local" starts Ray on this machine, for as long as this is open; "auto", or an address, joins one
                that runs.

        Raises:
            InputError: nothing answers at the address.
            MissingExtraError: Ray isn't installed, or is too old.
        """
        self._ray, self.restarts = loaded_ray(), 0
        self._own, self._actors = join(self._ray, address), list[Any]()
        self.address = str(self._ray.get_runtime_context().gcs_address)
        try:
            self._actors = [self._actor(path, cluster, number) for number in range(len(cluster.shards))]
            self.ask("ready", [()] * len(self._actors))
        except BaseException:
            self.close()
            raise

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
        calls = {shard: self._actors[shard].call.remote(method, message) for shard, message in messages.items()}
        return {shard: self._answer(shard, call, method, messages[shard]) for shard, call in calls.items()}

    def close(self) -> None:
        """Let the actors go; those that this started end, and Ray, too, if this started it."""
        self._actors = []  # an actor ends with the last handle of who started it
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()

    def _answer(self, shard: int, call: Any, method: str, arguments: tuple[Any, ...]) -> Any:
        """What a shard answers; one that died meanwhile is asked again when it is back."""
        ray, until, met = self._ray, time.monotonic() + PATIENCE_S, 0
        while True:
            try:
                outcome, value = ray.get(call, timeout=ANSWER_S)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
                if time.monotonic() > until or isinstance(error, ray.exceptions.GetTimeoutError):
                    raise ShardDownError(
                        f"Shard {shard} does not answer ({type(error).__name__}): look at the machine that it is on "
                        "(ray status)."
                    ) from error
                self.restarts, met = self.restarts + (not met), 1
                time.sleep(0.1)
                call = self._actors[shard].call.remote(method, arguments)
                continue
            if outcome == "raised":
                raise value
            return value

    def _actor(self, path: Path, cluster: ClusterManifest, number: int) -> Any:
        shard = cluster.shards[number]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        actor = self._ray.remote(_Actor).options(
            name=actor_name(path, cluster, number),
            namespace=NAMESPACE,
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=CPUS,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": threads},
        )
        return actor.remote(str(path.absolute() / shard.name), shard.generation)


class ActorState(NamedTuple):
    """How a shard's actor is.

    Attributes:
        answers: whether it answers; False also where there is none.
        restarts: how often it was started again since it was made; None where Ray doesn't tell.
    """

    answers: bool
    restarts: int | None


def states_of_actors(path: Path, cluster: ClusterManifest, address: str) -> list[ActorState]:
    """Ask the actors of a cluster's shards how they are; those that nobody started stay unstarted.

    Args:
        path: the cluster's directory.
        cluster: its shards.
        address: that of the Ray on which they run, or "auto".

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
        return [_state(ray, actor_name(path, cluster, number)) for number in range(len(cluster.shards))]
    finally:
        if own:
            ray.shutdown()


def _state(ray: ModuleType, name: str) -> ActorState:
    try:
        actor = ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:  # nobody started it, or who did has ended
        return ActorState(False, None)
    try:
        answers = ray.get(actor.call.remote("ready", ()), timeout=READY_S)[0] == "returned"
    except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
        answers = False
    return ActorState(answers, _restarts(ray, actor))


def _restarts(ray: ModuleType, actor: Any) -> int | None:
    """How often an actor was started again: Ray's public way of telling asks its dashboard, which may not run."""
    try:
        return int(ray._private.state.actors(actor._actor_id.hex())["NumRestarts"])
    except (AttributeError, KeyError, TypeError):
        return None


def actor_name(path: Path, cluster: ClusterManifest, number: int) -> str:
    """The name under which the actor of a shard is found: of one directory, generation and manifest."""
    named = hashlib.sha256(f"{path.absolute()}\n{cluster.shards[number]}".encode()).hexdigest()[:16]
    return f"{path.name}-{number}-{named}"


class _Actor:
    """A shard's process."""

    def __init__(self, path: str, generation: int) -> None:
        self._path, self._generation = Path(path), generation
        self._host: Any = None

    def call(self, method: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        """What a method of the host returns, or our own error that it raises: Ray's would bring its traceback along.

        The host is opened by the first call: an error of a constructor is a dead actor to Ray, which starts it again.
        """
        try:
            if self._host is None:
                self._host = _opened(self._path, self._generation)
            return "returned", getattr(self._host, method)(*(_own(one) for one in arguments))
        except XtrkitError as error:
            return "raised", error


def _opened(path: Path, generation: int) -> Any:
    from xtrkit.cluster.host import ShardHost

    return ShardHost(path, generation)


def _own(value: Any) -> Any:
    """A message whose arrays may be written to, as kernels are compiled for; Ray's lie in shared memory."""
    if isinstance(value, np.ndarray):
        return value if value.flags.writeable else value.copy()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_own(one) for one in value))
    if isinstance(value, tuple | list):
        return type(value)(_own(one) for one in value)
    return value


def loaded_ray() -> ModuleType:
    """Ray.

    Raises:
        MissingExtraError: it isn't installed, or too old.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise missing_extra("A cluster on more than one process", "ray") from error
    version = tuple(int(part) for part in ray.__version__.split(".")[:2])
    if version < OLDEST_RAY:
        raise InputError(
            f"Ray {ray.__version__} is installed; xtrkit needs {'.'.join(map(str, OLDEST_RAY))} or newer: upgrade it."
        )
    found: ModuleType = ray
    return found


def join(ray: ModuleType, address: str) -> bool:
    """Join a Ray, or start one; whether it was started, or joined, by this.

    Raises:
        InputError: none answers.
    """
    if ray.is_initialized():
        return False
    check_address(address)
    quiet: dict[str, Any] = {"namespace": NAMESPACE, "logging_level": "ERROR", "log_to_driver": False}
    if address == "local":
        with _handlers_kept():
            ray.init(address="local", include_dashboard=False, **quiet)
        return True
    try:
        with _handlers_kept():
            ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        if "ersion mismatch" in str(error):
            raise InputError(
                f"The Ray at {address!r} does not fit: {' '.join(str(error).split()).rstrip('.')}. Install the same "
                "versions of Ray and Python on all machines."
            ) from error
        raise _none_answers(address, error) from error
    return True


def check_address(address: str) -> None:
    """Refuse an address at which nothing answers, before there is anything to do there.

    Raises:
        InputError: nothing does.
    """
    try:
        if address != "local":
            _check_answers(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
    except OSError as error:
        raise _none_answers(address, error) from error


def _none_answers(address: str, error: Exception) -> InputError:
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return InputError(
        f"No Ray answers at {address!r} ({reason}): start one (ray start --head), or use --address local."
    )


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Keep what a program does at SIGTERM, which Ray takes over; where it does nothing, Ray's ends its processes."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check_answers(address: str) -> None:
    """Look whether a server of gRPC is at an address: Ray, asked to join what is not there, waits for minutes.

    Raises:
        OSError: there is none.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # "auto", or what Ray refuses at once
    with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S) as connection:
        connection.sendall(HTTP2_PREFACE)
        kind = connection.recv(4)[3:]
        if kind != b"\4":
            raise ConnectionError("something else than a Ray is there")
