"""Index directories of Stanford's ColBERT (ColBERTv2, PLAID), read as they are.

::

    metadata.json         config with dim and nbits; num_chunks, num_partitions, num_embeddings
    centroids.pt          (C, d) half
    buckets.pt            cutoffs (2^b - 1,), weights (2^b,)
    N.codes.pt            (n,) int32, centroid of each token of chunk N
    N.residuals.pt        (n, d · b / 8) uint8, buckets of its residual
    doclens.N.json        tokens of each passage of chunk N

The other files (plan.json, avg_residual.pt, ivf.pid.pt, N.metadata.json) say nothing that these do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import IndexFormatError, InputError
from xtrkit.indexing.codec import BucketCodec, check_bits, code_width
from xtrkit.indexing.torch_files import read_tensors


class Chunk(NamedTuple):
    """Some consecutive passages.

    Attributes:
        assigned: (n,) int32, the centroid of each token.
        codes: (n, w) uint8.
        lengths: how many tokens each passage has.
    """

    assigned: npt.NDArray[np.int32]
    codes: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StanfordIndex:
    """An index directory of Stanford's ColBERT.

    Attributes:
        path: the directory.
        n_chunks: how many chunks it has.
        codec: with its cutoffs and weights.
        centroids: (C, d) float32.
    """

    path: Path
    n_chunks: int
    codec: BucketCodec
    centroids: npt.NDArray[np.float32]

    @classmethod
    def open(cls, path: Path) -> StanfordIndex:
        """Read what all chunks share.

        Raises:
            IndexFormatError: the directory isn't such an index, or is damaged.
        """
        facts = _json(path / "metadata.json")
        try:
            bits, dim = int(facts["config"]["nbits"]), int(facts["config"]["dim"])
            n_chunks = int(facts["num_chunks"])
            check_bits(bits, dim)
            cutoffs, weights = (np.asarray(values, dtype=np.float32) for values in read_tensors(path / "buckets.pt"))
            codec = BucketCodec(bits, cutoffs, weights)
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise _damaged(path / "metadata.json", f"{error!r}") from error
        centroids = np.asarray(read_tensors(path / "centroids.pt"), dtype=np.float32)
        if centroids.ndim != 2 or centroids.shape[1] != dim or not len(centroids):
            raise _damaged(path / "centroids.pt", f"shape {centroids.shape} for {dim} dimensions")
        if not (np.isfinite(centroids).all() and np.isfinite(weights).all() and (np.diff(cutoffs) >= 0).all()):
            raise _damaged(path / "centroids.pt", "it or buckets.pt has numbers that are not finite or not in order")
        return cls(path, n_chunks, codec, centroids)

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return int(self.centroids.shape[1])

    def chunks(self) -> Iterator[Chunk]:
        """The passages, chunk after chunk.

        Raises:
            IndexFormatError: a chunk is missing or damaged.
        """
        width = code_width(self.dim, self.codec.bits)
        for number in range(self.n_chunks):
            assigned = np.asarray(read_tensors(self.path / f"{number}.codes.pt"))
            codes = np.asarray(read_tensors(self.path / f"{number}.residuals.pt"))
            lengths = np.array(_json(self.path / f"doclens.{number}.json"), dtype=np.int64)
            if assigned.shape != (len(codes),) or codes.shape[1:] != (width,) or codes.dtype != np.uint8:
                raise _damaged(self.path / f"{number}.residuals.pt", f"shape {codes.shape} for {assigned.shape} tokens")
            if lengths.sum() != len(codes) or (lengths < 1).any():
                raise _damaged(self.path / f"doclens.{number}.json", f"it does not add up to {len(codes)} tokens")
            if len(assigned) and not 0 <= assigned.min() <= assigned.max() < len(self.centroids):
                raise _damaged(self.path / f"{number}.codes.pt", "it names centroids that there are not")
            yield Chunk(assigned.astype(np.int32), codes, lengths)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise IndexFormatError(
            f"There is no {path.name} in {path.parent}: expected an index directory of Stanford's ColBERT."
        ) from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> IndexFormatError:
    return IndexFormatError(f"{path} is damaged ({why}): build the index anew.")
