"""Named arrays in one safetensors file: written as a stream, viewed in place.

Every array begins at a multiple of 64 bytes (the header is filled up with spaces, as the format allows, and gaps are
arrays named ``padding.N``), so that rows of codes do not straddle cache lines. The file is never in memory as a whole,
neither when it is written nor when it is read. The reader trusts nothing: offsets must tile the file exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from io import BufferedIOBase, RawIOBase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import IndexDamagedError
from xtrkit.storage.files import FileFacts, NewFile, damaged, storage_errors

ALIGNMENT = 64
LARGEST_HEADER = 1 << 20
PADDING = "padding."
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1",
}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
Array = npt.NDArray[Any]


class ArraySpec(NamedTuple):
    """What is known of an array before it is written: its dtype, such as ``"<f2"``, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class ArrayWriter:
    """Writes arrays block after block, one array after the other in the order of their specs; use it in a ``with``."""

    def __init__(self, directory: Path, name: str, specs: Mapping[str, ArraySpec]) -> None:
        self._specs = _with_padding(specs)
        self._left = [spec.size for spec in self._specs.values()]
        self._order = list(self._specs)
        self._at = 0
        self._file = NewFile(directory, name)
        try:
            self._file.write(_header(self._specs))
        except BaseException:
            self._file.__exit__()
            raise

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.__exit__(*exception)

    def append(self, name: str, block: Array) -> None:
        """Append rows to an array.

        Raises:
            StorageError: they could not be written.
        """
        values = np.ascontiguousarray(block, dtype=self._specs[name].dtype)
        if not values.size:
            return
        self._go_on(name)
        if self._order[self._at] != name or values.nbytes > self._left[self._at]:
            raise ValueError(f"{name}: {values.nbytes} bytes come too many, or too early.")
        self._left[self._at] -= values.nbytes
        self._file.write(values.reshape(-1).view(np.uint8).data)

    def finish(self) -> FileFacts:
        """Wait until the file's content is on disk."""
        self._go_on(None)
        if self._at < len(self._order):
            raise ValueError(f"{self._order[self._at]}: {self._left[self._at]} bytes are missing.")
        return self._file.finish()

    def _go_on(self, name: str | None) -> None:
        """Pass what is complete, and write padding, until the array with a name is next."""
        while self._at < len(self._order) and self._order[self._at] != name:
            if self._order[self._at].startswith(PADDING):
                self._file.write(bytes(self._left[self._at]))
            elif self._left[self._at]:
                return
            self._at += 1


def write_arrays(directory: Path, name: str, arrays: Mapping[str, Array]) -> FileFacts:
    """Write arrays that are in memory.

    Raises:
        StorageError: the file could not be written.
    """
    specs = {key: ArraySpec(values.dtype.newbyteorder("<").str, values.shape) for key, values in arrays.items()}
    with ArrayWriter(directory, name, specs) as writer:
        for key, values in arrays.items():
            writer.append(key, values)
        return writer.finish()


def append_array(file: RawIOBase | BufferedIOBase, values: Array) -> None:
    """Append an array's bytes to an opened file. ``ndarray.tofile`` reports no error on a full disk.

    Raises:
        OSError: they could not be written.
    """
    view = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    while view:
        view = view[file.write(view) or 0 :]


def _with_padding(specs: Mapping[str, ArraySpec]) -> dict[str, ArraySpec]:
    padded: dict[str, ArraySpec] = {}
    for name, spec in specs.items():
        padded[name] = spec
        gap = -spec.size % ALIGNMENT
        if gap:
            padded[f"{PADDING}{len(padded)}"] = ArraySpec("|u1", (gap,))
    return padded


def _header(specs: Mapping[str, ArraySpec]) -> bytes:
    entries, offset = {}, 0
    for name, spec in specs.items():
        end = offset + spec.size
        entries[name] = {
            "dtype": NAMES[np.dtype(spec.dtype)],
            "shape": list(spec.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def open_arrays(path: Path) -> dict[str, Array]:
    """View the arrays of a file, without reading them.

    Raises:
        IndexDamagedError: the header is not one that safetensors allows, or its offsets do not tile the file.
        StorageError: the file can't be read.
    """
    with storage_errors(path, "reading"), path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        begin = 8 + int.from_bytes(file.read(8), "little")
        if not 8 < begin <= min(size, 8 + LARGEST_HEADER):
            raise damaged(path, "its header has no possible length")
        text = file.read(begin - 8)
        data: Array = np.zeros(0, dtype=np.uint8)
        if begin < size:
            data = np.asarray(np.memmap(file, dtype=np.uint8, mode="r", offset=0))[begin:]
    try:
        places = _checked_places(text, size - begin)
        return {
            name: _view(data, first, spec, begin)
            for name, (first, spec) in places.items()
            if not name.startswith(PADDING)
        }
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, IndexDamagedError):
            raise
        raise damaged(path, f"its header is not one: {error}") from error


def _view(data: Array, first: int, spec: ArraySpec, begin: int) -> Array:
    dtype = np.dtype(spec.dtype)
    if (begin + first) % dtype.itemsize:
        raise ValueError("an array is not aligned")
    values = data[first : first + spec.size].view(dtype).reshape(spec.shape)
    values.flags.writeable = False
    return values


def _checked_places(text: bytes, size: int) -> dict[str, tuple[int, ArraySpec]]:
    """Where each array of a header begins, and what it is; in order, without holes, to the end of the file."""
    if not text.startswith(b"{"):
        raise ValueError("it does not begin with {")
    entries = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    if not isinstance(entries, dict):
        raise ValueError("it is no object")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ is not a table of texts")
    places = {name: _place(name, entry) for name, entry in entries.items()}
    end = 0
    for first, spec in sorted(places.values(), key=lambda place: (place[0], place[1].size)):
        if first != end:
            raise ValueError("arrays overlap or leave a hole")
        end += spec.size
    if end != size:
        raise ValueError("its arrays do not fill the file")
    return places


def _place(name: str, entry: Any) -> tuple[int, ArraySpec]:
    """Where an array begins, and what it is."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} is described by other facts than dtype, shape and offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2 or len(shape) > 8:
        raise ValueError(f"{name!r} has a shape or offsets that are none")
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in (*shape, *offsets)):
        raise ValueError(f"{name!r} has a shape or offsets that are no numbers")
    spec = ArraySpec(DTYPES[entry["dtype"]], tuple(shape))
    if offsets[1] - offsets[0] != spec.size:
        raise ValueError(f"{name!r} has offsets that do not fit its shape")
    return offsets[0], spec


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name comes twice")
    return table
