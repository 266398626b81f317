"""The slow, obvious twins of the kernels, in plain NumPy: what each kernel must compute. Used by tests only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.values import TokenHits


def halves_to_floats(halves: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Twin of :func:`xtrkit.kernels.dense.halves_to_floats`, scaling included."""
    return halves.astype(np.float32)


def top_k_rows(similarities: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    """Twin of :func:`xtrkit.kernels.dense.keep_best` for one query token: the k best rows, in ascending order.

    Args:
        similarities: (M,) with every document token.
        k: how many; all of them where there are fewer.
    """
    by_similarity_then_row = np.lexsort((np.arange(len(similarities)), -similarities))
    return np.sort(by_similarity_then_row[:k])


def sum_of_max(query: npt.NDArray[np.float32], document: npt.NDArray[np.float32]) -> float:
    """Twin of :func:`xtrkit.kernels.dense.sum_of_max` for one (n, d) query and one (m, d) document."""
    return float((query @ document.T).max(axis=1).astype(np.float64).sum())


def best_hit_per_document(hits: TokenHits) -> dict[int, dict[int, float]]:
    """Twin of :func:`xtrkit.kernels.hits.best_hit_per_document`: {document: {query token: best similarity}}."""
    best: dict[int, dict[int, float]] = {}
    for i in range(hits.n_query_tokens):
        of = hits.of(i)
        for document, score in zip(hits.documents[of].tolist(), hits.scores[of].tolist(), strict=True):
            similarities = best.setdefault(document, {})
            similarities[i] = max(similarities.get(i, -np.inf), score)
    return best


def bm25(frequencies: list[int], lengths: list[int], living: list[bool], k1: float, b: float) -> list[float]:
    """Twin of :func:`xtrkit.kernels.lexical.add_term` and what it is given, for one term.

    Args:
        frequencies: how often each document has the term.
        lengths: how many words each document has.
        living: which documents count; the others get 0.
        k1: how soon more of the term adds nothing.
        b: how much the length counts.
    """
    texts = [length for length, alive in zip(lengths, living, strict=True) if alive and length]
    having = sum(1 for frequency, alive in zip(frequencies, living, strict=True) if alive and frequency)
    weight = np.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
    mean = sum(texts) / max(1, len(texts))
    return [
        weight * frequency / (frequency + k1 * (1 - b + b * length / mean)) if alive and frequency else 0.0
        for frequency, length, alive in zip(frequencies, lengths, living, strict=True)
    ]
