"""Codecs: what stands for a token's residual to its centroid in 1, 2, 4 or 8 bits a dimension.

A codec turns (B, d) vectors and the centroids they belong to into (B, w) bytes and (B,) scales, and back. Search needs
one thing more of it, how a query token meets the bytes: :class:`GridCodec` is affine, so integer products serve
(``kernels/codes.py``); for any other, :class:`BucketCodec` among them, a table says what each byte stands for
(``kernels/tables.py``). A third codec is one more class here and a line in ``CODECS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.kernels.bundles import Table
from xtrkit.kernels.encoding import encode_grid
from xtrkit.kernels.tables import NO_TABLE, table_of

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Scales = npt.NDArray[np.float16]

BITS = (1, 2, 4, 8)

STEPS = {
    1: (1.0,),  # one bit has two levels, ±1/2: every step gives the same signs
    2: (0.40, 0.48, 0.56, 0.64, 0.72, 0.80, 0.90, 1.0),
    4: (0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 1.0),
    8: (0.97, 1.0),
}
"""Steps tried for each number of bits, as fractions of the one that just reaches the largest component."""


class Codec(Protocol):
    """What building and searching an index ask of a codec."""

    @property
    def bits(self) -> int:
        """Bits a dimension."""

    @property
    def zero_point(self) -> float:
        """The code that stands for 0, where codes are numbers on a grid; 0 where a table decodes them."""

    def table(self, dim: int) -> Table:
        """What each byte stands for in vectors of so many dimensions; empty where codes are numbers on a grid."""

    def rotation(self, dim: int, seed: int) -> Floats:
        """The (d, d) orthogonal matrix that vectors and queries are multiplied with first."""

    def fitted(self, residuals: Floats) -> Codec:
        """The codec for an index in which (S, d) residuals like these occur."""

    def encode(self, vectors: Floats, centroids: Floats) -> tuple[Codes, Scales]:
        """(B, d) vectors and the centroid of each -> (B, w) codes, (B,) scales."""

    def decode(self, codes: Codes, scales: Scales, centroids: Floats) -> Floats:
        """(B, w) codes, (B,) scales and (B, d) centroids -> (B, d) vectors, about."""

    def parameters(self) -> dict[str, Floats]:
        """What must be kept with an index to read its codes, by names that :func:`codec_named` takes back."""


def code_width(dim: int, bits: int) -> int:
    """Bytes that a token's codes take, w."""
    return dim * bits // 8


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
            "pad them with zeros to a multiple of 8, or keep them as they are with 16 bits (nbits=16)."
        )


@dataclass(frozen=True)
class GridCodec:
    """vector = centroid + scale · (code − zero point), with a scale for each token found by least squares.

    Vectors are rotated at random first: it makes the components of every residual alike in spread, which is what one
    scale for all of them assumes.
    """

    bits: int

    @property
    def zero_point(self) -> float:
        """The middle between the lowest and the highest code."""
        return float(2**self.bits - 1) / 2

    def table(self, dim: int) -> Table:
        """No table: codes are numbers already."""
        return NO_TABLE

    def rotation(self, dim: int, seed: int) -> Floats:
        """A random rotation."""
        return random_rotation(dim, seed)

    def fitted(self, residuals: Floats) -> GridCodec:
        """The same: each token has its own scale."""
        return self

    def encode(self, vectors: Floats, centroids: Floats) -> tuple[Codes, Scales]:
        """(B, d) vectors and the centroid of each -> (B, w) codes, (B,) scales."""
        residuals = vectors - centroids
        codes = np.empty((len(residuals), code_width(residuals.shape[1], self.bits)), dtype=np.uint8)
        scales = np.empty(len(residuals), dtype=np.float32)
        encode_grid(residuals, self.bits, np.array(STEPS[self.bits], dtype=np.float32), codes, scales)
        return codes, scales.astype(np.float16)

    def decode(self, codes: Codes, scales: Scales, centroids: Floats) -> Floats:
        """(B, w) codes, (B,) scales and (B, d) centroids -> (B, d) vectors, about."""
        levels = unpack_planes(codes, self.bits).astype(np.float32) - np.float32(self.zero_point)
        return np.asarray(centroids + levels * scales.astype(np.float32)[:, np.newaxis])

    def parameters(self) -> dict[str, Floats]:
        """Nothing: bits say all."""
        return {}


def unpack_planes(codes: Codes, bits: int) -> Codes:
    """(B, w) packed codes -> (B, d) codes in order of dimension (layout of :mod:`xtrkit.kernels.codes`)."""
    fields = [(codes >> np.uint8(shift)) & np.uint8(2**bits - 1) for shift in range(0, 8, bits)]
    return np.concatenate(fields, axis=1)


def random_rotation(dim: int, seed: int) -> Floats:
    """A (d, d) orthogonal matrix, drawn evenly: the Q of a Gaussian matrix' QR, with the signs of R's diagonal."""
    gaussian = np.random.default_rng(seed).normal(size=(dim, dim))
    q, r = np.linalg.qr(gaussian)
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class BucketCodec:
    """ColBERTv2's residual codec: one set of quantile buckets for all dimensions, byte for byte as Stanford's.

    Each component of the residual becomes the number of its bucket. The bits of a bucket number are emitted least
    significant first and packed most significant first, so within a byte dimensions run from the high bits down and
    each field is reversed. Vectors are not rotated.

    Decompressed vectors have length 1 (ColBERTv2, PLAID; WARP leaves that out): a token's scale is 1 / |centroid +
    weights of its buckets|, kept as float16 beside the codes, which costs two bytes a token and no time.

    Attributes:
        bits: 1, 2, 4 or 8.
        cutoffs: (2^bits - 1,) ascending borders between buckets.
        weights: (2^bits,) the value that stands for each bucket.
    """

    bits: int
    cutoffs: Floats = field(repr=False, default_factory=lambda: np.zeros(0, dtype=np.float32))
    weights: Floats = field(repr=False, default_factory=lambda: np.zeros(0, dtype=np.float32))
    zero_point: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if len(self.weights) and (len(self.cutoffs), len(self.weights)) != (2**self.bits - 1, 2**self.bits):
            raise InputError(
                f"Buckets of {self.bits} bits need {2**self.bits - 1} cutoffs and {2**self.bits} weights, "
                f"got {len(self.cutoffs)} and {len(self.weights)}."
            )

    def fitted(self, residuals: Floats) -> BucketCodec:
        """Quantiles i / 2^b are the cutoffs, quantiles (i + ½) / 2^b the weights, over all dimensions together."""
        flat = residuals.ravel() if residuals.size else np.zeros(1, dtype=np.float32)
        n = 2**self.bits
        cutoffs = np.quantile(flat, np.arange(1, n) / n).astype(np.float32)
        weights = np.quantile(flat, (np.arange(n) + 0.5) / n).astype(np.float32)
        return BucketCodec(self.bits, cutoffs, weights)

    def table(self, dim: int) -> Table:
        """What each byte stands for."""
        every_byte = np.arange(256, dtype=np.uint8)[:, np.newaxis]
        return table_of(self.weights[self.buckets(every_byte)], dim)

    def rotation(self, dim: int, seed: int) -> Floats:
        """The identity: vectors are not rotated."""
        return np.eye(dim, dtype=np.float32)

    def encode(self, vectors: Floats, centroids: Floats) -> tuple[Codes, Scales]:
        """(B, d) vectors and the centroid of each -> (B, w) codes, (B,) scales."""
        buckets = np.searchsorted(self.cutoffs, vectors - centroids, side="left").astype(np.uint8)
        bits_of = (buckets[:, :, np.newaxis] >> np.arange(self.bits, dtype=np.uint8)) & np.uint8(1)
        codes = np.packbits(bits_of.reshape(len(vectors), vectors.shape[1] * self.bits), axis=1)
        return codes, self.scales(codes, centroids)

    def scales(self, codes: Codes, centroids: Floats) -> Scales:
        """(B,) what makes the decompressed vectors as long as 1."""
        lengths = np.linalg.norm(centroids + self.weights[self.buckets(codes)], axis=1)
        return np.asarray(1 / np.maximum(lengths, np.float32(1e-4)), dtype=np.float16)

    def decode(self, codes: Codes, scales: Scales, centroids: Floats) -> Floats:
        """(B, w) codes, (B,) scales and (B, d) centroids -> (B, d) vectors, about."""
        return np.asarray((centroids + self.weights[self.buckets(codes)]) * scales.astype(np.float32)[:, np.newaxis])

    def buckets(self, codes: Codes) -> Codes:
        """(B, w) codes -> (B, d) bucket numbers."""
        bits_of = np.unpackbits(codes, axis=1).reshape(len(codes), codes.shape[1] * 8 // self.bits, self.bits)
        return np.asarray((bits_of << np.arange(self.bits, dtype=np.uint8)).sum(axis=2, dtype=np.uint8))

    def parameters(self) -> dict[str, Floats]:
        """Cutoffs and weights."""
        return {"cutoffs": self.cutoffs, "weights": self.weights}


CODECS: Mapping[str, type[GridCodec] | type[BucketCodec]] = {"grid": GridCodec, "buckets": BucketCodec}
"""The codecs by name."""


def codec_named(name: str, bits: int, parameters: Mapping[str, npt.NDArray[Any]] | None = None) -> Codec:
    """A codec by name, with the parameters that it was fitted to where it has some.

    Raises:
        InputError: there is no codec of this name.
    """
    if name not in CODECS:
        raise InputError(f"Unknown codec {name!r}: use {' or '.join(map(repr, CODECS))}.")
    return CODECS[name](bits, **(parameters or {}))


def name_of(codec: Codec) -> str:
    """The name that :func:`codec_named` knows a codec by."""
    return next(name for name, known in CODECS.items() if isinstance(codec, known))


def renormalised(vectors: Floats) -> Floats:
    """Rows scaled to length 1; zero rows stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.float32(1e-12)), dtype=np.float32)
