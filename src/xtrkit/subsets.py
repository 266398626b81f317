"""Some documents of an index, as callers name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from xtrkit.errors import InputError
from xtrkit.values import IntArray, Mask

Subset = Iterable[str] | Mask | IntArray
"""Some documents: their ids, an (N,) array that marks them, or an array of their numbers.

An id that no passage has may be that of a document that was cut into passages: it stands for all of them.
"""


def mask_of(subset: Subset, n: int, named: Callable[[Sequence[str]], list[int]]) -> Mask:
    """(N,) which documents a subset names.

    Args:
        subset: the subset.
        n: N, dead documents included.
        named: the numbers of the documents that ids stand for.

    Raises:
        InputError: it is none, or names what isn't there.
    """
    if isinstance(subset, np.ndarray) and subset.dtype.kind in "UO" and subset.ndim == 1:
        subset = subset.tolist()
    if isinstance(subset, np.ndarray) and subset.dtype == np.bool_:
        if subset.shape != (n,):
            raise InputError(
                f"A subset that marks documents must have one entry for each of the {n}, got shape {subset.shape}."
            )
        return np.asarray(subset, dtype=np.bool_)
    if isinstance(subset, np.ndarray) and np.issubdtype(subset.dtype, np.integer) and subset.ndim == 1:
        if len(subset) and not 0 <= subset.min() <= subset.max() < n:
            raise InputError(
                f"A subset of document numbers must hold numbers from 0 to {n - 1}, "
                f"got {int(subset.min())} to {int(subset.max())}."
            )
        numbers: Iterable[int] = subset.tolist()
    elif isinstance(subset, Iterable) and not isinstance(subset, str | bytes | np.ndarray):
        numbers = named([_checked(identifier) for identifier in subset])
    else:
        raise InputError(
            "A subset must be ids, a boolean array with one entry for each document, or an array of document "
            f"numbers, got {type(subset).__name__}."
        )
    mask = np.zeros(n, dtype=np.bool_)
    mask[list(numbers)] = True
    return mask


def _checked(identifier: object) -> str:
    if not isinstance(identifier, str):
        raise InputError(
            f"A subset's ids must be strings, got {identifier!r} of type {type(identifier).__name__}: "
            "give numbers of documents as a NumPy array."
        )
    if "\0" in identifier:
        raise InputError(f"A subset's ids have no NUL, got {identifier!r}.")
    return identifier
