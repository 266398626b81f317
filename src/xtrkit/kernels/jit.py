"""How kernels are compiled: cached on disk where that is possible, with the GIL released.

Numba keeps machine code in ``NUMBA_CACHE_DIR`` where that is set, else beside the source, or in the user's cache
directory where site-packages can't be written. Where none of these can be written (a read-only container without a
home) caching is left out, and where the cache fails later (a full disk, a damaged file) it is passed over: the kernels
then compile once in each process, which costs seconds, and results are the same.

Numba looks at one file to see whether machine code is still that of its source; a kernel contains parts from others.
So the cache is told to look at all of them (:data:`STAMP`).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}

"""No wrapper for C, which nobody calls; division by zero behaves as in NumPy; the GIL is released."""

INLINED = {"forceinline": True, **OPTIONS}
"""For what becomes part of its callers' code: what takes or gives vector values, or is called for every row."""

STAMP = sha256(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()
"""Of the source of all kernels."""


def kernel(function: Function) -> Function:
    """Compile a pure function on contiguous arrays with Numba, when it is called first."""
    try:
        dispatcher = njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # "no locator available": there is no place to keep the machine code
        return njit(**OPTIONS)(function)  # type: ignore[no-any-return]
    _stamp(dispatcher)
    _forgive(dispatcher)
    return dispatcher  # type: ignore[no-any-return]


def part(function: Function) -> Function:
    """Compile a part of kernels: a function that only they call, whose machine code is kept with theirs."""
    return njit(no_cpython_wrapper=True, **OPTIONS)(function)  # type: ignore[no-any-return]


def inlined(function: Function) -> Function:
    """Compile a part of kernels that becomes part of its callers' code."""
    return njit(no_cpython_wrapper=True, **INLINED)(function)  # type: ignore[no-any-return]


def _stamp(dispatcher: Any) -> None:
    """Let machine code be found only where no file of kernels has changed since."""
    file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if file is not None and hasattr(file, "_source_stamp"):
        file._source_stamp = STAMP


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
