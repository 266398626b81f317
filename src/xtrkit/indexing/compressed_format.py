"""The arrays of a compressed index: what all its segments share, and what each has of its own.

================  ====================================================================================
shared            ``rotation``, ``group_vectors``, ``group_scales``, ``group_sizes``, ``centroid_vectors``,
                  ``centroid_scales``, ``energies``, and ``codec_…``, the codec's parameters
of a segment      ``lengths``, ``cluster_sizes``, ``scales``, ``documents``, ``positions``, ``codes``
================  ====================================================================================

They lie in array files (:mod:`xtrkit.storage.arrays`) and are mapped, never loaded. Opening compares shapes and sizes,
and looks whether every number that is used as a place leads somewhere: kernels do not look again.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.centroids import CentroidTree
from xtrkit.indexing.codec import Codec, code_width, codec_named, renormalised
from xtrkit.kernels.bundles import Centroids, DocumentRows, Postings, ScaledVectors, Table, shifts_of
from xtrkit.kernels.gathering import ROWS_PER_MARK
from xtrkit.machine import usable_cores
from xtrkit.storage.arrays import ArraySpec, open_arrays, write_arrays
from xtrkit.storage.files import FileFacts, damaged
from xtrkit.values import offsets_of

Floats = npt.NDArray[np.float32]
SHARED = {
    "rotation": "<f4",
    "group_vectors": "|i1",
    "group_scales": "<f4",
    "group_sizes": "<i4",
    "centroid_vectors": "|i1",
    "centroid_scales": "<f4",
    "energies": "<f4",
}
OWN = {
    "lengths": "<i4",
    "cluster_sizes": "<i4",
    "scales": "<f2",
    "documents": "<i4",
    "positions": "<u4",
    "codes": "|u1",
}
DECODED_AT_A_TIME = 1 << 12
NOT_FINITE = 0x7C00
"""Bits of float16 from which on a number without a sign is infinite, or none at all."""
LOOKED_AT_ALONE = 1 << 22
"""Numbers up to which one thread looks for the largest: these take it 3 ms."""

PARAMETER = "codec_"
"""What the names of a codec's parameters begin with; they are float32."""


@dataclass(frozen=True, eq=False)
class Quantiser:
    """What turns token vectors into codes: centroids and codec, shared by all segments of an index.

    C centroids stand in G groups of their likes. Both are in rotated space, where all vectors meet.

    Attributes:
        codec: what the codes mean.
        rotation: (D, d), its columns orthonormal; rotated rows are ``rows @ rotation``. Where d is less than D, the
            dimensions of the vectors that are indexed, codes keep d directions of them, and the vectors' lengths.
        groups: (G, d) the groups' directions.
        group_offsets: (G + 1,) which centroids belong to each group.
        centroids: (C, d).
        energies: (C,) mean ‖x − mean‖² of the tokens that each centroid was found for.
    """

    codec: Codec
    rotation: Floats
    groups: ScaledVectors
    group_offsets: npt.NDArray[np.int64]
    centroids: ScaledVectors
    energies: Floats

    @property
    def bits(self) -> int:
        """Bits a dimension of a code."""
        return self.codec.bits

    @property
    def n_clusters(self) -> int:
        """Number of centroids, C."""
        return len(self.centroids.scales)

    @property
    def dim(self) -> int:
        """Dimensions of a token vector that is indexed, D."""
        return len(self.rotation)

    @property
    def code_dim(self) -> int:
        """Dimensions that codes keep, d."""
        return int(self.rotation.shape[1])

    @cached_property
    def table(self) -> Table:
        """What bytes of codes stand for; empty where codes are numbers on a grid."""
        return self.codec.table(self.code_dim)

    @cached_property
    def shared_direction(self) -> Floats:
        """(d,) the direction of the centroids' mean: of length 1, or 0 where there is none."""
        mean = np.zeros(
            self.code_dim
        )  # a block at a time: all of them decoded would stay in the memory of every search
        for first in range(0, self.n_clusters, DECODED_AT_A_TIME):
            block = self.centroids.decoded(slice(first, first + DECODED_AT_A_TIME))
            mean += block.sum(axis=0, dtype=np.float64) / self.n_clusters
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), dtype=np.float32)

    @cached_property
    def largest_group(self) -> int:
        """Most centroids that a group has."""
        return int(np.diff(self.group_offsets).max())

    @cached_property
    def radii(self) -> Floats:
        """(C,) how far each cluster's tokens spread along any one direction."""
        return np.asarray(np.sqrt(self.energies / np.float32(self.code_dim)), dtype=np.float32)

    def centroids_with(self, sizes: npt.NDArray[np.int64]) -> Centroids:
        """The centroids with (C,) sizes of their clusters, as kernels read them."""
        mean_square = np.float32((np.square(self.radii, dtype=np.float64) * sizes).sum() / max(1, sizes.sum()))
        return Centroids(
            self.groups, self.group_offsets, self.centroids, sizes.astype(np.int32), self.radii, mean_square
        )

    @cached_property
    def decoded_centroids(self) -> Floats:
        """(C, d) the centroids as search sees them."""
        return self.centroids.decoded()

    @cached_property
    def tree(self) -> CentroidTree:
        """The centroids' directions, to assign tokens that come later."""
        groups = renormalised(self.groups.decoded())
        return CentroidTree(groups, self.group_offsets, renormalised(self.decoded_centroids))


@dataclass(frozen=True, eq=False)
class CompressedTokens:
    """The compressed tokens of an opened segment: :class:`~xtrkit.values.TokenStore`.

    The tokens of a cluster stand together, in order of document: a token's place there is its row.

    Attributes:
        quantiser: centroids and codec, which all segments share.
        cluster_offsets: (C + 1,) which rows belong to each cluster.
        codes: (M, w) packed codes of the residuals, by row.
        scales: (M,) float16 scale of each residual, by row.
        documents: (M,) document of each row.
        positions: (M,) the row of each token, tokens document after document.
        document_offsets: (N + 1,) where each document's tokens begin and end in ``positions``.
        marks: (⌈M / 64⌉,) cluster of every 64th row, so that a row's cluster is found quickly.
    """

    quantiser: Quantiser
    cluster_offsets: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float16]
    documents: npt.NDArray[np.int32]
    positions: npt.NDArray[np.uint32]
    document_offsets: npt.NDArray[np.int64]
    marks: npt.NDArray[np.int32]

    @property
    def bits(self) -> int:
        """Bits a dimension of a code."""
        return self.quantiser.bits

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return self.quantiser.dim

    @property
    def n_tokens(self) -> int:
        """Number of token vectors, M."""
        return len(self.documents)

    @property
    def n_documents(self) -> int:
        """Number of documents, N."""
        return len(self.document_offsets) - 1

    @property
    def n_clusters(self) -> int:
        """Number of centroids, C."""
        return self.quantiser.n_clusters

    @cached_property
    def postings(self) -> Postings:
        """The codes as kernels read them."""
        halves, table = self.scales.view(np.uint16), self.quantiser.table
        return Postings(self.codes, halves, self.documents, self.cluster_offsets, shifts_of(self.bits), table)

    @cached_property
    def document_rows(self) -> DocumentRows:
        """Where the tokens of documents stand, as kernels read it."""
        return DocumentRows(self.positions, self.document_offsets, self.marks)

    def clusters_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(K,) rows -> (K,) the cluster of each."""
        return np.searchsorted(self.cluster_offsets, rows, side="right") - 1

    def vectors(self, tokens: slice | npt.NDArray[np.int64]) -> Floats:
        """(K, d) what is known of some tokens, counted document after document: centroid and decoded residual."""
        rows, quantiser = self.positions[tokens].astype(np.int64), self.quantiser
        centroids = quantiser.centroids.decoded(self.clusters_of(rows))
        decoded = quantiser.codec.decode(self.codes[rows], self.scales[rows], centroids)
        return np.asarray(decoded @ quantiser.rotation.T, dtype=np.float32)


def write_quantiser(directory: Path, name: str, quantiser: Quantiser) -> FileFacts:
    """Write what all segments share.

    Raises:
        StorageError: the file could not be written.
    """
    shared = {
        "rotation": quantiser.rotation,
        "group_vectors": quantiser.groups.vectors,
        "group_scales": quantiser.groups.scales,
        "group_sizes": np.diff(quantiser.group_offsets),
        "centroid_vectors": quantiser.centroids.vectors,
        "centroid_scales": quantiser.centroids.scales,
        "energies": quantiser.energies,
    }
    arrays = {key: np.asarray(values, SHARED[key]) for key, values in shared.items()}
    parameters = {PARAMETER + key: np.asarray(values, "<f4") for key, values in quantiser.codec.parameters().items()}
    return write_arrays(directory, name, arrays | parameters)


def open_quantiser(path: Path, codec: str, bits: int) -> Quantiser:
    """View what all segments share.

    Args:
        path: the file.
        codec: name of the codec.
        bits: bits a dimension.

    Raises:
        IndexDamagedError: the file is not what was written.
    """
    arrays = open_arrays(path)
    parameters = {key.removeprefix(PARAMETER): arrays.pop(key) for key in [*arrays] if key.startswith(PARAMETER)}
    _check(path, arrays, SHARED)
    if arrays["rotation"].ndim != 2:
        raise damaged(path, "its rotation is no matrix")
    (given, d), g, c = arrays["rotation"].shape, len(arrays["group_scales"]), len(arrays["centroid_scales"])
    shapes = {
        "rotation": (given, d), "group_vectors": (g, d), "group_scales": (g,), "group_sizes": (g,),
        "centroid_vectors": (c, d), "centroid_scales": (c,), "energies": (c,),
    }  # fmt: skip
    _check_shapes(path, arrays, shapes)
    if not 0 < d <= given or not c:
        raise damaged(path, "it has no dimensions, or no centroids")
    if not all(np.isfinite(values).all() for values in arrays.values()):
        raise damaged(path, "it has numbers that are not finite")
    if arrays["energies"].min() < 0:
        raise damaged(path, "its energies are less than nothing")
    group_offsets = _offsets(path, arrays["group_sizes"], c)
    try:
        named = codec_named(codec, bits, parameters)
    except (InputError, TypeError, ValueError, KeyError) as error:
        raise damaged(path, f"its codec can't be used: {error}") from error
    groups = ScaledVectors(arrays["group_vectors"], arrays["group_scales"])
    centroids = ScaledVectors(arrays["centroid_vectors"], arrays["centroid_scales"])
    return Quantiser(named, arrays["rotation"], groups, group_offsets, centroids, arrays["energies"])


def token_specs(n_documents: int, n_tokens: int, quantiser: Quantiser) -> dict[str, ArraySpec]:
    """What the arrays of a segment will be, in the order in which they are written."""
    shapes = {
        "lengths": (n_documents,), "cluster_sizes": (quantiser.n_clusters,), "scales": (n_tokens,),
        "documents": (n_tokens,), "positions": (n_tokens,),
        "codes": (n_tokens, code_width(quantiser.code_dim, quantiser.bits)),
    }  # fmt: skip
    return {name: ArraySpec(OWN[name], shape) for name, shape in shapes.items()}


def open_tokens(path: Path, quantiser: Quantiser, n_documents: int, n_tokens: int) -> CompressedTokens:
    """View the tokens of a segment.

    Raises:
        IndexDamagedError: the file is not what was written.
    """
    arrays = open_arrays(path)
    _check(path, arrays, OWN)
    _check_shapes(
        path, arrays, {key: spec.shape for key, spec in token_specs(n_documents, n_tokens, quantiser).items()}
    )
    document_offsets = _offsets(path, arrays.pop("lengths"), n_tokens)
    cluster_offsets = _offsets(path, arrays.pop("cluster_sizes"), n_tokens)
    for name, end in (("documents", n_documents), ("positions", n_tokens)):
        values = arrays[name].view(np.uint32)  # of which negative numbers are the largest
        if _largest(values) >= end:
            raise damaged(path, f"its {name} lead nowhere")
    scales = arrays["scales"].view(
        np.uint16
    )  # in the order of the numbers they stand for, as far as these are positive
    if _largest(scales) >= NOT_FINITE:
        raise damaged(path, "its scales are no finite numbers")  # kernels count similarities in steps of their range
    return CompressedTokens(
        quantiser=quantiser,
        cluster_offsets=cluster_offsets,
        document_offsets=document_offsets,
        marks=_marks(cluster_offsets),
        **arrays,
    )


def _largest(values: npt.NDArray[np.unsignedinteger]) -> int:
    """The largest of some numbers, -1 where there are none; of many, some threads look at some each."""
    if len(values) <= LOOKED_AT_ALONE:
        return int(values.max(initial=0)) if len(values) else -1
    parts = (values[first : first + LOOKED_AT_ALONE] for first in range(0, len(values), LOOKED_AT_ALONE))
    with ThreadPoolExecutor(usable_cores()) as pool:
        return max(pool.map(lambda part: int(part.max()), parts))


def _check(path: Path, arrays: Mapping[str, npt.NDArray[Any]], dtypes: Mapping[str, str]) -> None:
    """Refuse arrays of other names or dtypes."""
    if arrays.keys() != dtypes.keys():
        raise damaged(path, f"its arrays are not {', '.join(dtypes)}")
    for name, dtype in dtypes.items():
        if arrays[name].dtype != np.dtype(dtype):
            raise damaged(path, f"its {name} are {arrays[name].dtype}")


def _check_shapes(path: Path, arrays: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise damaged(path, f"its {name} have the shape {arrays[name].shape} instead of {shape}")


def _offsets(path: Path, sizes: npt.NDArray[np.int32], total: int) -> npt.NDArray[np.int64]:
    """Where runs begin and end, if their sizes can be."""
    offsets = offsets_of(sizes)
    if offsets[-1] != total or (len(sizes) and sizes.min() < 0):
        raise damaged(path, "sizes do not add up")
    return offsets


def _marks(cluster_offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The cluster of every ``ROWS_PER_MARK``-th row."""
    marks_before = -(-cluster_offsets // ROWS_PER_MARK)  # each cluster's beginning
    return np.repeat(np.arange(len(cluster_offsets) - 1, dtype=np.int32), np.diff(marks_before))
