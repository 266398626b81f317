"""Work that is done some blocks at a time: results come in order, the same for any number of threads.

Each block is one thread's, and BLAS's own threads are switched off meanwhile: they would wait for one another at the
end of each small product, and a product's last bits depend on how it is divided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from xtrkit.errors import InputError
from xtrkit.machine import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
_BLAS = ThreadpoolController()


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that there can't be; None stands for as many as there are cores to use.

    Raises:
        InputError: it isn't a whole number of at least 1.
    """
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise InputError(f"threads must be a whole number of at least 1, or None for all cores, got {threads!r}.")


class Workers:
    """Some threads; use them in a ``with``."""

    def __init__(self, threads: int | None = None) -> None:
        """Begin with ``threads`` of them; as many as there are cores to use where None is given."""
        self.threads = threads or usable_cores()
        self._stack = ExitStack()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        self._stack.enter_context(_BLAS.limit(limits=1, user_api="blas"))
        if self.threads > 1:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self.threads))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in order of the items, of which few more are taken than there are threads."""
        if self._pool is None:
            yield from map(work, items)
            return
        ahead: deque[Future[Result]] = deque()
        try:
            for item in items:
                ahead.append(self._pool.submit(work, item))
                if len(ahead) > self.threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for waiting in ahead:
                waiting.cancel()
