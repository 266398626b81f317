"""Between float32 and float16, as NumPy converts them and many times faster."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.dense import halves_to_floats
from xtrkit.kernels.encoding import floats_to_halves


def to_halves(rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float16]:
    """Numbers as float16, rounded to the nearest; infinite where they are too large."""
    if rows.dtype != np.float32:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(rows, dtype="<f2")
    flat = np.ascontiguousarray(rows).reshape(-1)
    halves = np.empty(rows.shape, dtype="<f2")
    floats_to_halves(_read_only(flat), _read_only(flat.view(np.uint32)), halves.reshape(-1).view(np.uint16))
    return halves


def to_floats(halves: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Finite float16 numbers as float32."""
    floats = np.empty(halves.shape, dtype=np.float32)
    flat = floats.reshape(-1)
    halves_to_floats(_read_only(np.ascontiguousarray(halves).reshape(-1).view(np.uint16)), flat.view(np.uint32), flat)
    return floats


def _read_only(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that is not for writing: kernels are compiled for one kind of arrays instead of two."""
    view = values.view()
    view.flags.writeable = False
    return view
