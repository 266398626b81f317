"""The files of a compressed token index. No other module opens them.

::

    DIRECTORY/
      compressed.json     codec and bits, and dtype and shape of every array
      NAME.bin            one array, raw and little-endian, C order; mapped, never loaded

The names and shapes are those of :class:`CompressedTokens`, and those of the codec's parameters.
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

from xtrkit.errors import IndexFormatError, InputError
from xtrkit.indexing.codec import Codec, codec_named, name_of
from xtrkit.kernels.gathering import ROWS_PER_MARK
from xtrkit.kernels.tables import Table
from xtrkit.values import offsets_of

HEADER = "compressed.json"

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
PARAMETER = "codec_"
"""What the names of a codec's parameters begin with; they are float32."""


@dataclass(frozen=True, eq=False)
class CompressedTokens:
    """An opened compressed index. All vectors are rotated: a query is rotated before it meets them.

    C centroids stand in G groups of their likes. The tokens of a cluster stand together, in order of document: a
    token's place there is its row.

    Attributes:
        codec: what the codes mean.
        rotation: (d, d); rotated rows are ``rows @ rotation``.
        group_vectors, group_scales: (G, d) int8 and (G,) float32; their product is a group's direction.
        group_offsets: (G + 1,) which centroids belong to each group.
        centroid_vectors, centroid_scales: (C, d) int8 and (C,) float32; their product is a centroid.
        offsets: (C + 1,) which rows belong to each cluster.
        codes: (M, w) packed codes of the residuals, by row.
        scales: (M,) float16 scale of each residual, by row.
        documents: (M,) document of each row.
        positions: (M,) the row of each token, tokens document after document.
        document_offsets: (N + 1,) where each document's tokens begin and end in ``positions``.
        marks: (⌈M / 64⌉,) cluster of every 64th row, so that a row's cluster is found quickly.
        size: bytes on disk.
    """

    codec: Codec
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
    marks: npt.NDArray[np.int32]
    size: int

    @property
    def bits(self) -> int:
        """Bits a dimension of a code."""
        return self.codec.bits

    @cached_property
    def table(self) -> Table:
        """What bytes of codes stand for; empty where codes are numbers on a grid."""
        return self.codec.table(self.dim)

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


@contextmanager
def appending(directory: Path, name: str) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
    """Write an array block after block: yields the function that appends one."""
    with (directory / f"{name}.bin").open("wb") as file:
        yield lambda values: np.ascontiguousarray(values, dtype=_dtype(name)).tofile(file)
        file.flush()
        os.fsync(file.fileno())


def finish(directory: Path, codec: Codec, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write the codec's parameters, and what says how the arrays are read: only now a directory is an index."""
    for name, values in codec.parameters().items():
        with appending(directory, PARAMETER + name) as append:
            append(values)
        shapes = shapes | {PARAMETER + name: values.shape}
    arrays = {name: {"dtype": _dtype(name), "shape": list(shape)} for name, shape in shapes.items()}
    header = {"codec": name_of(codec), "bits": codec.bits, "arrays": arrays}
    (directory / HEADER).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")


def _dtype(name: str) -> str:
    return "<f4" if name.startswith(PARAMETER) else DTYPES[name]


def open_compressed(directory: Path) -> CompressedTokens:
    """Map a compressed index.

    Raises:
        IndexFormatError: there is none, or it is damaged.
    """
    try:
        header = json.loads((directory / HEADER).read_text(encoding="utf-8"))
        shapes = {str(name): tuple(map(int, facts["shape"])) for name, facts in header["arrays"].items()}
        if lacking := DTYPES.keys() - shapes.keys():
            raise KeyError(min(lacking))
        arrays = {name: _map(directory / f"{name}.bin", name, shape) for name, shape in shapes.items()}
        parameters = {n.removeprefix(PARAMETER): arrays.pop(n) for n in shapes if n.startswith(PARAMETER)}
        codec = codec_named(header["codec"], int(header["bits"]), parameters)
        offsets = {name: offsets_of(arrays.pop(name)) for name in ("group_sizes", "cluster_sizes", "lengths")}
        (n_tokens,) = shapes["documents"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise IndexFormatError(f"There is no compressed index at {directory} ({error}): build one.") from error
    expected = {"group_sizes": shapes["centroid_scales"][0], "cluster_sizes": n_tokens, "lengths": n_tokens}
    for name, total in expected.items():
        if offsets[name][-1] != total or (np.diff(offsets[name]) < 0).any():
            raise IndexFormatError(f"{directory / name}.bin is damaged (sizes do not add up): build the index anew.")
    size = sum(file.stat().st_size for file in directory.iterdir())
    return CompressedTokens(
        codec=codec,
        group_offsets=offsets["group_sizes"],
        offsets=offsets["cluster_sizes"],
        document_offsets=offsets["lengths"],
        marks=_marks(offsets["cluster_sizes"]),
        size=size,
        **arrays,
    )


def _marks(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    marked = np.arange(0, offsets[-1], ROWS_PER_MARK)
    return (np.searchsorted(offsets, marked, side="right") - 1).astype(np.int32)


def _map(path: Path, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    expected = int(np.prod(shape)) * np.dtype(_dtype(name)).itemsize
    actual = path.stat().st_size if path.is_file() else None
    if actual != expected:
        raise IndexFormatError(f"{path} is damaged ({actual} bytes instead of {expected}): build the index anew.")
    if not expected:
        empty = np.zeros(shape, dtype=_dtype(name))
        empty.flags.writeable = False
        return empty
    return np.asarray(np.memmap(path, dtype=_dtype(name), mode="r", shape=shape))
