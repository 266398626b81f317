"""float16 as kernels make and read it, against NumPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.indexing.halves import to_floats, to_halves


def same(found, expected):
    """Bit for bit, but for which NaN it is."""
    missing = np.isnan(expected)
    return (np.isnan(found) == missing).all() and (found.view(np.uint16) == expected.view(np.uint16))[~missing].all()


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=99))
def test_any_float_is_rounded_as_numpy_rounds_it(bits):
    floats = np.array(bits, dtype=np.uint32).view(np.float32)
    with np.errstate(over="ignore"):
        assert same(to_halves(floats), floats.astype(np.float16))


def test_floats_between_any_two_halves():
    """Every half, and what lies half-way to the next and just beside that."""
    halves = np.arange(0x7C01, dtype=np.uint16).view(np.float16)
    floats = halves.astype(np.float32)
    floats[-1] = 65536  # beyond the largest
    between = ((floats[:-1].astype(np.float64) + floats[1:]) / 2).astype(np.float32)
    beside = [np.nextafter(between, np.float32(way)) for way in (-np.inf, np.inf)]
    every = np.concatenate([floats, between, *beside])
    every = np.concatenate([every, -every])
    with np.errstate(over="ignore"):
        assert same(to_halves(every), every.astype(np.float16))


def test_finite_halves_become_floats():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 2)
    assert (to_floats(halves).view(np.uint32) == halves.astype(np.float32).view(np.uint32)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats(dtype):
    rows = np.random.default_rng(0).normal(size=(5, 8)).astype(dtype)
    assert (to_halves(rows[:, ::2]) == rows[:, ::2].astype(np.float16)).all()
    assert (to_halves(rows.astype(np.float32).T) == rows.T.astype(np.float16)).all() or dtype == np.float64
