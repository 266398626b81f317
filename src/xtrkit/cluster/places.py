"""Where a cluster lies: in a directory that every machine sees, or in a store from which each pulls what it needs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from xtrkit.errors import InputError
from xtrkit.storage.shards import ClusterPin, ShardFacts, newest_or
from xtrkit.storage.transport.pulling import cached, head_of, pull_shard
from xtrkit.storage.transport.remote_cluster import RemotePin
from xtrkit.storage.transport.store import Remote

LISTED_S = 5.0
"""How long a store's newest generation is taken for the newest: who lists it often pays for it."""


@dataclass(frozen=True)
class Here:
    """A directory, under the same name on every machine that has shards.

    Attributes:
        path: it.
    """

    path: Path

    @property
    def where(self) -> str:
        """It, for names and messages."""
        return str(self.path)

    def pin(self) -> ClusterPin:
        """The newest generation, kept on disk."""
        return ClusterPin(self.path)

    def newest(self) -> int:
        """The number of the newest generation."""
        return newest_or(self.path, None)

    def shard(self, shard: ShardFacts) -> Path:
        """The directory of a shard, on the machine that asks."""
        return self.path / shard.name

    def check_here(self) -> None:
        """A directory can be changed."""


@dataclass(frozen=True)
class Pushed:
    """A store that a cluster was pushed to (:mod:`xtrkit.storage.transport`).

    Attributes:
        url: the place.
        cache: where each machine keeps what it pulled; None for a folder in that of the user's caches.
    """

    url: str
    cache: Path | None = None
    _listed: list[tuple[float, int]] = field(default_factory=list, compare=False, repr=False)

    @property
    def where(self) -> str:
        """The place, for names and messages."""
        return self.url

    @property
    def path(self) -> Path:
        """What this machine has of it."""
        return cached(self._cache, self.url)

    def pin(self) -> RemotePin:
        """The newest generation, of which the codec alone is pulled."""
        return RemotePin(self.url, self._cache)

    def newest(self) -> int:
        """The number of the newest generation, as it was a moment ago."""
        if not self._listed or time.monotonic() - self._listed[-1][0] > LISTED_S:
            self._listed[:] = [(time.monotonic(), head_of(Remote(self.url), None).generation)]
        return self._listed[-1][1]

    def shard(self, shard: ShardFacts) -> Path:
        """The directory of a shard, on the machine that asks: it is pulled if it isn't there."""
        return pull_shard(self.url, self._cache, shard)

    def check_here(self) -> None:
        """Refuse to change what is in a store.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{self.url} is a cluster in a store, where it is searched and not changed, verified or copied: do that in "
            "the directory that it was pushed from, and push it again (xtrkit push)."
        )

    @property
    def _cache(self) -> Path:
        return self.cache or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "xtrkit" / "clusters"


Place = Here | Pushed


def place_of(given: str | Path, cache: str | Path | None = None) -> Place:
    """Where a cluster lies.

    Args:
        given: its directory, or the URL that it was pushed to.
        cache: where machines keep what they pull; for a URL alone.
    """
    if "://" in str(given):
        return Pushed(str(given), None if cache is None else Path(cache).absolute())
    return Here(Path(given).absolute())
