"""The files of a compressed token index. No other module opens them.

::

    DIRECTORY/
      compressed.json     bits, dimension, and the numbers of everything; written last
      NAME.bin            one array, raw and little-endian, C order; mapped, never loaded

The names and shapes are those of :class:`CompressedTokens`, but for sizes, which stand in the files instead of offsets.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.errors import IndexFormatError
from xtrkit.values import offsets_of

HEADER = "compressed.json"
VERSION = 1
ROW_STRIDE = 64
BLOCK = 1 << 15
"""Rows of a temporary array that are read at a time."""

DTYPES = {
    "rotation": "<f4",
    "group_vectors": "|i1",
    "group_scales": "<f4",
    "group_sizes": "<i4",
    "centroid_vectors": "|i1",
    "centroid_scales": "<f4",
    "cluster_sizes": "<i4",
    "codes": "|u1",
    "scales": "<f2",
    "documents": "<i4",
    "positions": "<u4",
    "lengths": "<i4",
}
SPOOLS = {"rows": "<f2", "unordered": "|u1"}
"""Temporary files of the build: token vectors as they came, and codes in that order."""


@dataclass(frozen=True, eq=False)
class CompressedTokens:
    """An opened compressed index. All vectors are rotated: a query is rotated before it meets them.

    C centroids stand in G groups of their likes. The tokens of a cluster stand together, in order of document: a
    token's place there is its row.

    Attributes:
        bits: bits a dimension of a code.
        rotation: (d, d); rotated rows are ``rows @ rotation``.
        group_vectors: (G, d) int8 directions of the groups, without a scale of their own.
        group_scales: (G,) float32; times ``group_vectors`` they are the directions.
        group_offsets: (G + 1,) which centroids belong to each group.
        centroid_vectors: (C, d) int8 centroids.
        centroid_scales: (C,) float32; times ``centroid_vectors`` they are the centroids.
        offsets: (C + 1,) which rows belong to each cluster.
        codes: (M, w) packed codes of the residuals, by row.
        scales: (M,) float16 scale of each residual, by row.
        documents: (M,) document of each row.
        positions: (M,) the row of each token, tokens document after document.
        document_offsets: (N + 1,) where each document's tokens begin and end in ``positions``.
        size: bytes on disk.
    """

    bits: int
    rotation: npt.NDArray[np.float32]
    group_vectors: npt.NDArray[np.int8]
    group_scales: npt.NDArray[np.float32]
    group_offsets: npt.NDArray[np.int64]
    centroid_vectors: npt.NDArray[np.int8]
    centroid_scales: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float16]
    documents: npt.NDArray[np.int32]
    positions: npt.NDArray[np.uint32]
    document_offsets: npt.NDArray[np.int64]
    size: int

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
        return len(self.centroid_scales)

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return len(self.rotation)

    @cached_property
    def clusters_of_rows(self) -> npt.NDArray[np.int32]:
        """The cluster of every ``ROW_STRIDE``-th row, from which that of any row is a step or two away."""
        rows = np.arange(0, self.n_tokens, ROW_STRIDE)
        return (np.searchsorted(self.offsets, rows, side="right") - 1).astype(np.int32)


@contextmanager
def appending(directory: Path, name: str) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
    """Write an array, or a temporary one, block after block: yields the function that appends one."""
    dtype = (DTYPES | SPOOLS)[name]
    with _file(directory, name).open("wb") as file:
        yield lambda values: np.ascontiguousarray(values, dtype=dtype).tofile(file)
        file.flush()
        os.fsync(file.fileno())


def spooled(directory: Path, name: str, width: int) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Read a temporary array of the build, block after block: which rows, and the (B, width) rows.

    It is read and not mapped: mapped pages would count as memory of the process, and it is as large as the corpus.
    """
    itemsize = np.dtype(SPOOLS[name]).itemsize
    first = 0
    with _file(directory, name).open("rb") as file:
        while buffer := file.read(BLOCK * width * itemsize):
            rows = np.frombuffer(buffer, dtype=SPOOLS[name]).reshape(-1, width)
            yield slice(first, first + len(rows)), rows
            first += len(rows)


def finish(directory: Path, *, bits: int, dim: int, n_groups: int, n_clusters: int) -> None:
    """Remove temporary files and write what says how the others are read: only now the directory is an index."""
    for name in SPOOLS:
        _file(directory, name).unlink()
    n_documents = _file(directory, "lengths").stat().st_size // np.dtype(DTYPES["lengths"]).itemsize
    n_tokens = _file(directory, "documents").stat().st_size // np.dtype(DTYPES["documents"]).itemsize
    header = {
        "format": "xtrkit-compressed",
        "version": VERSION,
        "bits": bits,
        "dim": dim,
        "groups": n_groups,
        "clusters": n_clusters,
        "tokens": n_tokens,
        "documents": n_documents,
    }
    (directory / HEADER).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")


def open_compressed(directory: Path) -> CompressedTokens:
    """Map a compressed index.

    Raises:
        IndexFormatError: there is none, it is damaged, or a newer xtrkit wrote it.
    """
    header = _read_header(directory)
    bits, dim, n_groups, n_clusters = (header[key] for key in ("bits", "dim", "groups", "clusters"))
    n_tokens, n_documents = header["tokens"], header["documents"]
    shapes: dict[str, tuple[int, ...]] = {
        "rotation": (dim, dim),
        "group_vectors": (n_groups, dim),
        "group_scales": (n_groups,),
        "centroid_vectors": (n_clusters, dim),
        "centroid_scales": (n_clusters,),
        "codes": (n_tokens, dim * bits // 8),
        "scales": (n_tokens,),
        "documents": (n_tokens,),
        "positions": (n_tokens,),
    }
    arrays = {name: _map(directory, name, shape) for name, shape in shapes.items()}
    return CompressedTokens(
        bits=bits,
        group_offsets=_offsets(directory, "group_sizes", n_groups, n_clusters),
        offsets=_offsets(directory, "cluster_sizes", n_clusters, n_tokens),
        document_offsets=_offsets(directory, "lengths", n_documents, n_tokens),
        size=sum(_file(directory, name).stat().st_size for name in DTYPES) + (directory / HEADER).stat().st_size,
        **arrays,
    )


def _read_header(directory: Path) -> dict[str, int]:
    try:
        header = json.loads((directory / HEADER).read_text(encoding="utf-8"))
        version = header["version"]
        numbers = {key: int(header[key]) for key in ("bits", "dim", "groups", "clusters", "tokens", "documents")}
    except FileNotFoundError as error:
        raise IndexFormatError(f"There is no compressed index at {directory}: build one.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(directory / HEADER, str(error)) from error
    if version != VERSION:
        raise IndexFormatError(
            f"{directory} has version {version} of the compressed format, this xtrkit reads {VERSION}: "
            "use the xtrkit that wrote it, or build the index anew."
        )
    return numbers


def _map(directory: Path, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    path = _file(directory, name)
    expected = int(np.prod(shape)) * np.dtype(DTYPES[name]).itemsize
    actual = path.stat().st_size if path.is_file() else None
    if actual != expected:
        raise _damaged(path, f"{actual} bytes instead of {expected}")
    return np.asarray(np.memmap(path, dtype=DTYPES[name], mode="r", shape=shape))


def _offsets(directory: Path, name: str, count: int, total: int) -> npt.NDArray[np.int64]:
    """Where each run begins and ends, of sizes on disk that must add up to ``total``."""
    sizes = _map(directory, name, (count,))
    offsets = offsets_of(sizes)
    if offsets[-1] != total or sizes.min() < 0:
        raise _damaged(_file(directory, name), "sizes do not add up")
    return offsets


def _file(directory: Path, name: str) -> Path:
    return directory / f"{name}.bin"


def _damaged(path: Path, why: str) -> IndexFormatError:
    return IndexFormatError(f"{path} is damaged ({why}): build the index anew.")
