"""Requests that arrive together are searched together, where that is what makes searching cheap: on a cluster's shards.

A batch costs a cluster two exchanges whatever its size, so while some searches are at work the requests that arrive
wait, and those of them that ask alike are one batch as soon as one of those is done. Who waits for nobody is searched
at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xtrkit.cluster.engine import BATCH
from xtrkit.errors import XtrkitError
from xtrkit.hits import Hits

AT_ONCE = 2
"""Batches at work at a time: one is encoded or put together while shards look for another."""


@dataclass(eq=False)
class _Asked:
    """A request.

    Attributes:
        queries, k, choices: what it asks for.
        taken: whether it is in a batch that is at work, or was.
        found: what was found; None before.
        error: why nothing can be; None where something can.
    """

    queries: Sequence[str]
    k: int
    choices: dict[str, Any]
    taken: bool = False
    found: list[Hits] | None = None
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether it is answered."""
        return self.found is not None or self.error is not None

    def alike(self, other: _Asked) -> bool:
        """Whether one search can answer both."""
        return self.k == other.k and self.choices == other.choices


class Gathering:
    """Searches for requests of many threads in batches."""

    def __init__(self, search_batch: Callable[..., list[Hits]], most: int = BATCH, at_once: int = AT_ONCE) -> None:
        """Gather requests.

        Args:
            search_batch: what answers a batch, as :meth:`xtrkit.Retriever.search_batch`.
            most: queries of a batch, unless one request has more.
            at_once: batches at work at a time.
        """
        self._search_batch, self._most, self._at_once = search_batch, most, at_once
        self._waiting: list[_Asked] = []
        self._at_work = 0
        self._changed = threading.Condition()

    def search_batch(self, queries: Sequence[str], k: int, **choices: Any) -> list[Hits]:
        """As :meth:`xtrkit.Retriever.search_batch`, perhaps together with what other threads ask."""
        asked = _Asked(queries, k, choices)
        with self._changed:
            self._waiting.append(asked)
            self._changed.wait_for(lambda: asked.done or (not asked.taken and self._at_work < self._at_once))
            group = [] if asked.done else self._take(asked)
        if group:
            try:
                self._answer(group)
            finally:
                with self._changed:
                    self._at_work -= 1
                    self._changed.notify_all()
        if asked.error is not None:
            raise asked.error
        return asked.found or []

    def _take(self, asked: _Asked) -> list[_Asked]:
        """A request, and those that wait and ask alike, as far as they fit into a batch."""
        group, n_queries = [asked], len(asked.queries)
        for other in self._waiting:
            if other is not asked and other.alike(asked) and n_queries + len(other.queries) <= self._most:
                group.append(other)
                n_queries += len(other.queries)
        for one in group:
            one.taken = True
        self._waiting = [one for one in self._waiting if not one.taken]
        self._at_work += 1
        return group

    def _answer(self, group: Sequence[_Asked]) -> None:
        first = group[0]
        try:
            found = self._search_batch([query for one in group for query in one.queries], first.k, **first.choices)
        except BaseException as error:
            if len(group) > 1 and isinstance(error, XtrkitError):  # of one of them, perhaps: the others have answers
                for one in group:
                    self._answer([one])
                return
            for one in group:
                one.error = error
            return
        for one in group:
            one.found, found = found[: len(one.queries)], found[len(one.queries) :]
