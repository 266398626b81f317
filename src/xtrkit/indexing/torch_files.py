"""Tensors in files of ``torch.save``, read without torch, and without the power that a pickle has over its reader.

Such a file is a ZIP archive of one pickle and of the raw bytes of each storage. The pickle names functions to be
called; here only those that make tensors are known, and what they are is written below.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.errors import IndexFormatError

STORAGES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "ByteStorage": "|u1",
    "CharStorage": "|i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
}
"""Names of torch's storage types -> what NumPy calls their numbers."""


class Storage(NamedTuple):
    """Stands for one of torch's storage types where the pickle names it."""

    dtype: str


def read_tensors(path: Path) -> Any:
    """What a file of ``torch.save`` holds: an array for each tensor, in tuples and lists as they were saved.

    Raises:
        IndexFormatError: it can't be read, or holds anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive).load()
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, AttributeError) as error:
        raise _unreadable(path, error) from error
    except (pickle.UnpicklingError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> IndexFormatError:
    return IndexFormatError(
        f"{path} is no file of tensors that can be read ({error}): expected what torch.save writes since torch 1.6."
    )


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile) -> None:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        self._archive, self._folder = archive, name.removesuffix("data.pkl")
        super().__init__(io.BytesIO(archive.read(name)))

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if module == "torch" and name in STORAGES:
            return Storage(STORAGES[name])
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no tensor")
        return known[module, name]

    def persistent_load(self, identity: Any) -> npt.NDArray[Any]:
        """The numbers of a storage: ("storage", type, key, device, count)."""
        _, storage, key, _, count = identity
        numbers = np.frombuffer(self._archive.read(f"{self._folder}data/{int(key)}"), dtype=storage.dtype)
        if len(numbers) < count:
            raise ValueError(f"storage {key} has {len(numbers)} numbers instead of {count}")
        return numbers


def _tensor(
    storage: npt.NDArray[Any], first: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> npt.NDArray[Any]:
    """A view of a storage's numbers, if it stays inside them."""
    if len(shape) != len(strides) or first < 0 or min((0, *shape, *strides)) < 0:
        raise ValueError("a tensor's shape makes no sense")
    last = first + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and last >= len(storage):
        raise ValueError("a tensor goes beyond its storage")
    steps = tuple(step * storage.itemsize for step in strides)
    return np.lib.stride_tricks.as_strided(storage[first:], shape, steps, writeable=False)
