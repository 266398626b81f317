"""Kernels of BM25: one term's postings at a time, into one score a document."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.jit import kernel


@kernel
def add_term(
    documents: npt.NDArray[np.uint32],
    frequencies: npt.NDArray[np.uint16],
    norms: npt.NDArray[np.float32],
    weight: np.float32,
    scores: npt.NDArray[np.float32],
) -> bool:
    """Add weight · f / (f + norm) to the score of each document that has a term.

    Args:
        documents: (p,) documents that have the term.
        frequencies: (p,) how often, f.
        norms: (N,) k1 · (1 − b + b · length / mean length) of each document.
        weight: of the term.
        scores: (N,) what is added to.

    Returns:
        whether every document is one of the N; where one is not, nothing was written for it.
    """
    right = True
    for i in range(len(documents)):
        document = documents[i]
        if document < len(scores):
            frequency = np.float32(frequencies[i])
            scores[document] += weight * (frequency / (frequency + norms[document]))
        else:
            right = False
    return right


@kernel
def count_living(documents: npt.NDArray[np.uint32], live: npt.NDArray[np.bool_]) -> int:
    """How many of some documents are alive; those that are none are not."""
    count = 0
    for i in range(len(documents)):
        document = documents[i]
        if document < len(live) and live[document]:
            count += 1
    return count
