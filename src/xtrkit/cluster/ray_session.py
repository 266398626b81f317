"""Joining a Ray, or starting one on this machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from xtrkit.errors import InputError, missing_extra

OLDEST_RAY = (2, 60)
NAMESPACE = "xtrkit"
CONNECT_S = 5.0
"""How long a Ray may take to answer at its address; Ray itself waits for minutes."""
_joined = 0
_counting = threading.Lock()
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
"""How a client of gRPC begins, with empty settings; a server answers with its own."""


def loaded_ray() -> ModuleType:
    """Ray.

    Raises:
        MissingExtraError: it isn't installed, or too old.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a call after the end would start another Ray
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
    """Join a Ray, or start one; whether :func:`leave` must be called in the end.

    A process is in one Ray at a time: who comes second shares it, and the last one to leave ends it. One that the
    program itself has joined is left to it.

    Raises:
        InputError: none answers.
    """
    global _joined
    with _counting:
        if ray.is_initialized() and not _joined:
            return False
        if not ray.is_initialized():
            _joined = 0  # whatever was joined is gone
            _begin(ray, address)
        _joined += 1
        return True


def leave(ray: ModuleType) -> None:
    """Leave the Ray that was joined; one that was started for it ends with the last who leaves."""
    global _joined
    with _counting:
        _joined = max(_joined - 1, 0)
        if not _joined and ray.is_initialized():
            ray.shutdown()


def _begin(ray: ModuleType, address: str) -> None:
    check_address(address)
    _keep_off_standard_output(ray)
    quiet: dict[str, Any] = {"namespace": NAMESPACE, "logging_level": "ERROR", "log_to_driver": False}
    if address == "local":
        with _handlers_kept():
            ray.init(address="local", include_dashboard=False, **quiet)
        return
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


def _keep_off_standard_output(ray: ModuleType) -> None:
    """Have what Ray says of workers that died go to the log, a line each.

    Ray prints it, whatever it is told: into the JSON of a command, or into a pipe that nobody reads, which then keeps
    the program from ending.
    """

    def log(data: dict[str, Any], *_: object, **__: object) -> None:
        for said in data.get("lines", ()):
            logging.getLogger(__name__).warning("Ray: %s", " ".join(str(said).split())[:200])

    worker: Any = getattr(ray._private, "worker", None)
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = log


def check_address(address: str) -> None:
    """Refuse an address at which nothing answers, before there is anything to do there.

    Raises:
        InputError: nothing does.
    """
    if not isinstance(address, str):
        raise InputError(f'The address of a Ray is "local", "auto" or HOST:PORT, got {address!r}.')
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
