"""Compiling the kernels ahead of the first search."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

import numpy as np

from xtrkit.index import Index
from xtrkit.indexing.codec import BITS
from xtrkit.kernels.compiling import NICENESS, end_with, mark_compiled
from xtrkit.values import FloatArray

KINDS = [("grid", 16), *product(["grid", "buckets"], BITS)]
"""(codec, bits) of every kind of index."""
IMPUTATIONS = ("min", "found", "retrieved", "centroid", "none", "0.2", "t100")


def warm_up() -> float:
    """Compile every kernel that indexing and searching use, so that the first search is as fast as the second.

    Kernels compile when they are first called, about a minute of processor time in all, and the machine code is
    kept on disk (:mod:`xtrkit.kernels.jit`). In an image that is built once and started often, or before a latency
    is measured, that is better done ahead. Where it was done before, this loads the machine code, a second or two.

    Small indexes of every kind are made in a temporary directory and searched: kernels are compiled for the very
    types that searches give them.

    Returns:
        how many seconds it took.
    """
    begin = time.perf_counter()
    for codec, nbits in KINDS:
        with _small_index(codec, nbits) as (index, query):
            _search_first(index, query, codec, nbits)
            _search_every_way(index, query)
    return time.perf_counter() - begin


def warm_up_behind(codec: str, nbits: int, parent: int) -> None:
    """Compile for one kind of index at low priority, the default search first; ends when the parent process does."""
    end_with(parent)
    with suppress(OSError, AttributeError):
        os.nice(NICENESS)
    with _small_index(codec, nbits) as (index, query):
        _search_first(index, query, codec, nbits)
        _search_every_way(index, query)


@contextmanager
def _small_index(codec: str, nbits: int) -> Iterator[tuple[Index, FloatArray]]:
    """An index of 60 documents in some twenty clusters, and a query."""
    random = np.random.default_rng(0)
    documents = [random.normal(size=(8, 16)).astype(np.float32) for _ in range(60)]
    with (
        tempfile.TemporaryDirectory() as directory,
        Index.create(
            Path(directory) / "index", [documents], texts=["text"] * len(documents), nbits=nbits, codec=codec
        ) as index,
    ):
        yield index, documents[0]


def _search_first(index: Index, query: FloatArray, codec: str, nbits: int) -> None:
    """As a search without options does, with what it shows: with clusters open and closed."""
    for nprobe in (2, 32):
        index.explain(query, index.search(query, 3, nprobe=nprobe))  # whose places are shown
    mark_compiled(nbits, codec)


def _search_every_way(index: Index, query: FloatArray) -> None:
    """Every scoring and imputation, with clusters closed; and among some documents alone, as a filter has it."""
    for scoring, imputation in product(("xtr", "maxsim"), IMPUTATIONS):
        index.search(query, 3, scoring=scoring, imputation=imputation, nprobe=2)
    index.search(query, 3, subset=[*index.ids()][:5], nprobe=2)
    index.search_words("text", 3)
