"""Compiling the kernels ahead of the first search."""

from __future__ import annotations

import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

from xtrkit.index import Index
from xtrkit.indexing.codec import BITS


def warm_up() -> float:
    """Compile every kernel that indexing and searching use, so that the first search is as fast as the second.

    Kernels compile when they are first called, about half a minute of processor time in all, and the machine code is
    kept on disk (:mod:`xtrkit.kernels.jit`). In an image that is built once and started often, or before a latency
    is measured, that is better done ahead. Where it was done before, this loads the machine code, a second or two.

    Small indexes of every kind are made in a temporary directory and searched: kernels are compiled for the very
    types that searches give them.

    Returns:
        how many seconds it took.
    """
    begin = time.perf_counter()
    random = np.random.default_rng(0)
    documents = [random.normal(size=(8, 16)).astype(np.float32) for _ in range(8)]
    kinds = [("grid", 16), ("grid", 4), *product(["buckets"], BITS)]
    with tempfile.TemporaryDirectory() as directory:
        for codec, nbits in kinds:
            with Index.create(Path(directory) / f"{codec}-{nbits}", [documents], nbits=nbits, codec=codec) as index:
                for scoring, imputation in product(("xtr", "maxsim"), ("min", "none", "0.2")):
                    index.search(documents[0], k=3, scoring=scoring, imputation=imputation, nprobe=2)
    return time.perf_counter() - begin
