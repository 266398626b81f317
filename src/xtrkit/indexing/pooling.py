"""Token pooling: token vectors of a text that are alike become one, so that an index has fewer of them.

Vectors are put together by Ward's method on their cosines (Clavié, Chaffin & Adams 2024, as ColBERT and PyLate do),
until there is one for every ``factor`` of them. A group's vector has the direction of its members' sum and their mean
length: vectors of length 1 stay so. Vectors come in the order of their first members, and the first ``protected`` of a
text, such as [CLS], stay as they are, in their places.

A text that has fewer tokens than the factor, beside those that are protected, becomes one vector.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.codec import renormalised
from xtrkit.indexing.halves import to_floats, to_halves
from xtrkit.kernels.pooling import group_alike
from xtrkit.values import Pooling, Ragged

Groups = npt.NDArray[np.int32]

MOST_TOGETHER = 2048
"""Tokens that are compared with one another. A longer text, which no window of a model lets through, is cut into parts
of as many: comparing takes memory with the square."""

OPPOSITE = 1e-3
"""Where the members of a group add up to less than this share of their lengths they have no common direction: the
first stands for all."""


def pooling_of(factor: int, protected: int = 0) -> Pooling | None:
    """How to pool by a factor; None by a factor of 1, which changes nothing.

    Raises:
        InputError: one is no number that it can be.
    """
    pooling = Pooling(factor, protected)
    return pooling if pooling.factor > 1 else None


def pooled(documents: Ragged, pooling: Pooling | None) -> Ragged:
    """(m, d) float16 vectors of each document, pooled; without a pooling as they are, to the last bit."""
    if pooling is None:
        return documents
    return Ragged.from_arrays([_pooled(document, pooling) for document in documents], documents.dim)


def pooled_count(n_tokens: int, pooling: Pooling | None) -> int:
    """How many vectors a document of some tokens gets."""
    if pooling is None:
        return n_tokens
    protected = min(pooling.protected, n_tokens)
    return protected + sum(_wanted(end - first, pooling) for first, end in _parts(protected, n_tokens))


def groups_of(document: npt.NDArray[np.float16], pooling: Pooling) -> Groups:
    """Which of the pooled vectors each of a document's (m, d) token vectors went into: (m,)."""
    n_tokens, protected = len(document), min(pooling.protected, len(document))
    groups, count = np.arange(n_tokens, dtype=np.int32), protected
    units = renormalised(to_floats(document))
    for first, end in _parts(protected, n_tokens):
        wanted = _wanted(end - first, pooling)
        group_alike(units[first:end], wanted, groups[first:end])
        groups[first:end] += count
        count += wanted
    return groups


def _parts(first: int, end: int) -> Iterator[tuple[int, int]]:
    return ((begin, min(begin + MOST_TOGETHER, end)) for begin in range(first, end, MOST_TOGETHER))


def _wanted(n_tokens: int, pooling: Pooling) -> int:
    return max(1, n_tokens // pooling.factor)


def _pooled(document: npt.NDArray[np.float16], pooling: Pooling) -> npt.NDArray[np.float16]:
    groups = groups_of(document, pooling)
    sizes = np.bincount(groups)
    if len(sizes) == len(document):
        return document
    rows = document.astype(np.float64)
    lengths = np.bincount(groups, np.linalg.norm(rows, axis=1)) / sizes
    sums = np.zeros((len(sizes), document.shape[1]))
    np.add.at(sums, groups, rows)
    norms = np.linalg.norm(sums, axis=1)
    scattered = norms < OPPOSITE * lengths * sizes
    firsts = np.unique(groups, return_index=True)[1]
    scales = lengths / np.where(scattered, 1.0, norms)
    found = to_halves((sums * scales[:, np.newaxis]).astype(np.float32))
    kept = scattered | (sizes == 1)
    found[kept] = document[firsts[kept]]
    return found
