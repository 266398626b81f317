"""HTTP/1.1 as uvicorn speaks it, for clients that mean harm: it waits for nobody without end.

uvicorn keeps a connection open whose request's headers never end, and one whose client never reads what it is sent;
and tells of a request that it can't read in plain text. Each connection holds a file descriptor, of which there are
some thousand.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from xtrkit.serving.problems import Kind
from xtrkit.serving.service import stopping
from xtrkit.serving.settings import Limits


class GuardedProtocol(H11Protocol):
    """One connection."""

    limits: ClassVar[Limits] = Limits()
    _waiting: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "overloaded", "Too many connections are open: ask again in a second.")
        else:
            self._watch(first=True)

    def data_received(self, data: bytes) -> None:
        """Take in a piece of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on with what the client sent meanwhile."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all waiting."""
        self._cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End, once the request at work is answered."""
        stopping.set()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Tell of a request that can't be read."""
        error = sys.exc_info()[1]  # h11's, which the caller is about to handle
        if getattr(error, "error_status_hint", 400) == 431:
            self._refuse(431, "too_large", f"The headers must have {self.limits.header_bytes:,} bytes at most.")
        else:
            self._refuse(400, "invalid_request", "This is no request of HTTP/1.1.")

    def pause_writing(self) -> None:
        """Wait no longer than so for a client that does not read what it asked for."""
        super().pause_writing()
        if self._writing is None:
            self._writing = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        if self.flow is not None:
            super().resume_writing()

    def _watch(self, *, first: bool = False) -> None:
        """Wait for the end of headers of which something came, or could have; or of a body that nobody reads.

        A request may be answered before its body is there. Closed at once, the connection would be reset, and the
        client would often not see the answer; left open, it could be sent something for ever.
        """
        headers = self.conn.their_state is h11.IDLE and (first or self.conn.trailing_data[0] or self._waiting)
        unread = self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE
        if not (headers or unread) or self.transport.is_closing():
            self._cancel()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self.limits.header_seconds, self._too_slow)

    def _cancel(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        self._waiting = None
        self._refuse(408, "timeout", f"The request's headers did not end within {self.limits.header_seconds:g} s.")

    def _refuse(self, status: int, kind: Kind, message: str) -> None:
        """Say why, unless an answer has begun already, and close."""
        body = json.dumps({"error": {"type": kind, "message": message, "details": None}}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *([(b"retry-after", b"1")] if status == 503 else []),
        ]
        with suppress(h11.LocalProtocolError):
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._cancel()
        self.transport.close()


def protocol_of(limits: Limits) -> type[GuardedProtocol]:
    """The protocol with a server's limits: uvicorn makes its objects."""
    return type("Protocol", (GuardedProtocol,), {"limits": limits})
