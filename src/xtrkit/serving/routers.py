"""Routers of Ray Serve: the server's app, several times over, in front of the shards of clusters.

Routers hold centroids and no tokens; each encodes queries and gathers those that arrive together. Serve starts more of
them under load, puts them on machines apart, and starts those again that die.
"""

from __future__ import annotations

import logging
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from xtrkit.errors import InputError, missing_extra
from xtrkit.serving.keys import Keys, check_address
from xtrkit.serving.running import check_served, line_of, shards_kept
from xtrkit.serving.settings import Settings

APPLICATION = "xtrkit"
CPUS = 0.01
"""Logical CPUs that a router reserves."""


class Routers(NamedTuple):
    """How many routers there are.

    Attributes:
        least: at least.
        most: at most, under load.
    """

    least: int
    most: int


class Router:
    """One of them: a process that builds the app when it starts."""

    def __init__(self, settings: str) -> None:
        self._settings = Settings.of_json(settings)

    def __serve_build_asgi_app__(self) -> object:
        """The app, as Serve asks for it."""
        from xtrkit.serving.app import create_app

        return create_app(self._settings)


def serve_routers(settings: Settings, routers: Routers, tell: Callable[[str], None]) -> None:
    """Serve clusters until somebody stops it.

    Args:
        settings: what, how, to whom; with the address of a Ray.
        routers: how many.
        tell: is given a line that says where, once the routers are there.

    Raises:
        InputError: the address can't be used, or a key file; or a Serve runs on that Ray already.
        IndexFormatError: a directory is no index.
        MissingExtraError: Ray Serve isn't installed.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise missing_extra("Routers of Ray Serve", "routers") from error
    if not 1 <= routers.least <= routers.most:
        raise InputError(
            f"There is at least 1 router, and not more than at most, got {routers.least} to {routers.most}."
        )
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    check_address(settings)
    keys = Keys.of(settings)
    check_served(settings)
    port = settings.port or _free_port(settings.host)
    with (
        tempfile.TemporaryDirectory(prefix="xtrkit-jobs-") as jobs,
        shards_kept(settings) as address,
        _ended() as ended,
    ):
        if serve.status().applications:
            raise InputError(
                f"A Serve with {', '.join(serve.status().applications)} runs on this Ray already: stop it (serve "
                "shutdown), or leave out --routers."
            )
        try:
            several = max(2, routers.most)  # a router takes no request before its indexes are open
            settings = replace(settings, jobs=settings.jobs or jobs, address=address, workers=several)
            _deploy(serve, settings, routers, port)
            tell(line_of(settings, keys, (settings.host, port)))
            ended.wait()
        finally:
            serve.shutdown()


def _deploy(serve: Any, settings: Settings, routers: Routers, port: int) -> None:
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    serve.start("EveryNode", http_options={"host": settings.host, "port": port}, logging_config=quiet)
    scale: dict[str, Any] = {"num_replicas": routers.least}
    if routers.most > routers.least:
        scale = {"autoscaling_config": {"min_replicas": routers.least, "max_replicas": routers.most}}
    deployment = serve.deployment(
        max_ongoing_requests=settings.threads + settings.limits.queue,
        ray_actor_options={"num_cpus": CPUS},
        **scale,
    )(serve.ingress()(Router))
    serve.run(deployment.bind(settings.as_json()), name=APPLICATION, route_prefix="/", logging_config=quiet)


def _free_port(host: str) -> int:
    with socket.socket() as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def _ended() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set."""
    ended = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: ended.set())
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
