"""Tasks given out to workers in processes of their own: by the room that machines have, and again where one died."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from xtrkit.cluster.crew import Task
from xtrkit.errors import XtrkitError

MOST_DEATHS = 3
"""How many workers may die of one task: the next would, too."""


class WorkerDownError(XtrkitError):
    """Workers die again and again."""


class Room(NamedTuple):
    """Where a worker is.

    Attributes:
        machine: its machine's name.
        bytes: what all workers of that machine may hold together.
    """

    machine: str
    bytes: int


class Outcome(NamedTuple):
    """How a call ended.

    Attributes:
        how: "returned", "raised", or "died" where the worker did.
        value: what was returned; or the error.
    """

    how: str
    value: Any


class Team(Protocol):
    """Workers, each of which does one call at a time; they may die."""

    @property
    def size(self) -> int:
        """How many they are."""

    def greet(self, place: int) -> Hashable:
        """Ask one of them for its :class:`Room`; return the call."""

    def begin(self, place: int, task: Task) -> Hashable:
        """Give one of them a task, whose size it returns; return the call."""

    def ended(self, calls: Iterable[Any]) -> tuple[Any, Outcome]:
        """Wait until one of some calls has ended."""

    def replace(self, place: int) -> None:
        """Put another one in a worker's place."""


class Dispatcher:
    """Gives tasks out, in their order, as soon as somebody is free whose machine has room.

    On each machine the tasks at work hold no more, together, than its room; one that needs more than that is at work
    there alone.

    Attributes:
        replaced: how many workers died, and were replaced.
    """

    def __init__(self, team: Team) -> None:
        """Begin with a team, whom nobody else gives anything to do."""
        self._team, self.replaced = team, 0
        self._working = dict[Any, tuple[int, Task | None]]()  # None is a greeting
        self._rooms, self._free, self._held = dict[int, Room](), deque[int](), Counter[str]()
        self._greeted = False

    def done(self, tasks: Sequence[Task]) -> Iterator[int]:
        """Do tasks; give the size of each when it is done.

        Raises:
            WorkerDownError: a task has cost too many workers.
            XtrkitError: what a worker raised.
        """
        waiting, deaths = deque(tasks), Counter[str]()
        if not self._greeted and waiting:
            self._greeted = True
            for place in range(self._team.size):
                self._greet(place)
        while waiting or any(task for _, task in self._working.values()):
            self._give_out(waiting)
            place, task, (how, value) = self._next()
            if how == "raised":
                raise value
            if how == "died":
                self._count(deaths, task, value)
                waiting.extendleft([] if task is None else [task])
                self._team.replace(place)
                self._greet(place)
                continue
            self._free.append(place)
            if task is None:
                self._rooms[place] = value
            else:
                yield task.size

    def _greet(self, place: int) -> None:
        self._working[self._team.greet(place)] = (place, None)

    def _give_out(self, waiting: deque[Task]) -> None:
        """Give out what there is room for; a large task is not overtaken by small ones."""
        while waiting and (place := self._place_for(waiting[0])) is not None:
            task = waiting.popleft()
            self._held[self._rooms[place].machine] += task.holds
            self._working[self._team.begin(place, task)] = (place, task)

    def _place_for(self, task: Task) -> int | None:
        """Somebody who is free, and whose machine has room."""
        for place in self._free:
            machine, most = self._rooms[place]
            if not self._held[machine] or self._held[machine] + task.holds <= most:
                self._free.remove(place)
                return place
        return None

    def _next(self) -> tuple[int, Task | None, Outcome]:
        """Wait for somebody."""
        call, outcome = self._team.ended(list(self._working))
        place, task = self._working.pop(call)
        if task is not None:
            self._held[self._rooms[place].machine] -= task.holds
        return place, task, outcome

    def _count(self, deaths: Counter[str], task: Task | None, error: Any) -> None:
        """Count a death.

        Raises:
            WorkerDownError: there were too many.
        """
        part = "" if task is None else task.part
        deaths[part] += 1
        if deaths[part] >= MOST_DEATHS:
            raise WorkerDownError(
                f"{deaths[part]} workers died {f'of {part}' if part else 'before they did anything'} ({error}): look "
                "whether their memory was used up (ray status); the same call goes on from here, with fewer workers if "
                "need be."
            )
        self.replaced += 1
