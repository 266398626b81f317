"""Running the app: a socket, uvicorn, and worker processes where there are to be some."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import uvicorn
from uvicorn.supervisors import Multiprocess

from xtrkit.cluster.cluster import check_place
from xtrkit.cluster.places import place_of
from xtrkit.cluster.ray_session import join, loaded_ray
from xtrkit.cluster.ray_shards import RayShards
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.serving.app import create_app
from xtrkit.serving.keys import Keys, check_address
from xtrkit.serving.logs import take_over
from xtrkit.serving.protocol import GuardedProtocol
from xtrkit.serving.settings import Settings

ENVIRONMENT = "XTRKIT_SERVE"
"""Where worker processes find the settings."""

BACKLOG = 256
KEEP_ALIVE_SECONDS = 30
START_SECONDS = 120
"""How long a worker process may be silent, as while it imports on a busy machine, before it is replaced."""


def serve(settings: Settings, tell: Callable[[str], None]) -> None:
    """Serve until somebody stops it.

    Args:
        settings: what, how, to whom.
        tell: is given a line that says where, once the port is taken.

    Raises:
        InputError: the address can't be used, or a key file.
        IndexFormatError: a directory is no index.
    """
    check_address(settings)
    keys = Keys.of(settings)
    check_served(settings)
    with (
        _listening(settings.host, settings.port) as sock,
        tempfile.TemporaryDirectory(prefix="xtrkit-jobs-") as jobs,
        shards_kept(settings) as address,
    ):
        settings = replace(settings, jobs=settings.jobs or jobs, address=address)
        tell(line_of(settings, keys, sock.getsockname()[:2]))
        if settings.workers == 1:
            _run_here(settings, sock)
        else:
            _run_workers(settings, sock)


def check_served(settings: Settings) -> None:
    """Look whether what shall be served is there, before any process is started.

    Raises:
        IndexFormatError: a directory is no index.
        StorageError: it can't be read.
    """
    for path in settings.names.values():
        if settings.address is None:
            Index.open(path).close()
        else:
            check_place(place_of(path, settings.cache), settings.address)


@contextmanager
def shards_kept(settings: Settings) -> Iterator[str | None]:
    """Start the shards of clusters, and keep them until the server ends, whichever of its processes do before.

    Yields:
        the address at which this process and others find them; None where no Ray is asked for.
    """
    address = settings.address
    with ExitStack() as kept:
        for path in settings.names.values() if settings.address else ():
            place = place_of(path, settings.cache)
            shards = RayShards(place, str(settings.address), settings.replicas)
            kept.callback(shards.close)
            with closing(place.pin()) as pinned:
                shards.at(pinned.cluster)
            address = shards.address
        yield address


def _run_here(settings: Settings, sock: socket.socket) -> None:
    app = create_app(settings)
    take_over()
    with _ended_by_signals():
        uvicorn.Server(_config(settings, app)).run(sockets=[sock])
    failure: Exception | None = app.state.service.failure
    if failure is not None:
        raise failure


def _run_workers(settings: Settings, sock: socket.socket) -> None:
    os.environ[ENVIRONMENT] = settings.as_json()
    config = _config(settings, "xtrkit.serving.running:app_of_worker", factory=True, workers=settings.workers)
    with _ended_by_signals():
        Multiprocess(config, sockets=[sock]).run()


def app_of_worker() -> object:
    """The app of a worker process."""
    take_over()
    settings = Settings.of_json(os.environ[ENVIRONMENT])
    if settings.address is not None:  # here, in the main thread: elsewhere Ray's handlers of signals replace uvicorn's
        join(loaded_ray(), settings.address)
    return create_app(settings)


def _config(settings: Settings, app: object, **more: object) -> uvicorn.Config:
    limits = settings.limits
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_worker_healthcheck=START_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(limits.stop_seconds) or None,
        h11_max_incomplete_event_size=limits.header_bytes,
        **more,  # type: ignore[arg-type]
    )


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that takes connections at an address.

    Raises:
        InputError: there is no such address, or another program has the port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"There is no address {host!r} to listen on ({error.strerror or error}).") from error
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
            sock.listen(BACKLOG)  # who asks as soon as the address is told waits for the app, and is not refused
        except OSError as error:
            raise InputError(
                f"Port {port} of {host} can't be listened on ({error.strerror}): choose another with --port, or 0 for "
                "any that is free."
            ) from error
        sock.set_inheritable(True)
        yield sock


def line_of(settings: Settings, keys: Keys, address: tuple[str, int]) -> str:
    """Where, what, and for whom."""
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    reading = "a key is needed" if keys.read else "no key is needed"
    writing = "adding and deleting need the write key" if keys.write else "nothing can be changed (no write key)"
    return f"Serving {', '.join(settings.names)} at http://{shown}:{port}/ - {reading}; {writing}. Ctrl-C stops it."


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End well after SIGINT and SIGTERM: uvicorn raises them once more when it has stopped."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
