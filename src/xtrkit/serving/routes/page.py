"""The page at ``/``: four files as they are, which ask this server for the rest.

They need no key, since they hold nothing of the index; the page asks for one where its requests are refused. Browsers
keep them and ask whether they are still the same (``ETag``). Their policy (CSP) lets a page run its own script and
style, and talk to this server, and nothing else, whatever a passage holds.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastapi import Request, Response

from xtrkit.serving.limits import group

router = group("page")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class File(NamedTuple):
    """A file of the page.

    Attributes:
        place: where it lies in the package.
        kind: its media type.
    """

    place: str
    kind: str


FILES = {
    "/": File("serving/static/index.html", "text/html"),
    "/page.css": File("serving/static/page.css", "text/css"),
    "/explained.css": File("explained.css", "text/css"),
    "/page.js": File("serving/static/page.js", "text/javascript"),
}


HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def page(request: Request) -> Response:
    """A file of the page, or that it is the one which the browser has."""
    file = FILES[request.scope["route"].path]
    body, tag = _read(file.place)
    headers = {**HEADERS, "ETag": tag}
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=file.kind, headers=headers)


for path in FILES:
    router.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)


@cache
def _read(place: str) -> tuple[bytes, str]:
    """A file's bytes, and their tag."""
    body = (files("xtrkit") / place).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
