"""How changes go on that nobody waits for: a small file each, which every process of the server can read."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

Status = Literal["waiting", "running", "done", "failed"]
NAME = re.compile(r"[0-9a-f]{32}")
KEPT_SECONDS = 3600.0
"""How long a job that has ended can be asked for."""

TOLD_SECONDS = 0.2
"""Between two times that progress is written down."""


class Job:
    """A change that goes on.

    Attributes:
        id: its id.
        index: the name of the index that it changes.
        status: how far it is.
        done, total: passages that are encoded, of how many.
        result: what it did, once it is done.
        error: the problem, where it failed.
    """

    def __init__(self, index: str) -> None:
        self.id, self.index = uuid.uuid4().hex, index
        self.status: Status = "waiting"
        self.done, self.total = 0, 0
        self.result: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self._created, self._told = time.time(), 0.0
        self._store: Jobs | None = None

    @property
    def url(self) -> str:
        """Where it can be asked for."""
        return f"/v1/jobs/{self.id}"

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "id": self.id,
            "status": self.status,
            "url": self.url,
            "index": self.index,
            "created": self._created,
            "progress": {"done": self.done, "total": self.total},
            "result": self.result,
            "error": self.error,
        }

    def published(self, store: Jobs) -> dict[str, Any]:
        """Let it be asked for from now on; as :meth:`as_json`."""
        self._store = store
        store.tidy()
        store.write(self)
        return self.as_json()

    def begin(self, total: int) -> None:
        """It is at work on so many passages."""
        self.status, self.done, self.total = "running", 0, total
        self.tell()

    def succeed(self, result: dict[str, Any]) -> None:
        """It is done."""
        self.status, self.result = "done", result
        self.tell()

    def fail(self, error: dict[str, Any]) -> None:
        """It can't be done."""
        self.status, self.error = "failed", error
        self.tell()

    def advance(self, amount: int) -> None:
        """So many more passages are encoded."""
        self.done += amount
        if time.monotonic() - self._told > TOLD_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Write down how far it is, where somebody may ask."""
        self._told = time.monotonic()
        if self._store is not None:
            self._store.write(self)


class Jobs:
    """The directory where they are written down."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, job: Job) -> None:
        """Write one down; a full disk loses its progress, not the job."""
        temporary = self._directory / f"{job.id}.new"
        with suppress(OSError):
            temporary.write_text(json.dumps(job.as_json()))
            os.replace(temporary, self._directory / job.id)

    def read(self, identifier: str) -> dict[str, Any] | None:
        """One of an id; None where there is none."""
        if not NAME.fullmatch(identifier):
            return None
        try:
            told: dict[str, Any] = json.loads((self._directory / identifier).read_text())
        except (OSError, ValueError):
            return None
        return told

    def tidy(self) -> None:
        """Forget those that nothing happened to for long."""
        with suppress(OSError):
            for file in self._directory.iterdir():
                if time.time() - file.stat().st_mtime > KEPT_SECONDS:
                    file.unlink(missing_ok=True)
