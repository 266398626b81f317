"""How kernels are compiled: cached on disk where that is possible, with the GIL released.

Numba keeps machine code in ``NUMBA_CACHE_DIR`` where that is set, else beside the source, or in the user's cache
directory where site-packages can't be written. Where none of these can be written (a read-only container without a
home) caching is left out, and where the cache fails later (a full disk, a damaged file) it is passed over: the kernels
then compile once in each process, which costs seconds, and results are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a pure function on contiguous arrays with Numba; division by zero behaves as in NumPy."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        dispatcher = njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": there is no place to keep the machine code
        return njit(**options)(function)  # type: ignore[no-any-return]
    _forgive(dispatcher)
    return dispatcher  # type: ignore[no-any-return]


def _forgive(dispatcher: Any) -> None:
    """Let nothing that is wrong with the cache's files stop a search: Numba raises what reading and writing raise."""
    cache = getattr(dispatcher, "_cache", None)
    for name in ("load_overload", "save_overload"):
        method = getattr(cache, name, None)
        if method is not None:
            setattr(cache, name, _forgiving(method))


def _forgiving(method: Callable[..., Any]) -> Callable[..., Any]:
    def attempt(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except Exception:  # a file of the cache may hold anything; None says that nothing was found
            return None

    return attempt
