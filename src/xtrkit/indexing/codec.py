"""Codecs: what stands for a token's residual to its centroid in 1, 2, 4 or 8 bits a dimension.

A codec turns (B, d) residuals into (B, w) bytes and (B,) scales, and back. Search needs one thing more of it: how a
query token meets the bytes. :class:`GridCodec` is affine, so integer products serve (``kernels/codes.py``);
:class:`BucketCodec` is ColBERTv2's, read through decompression.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.kernels.codes import encode_grid

BITS = (1, 2, 4, 8)

STEPS = {
    1: (1.0,),  # one bit has two levels, ±1/2: every step gives the same signs
    2: (0.40, 0.48, 0.56, 0.64, 0.72, 0.80, 0.90, 1.0),
    4: (0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 1.0),
    8: (0.97, 1.0),
}
"""Steps tried for each number of bits, as fractions of the one that just reaches the largest component."""


class Codec(Protocol):
    """What building an index asks of a codec."""

    bits: int

    def width(self, dim: int) -> int:
        """Bytes that a token's codes take."""
        ...

    def encode(self, residuals: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
        """(B, d) residuals -> (B, w) codes, (B,) scales."""
        ...

    def decode(
        self, codes: npt.NDArray[np.uint8], scales: npt.NDArray[np.float16], dim: int
    ) -> npt.NDArray[np.float32]:
        """(B, w) codes, (B,) scales -> (B, d) residuals, about."""
        ...


def check_bits(bits: int, dim: int) -> None:
    """Refuse numbers of bits or dimensions that do not fill bytes.

    Raises:
        InputError: ``bits`` is not 1, 2, 4 or 8, or ``dim`` not a multiple of 8.
    """
    if bits not in BITS:
        raise InputError(f"nbits must be 1, 2, 4 or 8, got {bits!r}.")
    if dim % 8 or not 8 <= dim <= 4096:
        raise InputError(
            f"A compressed index needs vectors of 8, 16, 24, … 4096 dimensions, got {dim}: "
            "pad them with zeros to a multiple of 8."
        )


@dataclass(frozen=True)
class GridCodec:
    """value = scale · (code − offset), with a scale for each token found by least squares.

    The residuals should come after a random rotation (:func:`random_rotation`): it makes the components of every
    token alike in spread, which is what one scale for all of them assumes.
    """

    bits: int

    def width(self, dim: int) -> int:
        """Bytes that a token's codes take."""
        return dim * self.bits // 8

    def encode(self, residuals: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
        """(B, d) residuals -> (B, w) codes, (B,) scales."""
        codes = np.zeros((len(residuals), self.width(residuals.shape[1])), dtype=np.uint8)
        scales = np.zeros(len(residuals), dtype=np.float32)
        encode_grid(residuals, self.bits, np.array(STEPS[self.bits], dtype=np.float32), codes, scales)
        return codes, scales.astype(np.float16)

    def decode(
        self, codes: npt.NDArray[np.uint8], scales: npt.NDArray[np.float16], dim: int
    ) -> npt.NDArray[np.float32]:
        """(B, w) codes, (B,) scales -> (B, d) residuals, about."""
        offset = np.float32((2**self.bits - 1) / 2)
        levels = unpack_planes(codes, self.bits).astype(np.float32) - offset
        return np.asarray(levels * scales.astype(np.float32)[:, np.newaxis])


def unpack_planes(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """(B, w) packed codes -> (B, d) codes in order of dimension (layout of :mod:`xtrkit.kernels.codes`)."""
    fields = [(codes >> np.uint8(shift)) & np.uint8(2**bits - 1) for shift in range(0, 8, bits)]
    return np.concatenate(fields, axis=1)


def random_rotation(dim: int, seed: int) -> npt.NDArray[np.float32]:
    """A (d, d) orthogonal matrix, drawn evenly: the Q of a Gaussian matrix' QR, with the signs of R's diagonal."""
    gaussian = np.random.default_rng(seed).normal(size=(dim, dim))
    q, r = np.linalg.qr(gaussian)
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class BucketCodec:
    """ColBERTv2's residual codec: one set of quantile buckets for all dimensions, byte for byte as Stanford's.

    Each component becomes the number of its bucket. The bits of a bucket number are emitted least significant first
    and packed most significant first, so within a byte dimensions run from the high bits down and each field is
    reversed. Decompressed vectors are normalised again (``renormalised``), as PLAID does.

    Attributes:
        bits: 1, 2, 4 or 8.
        cutoffs: (2^bits - 1,) ascending borders between buckets.
        weights: (2^bits,) the value that stands for each bucket.
    """

    bits: int
    cutoffs: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32] = field(repr=False)

    @classmethod
    def fit(cls, residuals: npt.NDArray[np.float32], bits: int) -> BucketCodec:
        """Quantiles i / 2^b are the cutoffs, quantiles (i + ½) / 2^b the weights, over all dimensions together."""
        flat = residuals.ravel() if residuals.size else np.zeros(1, dtype=np.float32)
        n = 2**bits
        cutoffs = np.quantile(flat, np.arange(1, n) / n).astype(np.float32)
        weights = np.quantile(flat, (np.arange(n) + 0.5) / n).astype(np.float32)
        return cls(bits, cutoffs, weights)

    def width(self, dim: int) -> int:
        """Bytes that a token's codes take."""
        return dim * self.bits // 8

    def encode(self, residuals: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
        """(B, d) residuals -> (B, w) codes, and a scale of 1 for each."""
        buckets = np.searchsorted(self.cutoffs, residuals, side="left").astype(np.uint8)
        bits_of = (buckets[:, :, np.newaxis] >> np.arange(self.bits, dtype=np.uint8)) & np.uint8(1)
        codes = np.packbits(bits_of.reshape(len(residuals), -1), axis=1)
        return codes, np.ones(len(residuals), dtype=np.float16)

    def decode(
        self, codes: npt.NDArray[np.uint8], scales: npt.NDArray[np.float16], dim: int
    ) -> npt.NDArray[np.float32]:
        """(B, w) codes -> (B, d) residuals, about."""
        return np.asarray(self.weights[self.buckets(codes, dim)] * scales.astype(np.float32)[:, np.newaxis])

    def buckets(self, codes: npt.NDArray[np.uint8], dim: int) -> npt.NDArray[np.uint8]:
        """(B, w) codes -> (B, d) bucket numbers."""
        bits_of = np.unpackbits(codes, axis=1).reshape(len(codes), dim, self.bits)
        return np.asarray((bits_of << np.arange(self.bits, dtype=np.uint8)).sum(axis=2, dtype=np.uint8))


def renormalised(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows scaled to length 1; zero rows stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.float32(1e-12)), dtype=np.float32)
