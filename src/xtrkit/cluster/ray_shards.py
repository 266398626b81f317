"""Shards as actors of Ray: one process each, on this machine or on others, started again when they die.

The rounds of a search need the same process, so these are plain named actors, which Ray's own balancing leaves alone.
An actor that died comes back with its index opened and without what was looked at: the search begins again.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

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


class ShardDownError(XtrkitError):
    """A shard does not answer: its process died and was not started again in time."""


class RayShards:
    """The shards of a cluster on Ray.

    Attributes:
        restarts: how often a shard was found dead, and asked again.
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
        self._own = join(self._ray, address)
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
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()

    def _answer(self, shard: int, call: Any, method: str, arguments: tuple[Any, ...]) -> Any:
        """What a shard answers; one that died meanwhile is asked again when it is back."""
        ray, until = self._ray, time.monotonic() + PATIENCE_S
        while True:
            try:
                outcome, value = ray.get(call, timeout=ANSWER_S)
            except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
                if time.monotonic() > until or isinstance(error, ray.exceptions.GetTimeoutError):
                    raise ShardDownError(
                        f"Shard {shard} does not answer ({type(error).__name__}): look at the machine that it is on "
                        "(ray status)."
                    ) from error
                self.restarts += 1
                time.sleep(0.1)
                call = self._actors[shard].call.remote(method, arguments)
                continue
            if outcome == "raised":
                raise value
            return value

    def _actor(self, path: Path, cluster: ClusterManifest, number: int) -> Any:
        shard = cluster.shards[number]
        named = hashlib.sha256(f"{path.absolute()}\n{shard}".encode()).hexdigest()[:16]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        actor = self._ray.remote(_Actor).options(
            name=f"{path.name}-{number}-{named}",
            namespace=NAMESPACE,
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=CPUS,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": threads},
        )
        return actor.remote(str(path.absolute() / shard.name), shard.generation)


class _Actor:
    """A shard's process."""

    def __init__(self, path: str, generation: int) -> None:
        from xtrkit.cluster.host import ShardHost

        self._host = ShardHost(Path(path), generation)

    def call(self, method: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        """What a method of the host returns, or our own error that it raises: Ray's would bring its traceback along."""
        try:
            return "returned", getattr(self._host, method)(*(_own(one) for one in arguments))
        except XtrkitError as error:
            return "raised", error


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
    """Join a Ray, or start one; whether it was started."""
    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"namespace": NAMESPACE, "logging_level": "ERROR", "log_to_driver": False}
    if address == "local":
        ray.init(address="local", include_dashboard=False, **quiet)
        return True
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"No Ray answers at {address!r} ({error}): start one (ray start --head), or use --address local."
        ) from error
    return True
