"""How kernels are compiled: cached on disk where that is possible, with the GIL released.

Numba keeps machine code beside the source, or in the user's cache directory where site-packages can't be written. On
a machine where neither can be written (a read-only container without a home) caching is left out: the kernels then
compile once in each process, which costs seconds, and results are the same.
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
        return njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # "no locator available": there is no place to keep the machine code
        return njit(**options)(function)  # type: ignore[no-any-return]
