"""Who may ask, and who may change: a key for each, from a file, and which addresses may do without.

Keys come as ``Authorization: Bearer KEY`` or as ``X-API-Key: KEY``. The write key opens what the read key opens.
"""

from __future__ import annotations

import hmac
import re
import warnings
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from xtrkit.errors import InputError, XtrkitWarning
from xtrkit.serving.limits import LARGE_BODIES
from xtrkit.serving.problems import Problem
from xtrkit.serving.settings import Settings

PUBLIC = re.compile(r"/livez|/readyz|/health|/openapi\.json|/|/page\.(css|js)|/explained\.css")
"""Paths that need no key: they tell nothing of what is in the indexes."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
READABLE_BY_ALL = 0o004


class Keys(NamedTuple):
    """The keys that a server asks for; None where it asks for none.

    Attributes:
        read: for asking; without it everybody may.
        write: for changing; without it nobody may.
    """

    read: bytes | None
    write: bytes | None

    @classmethod
    def of(cls, settings: Settings) -> Keys:
        """Those of a server's files.

        Raises:
            InputError: a file has no key, or both have the same.
        """
        keys = cls(*(None if file is None else _key_in(Path(file)) for file in _files(settings)))
        if keys.read is not None and keys.read == keys.write:
            raise InputError("The read key and the write key are the same: make another, so that readers can't write.")
        return keys

    def may_read(self, given: bytes | None) -> bool:
        """Whether a key opens what is read."""
        return self.read is None or _same(given, self.read) or self.may_write(given)

    def may_write(self, given: bytes | None) -> bool:
        """Whether a key opens what is changed."""
        return _same(given, self.write)


def _files(settings: Settings) -> tuple[str | None, str | None]:
    return settings.read_key_file, settings.write_key_file


def _key_in(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        everybody = bool(file.stat().st_mode & READABLE_BY_ALL)
    except OSError as error:
        raise InputError(f"The key file {file} can't be read: {error.strerror}.") from error
    key = content.strip()
    if not key or len(key.split()) > 1 or not key.isascii():
        got = "an empty file" if not key else "spaces, several lines or letters beyond ASCII"
        raise InputError(
            f"The key file {file} must have one line of ASCII, the key, got {got}: "
            f"python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > {file} makes one."
        )
    if everybody:
        warnings.warn(
            f"Every user of this machine can read the key file {file}: chmod 600 {file} keeps it to its owner.",
            XtrkitWarning,
            stacklevel=3,
        )
    return key


def _same(given: bytes | None, key: bytes | None) -> bool:
    """Compared in a time that does not tell how much of it is right."""
    return given is not None and key is not None and hmac.compare_digest(given, key)


def check_address(settings: Settings) -> None:
    """Refuse to listen where other machines can ask, unless they need a key.

    Raises:
        InputError: they would need none.
    """
    if not (settings.read_key_file or settings.allow_public or _is_loopback(settings.host)):
        raise InputError(
            f"{settings.host} is an address that other machines reach, and requests would need no key: give "
            "--read-key-file, or --allow-public where everybody may read."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Gate:
    """Middleware: lets requests through that bring the key, under a name that the server has."""

    def __init__(self, app: ASGIApp, keys: Keys, settings: Settings) -> None:
        self.app, self._keys = app, keys
        self._hosts = {"localhost", settings.host.lower(), *(name.lower() for name in settings.allow_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or say what is missing."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            given = key_of(headers)
            scope["xtrkit.given"] = given
            try:
                self._check(scope, headers, given)
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope, headers: Mapping[bytes, bytes], given: bytes | None) -> None:
        if scope["http_version"] not in ("1.0", "1.1"):
            raise Problem(505, "invalid_request", "This server speaks HTTP/1.1.")
        if self._keys.read is None:
            self._check_host(headers.get(b"host", b"").decode("latin-1"))
        if PUBLIC.fullmatch(scope["path"]):
            return
        if not self._keys.may_read(given):
            raise unauthorized(given, "a key")
        if LARGE_BODIES.fullmatch(scope["path"]) and scope["method"] not in SAFE_METHODS:
            check_write(self._keys, given)  # before a large body is read

    def _check_host(self, told: str) -> None:
        """Refuse names that a page of another site may have given to this address (DNS rebinding)."""
        name = told.rpartition(":")[0] if re.search(r":\d*$", told) else told
        name = name.strip("[]").lower()
        if told and name not in self._hosts and not name.endswith(".localhost") and not _is_address(name):
            raise Problem(
                421,
                "forbidden",
                f"This server has no name {name[:80]!a}: ask by its address, or start it with --allow-host NAME, or "
                "with a read key.",
            )


def key_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key that a request brings."""
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and key.strip():
        return key.strip()
    return headers.get(b"x-api-key")


def unauthorized(given: bytes | None, what: str) -> Problem:
    """A key is missing, or is another."""
    got = "got none" if given is None else "got one that is not it"
    return Problem(
        401,
        "unauthorized",
        f"This request needs {what}, as Authorization: Bearer KEY or as X-API-Key: KEY, {got}.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def check_write(keys: Keys, given: bytes | None) -> None:
    """Refuse a change that may not be made.

    Raises:
        Problem: there is no write key, or this is another.
    """
    if keys.write is None:
        raise Problem(
            403, "forbidden", "This server changes nothing: start it with --write-key-file FILE to add and delete."
        )
    if keys.may_write(given):
        return
    if keys.read is not None and given is not None:  # it got this far, so it is the read key
        raise Problem(403, "forbidden", "This key is for reading: adding and deleting need the write key.")
    raise unauthorized(given, "the write key")


def _may_write(request: Request) -> None:
    check_write(request.app.state.keys, request.scope.get("xtrkit.given"))


MayWrite = Annotated[None, Depends(_may_write)]
"""What a route that changes something takes, so that it can't be reached without the key."""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
