"""How far a compressed index's similarities can be from those of the vectors that it was made of.

Bounds that always hold, not typical errors, which are several times smaller: a bound takes every component to be off by
half a step and every such error to point the query's way.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.codec import GridCodec
from xtrkit.indexing.compressed_format import Quantiser
from xtrkit.kernels.bundles import QUERY_LIMIT, SMALL_LIMIT
from xtrkit.token_retrieval.corpus import ClusteredCorpus
from xtrkit.values import FloatArray

HALF_ROUNDING = 2.0**-11
"""Relative error of a number rounded to float16, and below its smallest normal number 2^-25 absolutely."""


def residual_error_bounds(scales: npt.NDArray[np.floating[Any]], bits: int, dim: int) -> npt.NDArray[np.float64]:
    """How far a residual r can be from the r' that :class:`~xtrkit.indexing.codec.GridCodec` keeps: ‖r − r'‖.

    Of the steps that are tried, the one that reaches the largest component m leaves no component off by more than half
    a step, m / L with L = 2^b − 1 levels above the lowest; the step that is taken leaves no larger squared error; and
    its scale s is rounded to float16, which moves r' by η‖r'‖. As no component of r' is above s L / 2, m is at most
    s L / 2 + ‖r − r'‖, and together

        ‖r − r'‖ ≤ √d · (s / 2) · (1 + η L) / (1 − √d / L)        where √d < L: up to 224 dimensions at 4 bits.

    Args:
        scales: (B,) s of each residual.
        bits: b.
        dim: d.

    Returns:
        (B,) bounds; infinite where √d ≥ L.
    """
    levels, root = 2**bits - 1, math.sqrt(dim)
    if root >= levels:
        return np.full(len(scales), np.inf)
    wide = scales.astype(np.float64)
    rounding = np.maximum(HALF_ROUNDING * wide, 2.0**-25)
    return np.asarray(root * (wide + rounding * levels) / 2 / (1 - root / levels))


def similarity_error_bounds(corpus: ClusteredCorpus, query: FloatArray) -> npt.NDArray[np.float64]:
    """How far any similarity of a query token can be from that with the vector as it was indexed.

    A vector is kept as the centroid c and a residual r', a query token rotated and rounded, to q₁₂ for centroids and to
    q₈ for codes of up to 4 bits (of 8 bits: to q₁₂). So what is computed is q₁₂ · c + q₈ · r', off by

        q · (r − r') + (q − q₁₂) · c + (q − q₈) · r' ≤ ‖q‖ · max ‖r − r'‖ + ‖q − q₁₂‖ · max ‖c‖ + ‖q − q₈‖ · max ‖r'‖.

    Rounding to b bits moves no component by more than half a step, max|q| / (2^b − 2), and the whole by √d times that;
    no component of r' is above s · L / 2. An XTR score for which everything was opened is off by no more than the mean
    over query tokens, or the sum where scores are sums; of two documents that rank otherwise than exactly, the scores
    differ by no more than twice that.

    Args:
        corpus: the compressed corpus.
        query: (n, d) token embeddings.

    Returns:
        (n,) bounds; infinite for codecs without one, such as ColBERTv2's, whose outermost buckets have no end, and
        where codes keep some of the dimensions alone: what the others held is not known.
    """
    largest = np.array([segment.tokens.scales.max(initial=0) for segment in corpus.segments], dtype=np.float16)
    return error_bounds_of(corpus.quantiser, largest.max(keepdims=True), query)


def error_bounds_of(
    quantiser: Quantiser, largest: npt.NDArray[np.float16], query: FloatArray
) -> npt.NDArray[np.float64]:
    """As :func:`similarity_error_bounds`, where of all residuals only the largest scale is known.

    Args:
        quantiser: centroids and codec.
        largest: (1,) the largest scale s.
        query: (n, d) token embeddings.
    """
    if not isinstance(quantiser.codec, GridCodec) or quantiser.code_dim < quantiser.dim:
        return np.full(len(query), np.inf)
    dim, bits = quantiser.dim, quantiser.bits
    of_codec = residual_error_bounds(largest, bits, dim)[0]
    longest_residual = math.sqrt(dim) * float(largest[0]) * (2**bits - 1) / 2
    longest_centroid = np.linalg.norm(quantiser.decoded_centroids.astype(np.float64), axis=1).max()
    rotated = query.astype(np.float64) @ quantiser.rotation
    half_range = math.sqrt(dim) * np.abs(rotated).max(axis=1) / 2
    of_centroid = half_range / QUERY_LIMIT * longest_centroid
    of_residual = half_range / (QUERY_LIMIT if bits == 8 else SMALL_LIMIT) * longest_residual
    return np.asarray(np.linalg.norm(rotated, axis=1) * of_codec + of_centroid + of_residual)
