"""Vectors that an index can't keep, or that a search can't reckon with, are refused; all others give what they must."""

import numpy as np
import pytest

from tests.conftest import unit_rows
from xtrkit import Index
from xtrkit.errors import InputError

ml_dtypes, torch = pytest.importorskip("ml_dtypes"), pytest.importorskip("torch")

DIM = 32
KINDS = [(16, "grid"), (1, "grid"), (2, "grid"), (4, "grid"), (8, "grid"), (4, "buckets")]


def corpus(n=120):
    random = np.random.default_rng(7)
    centres = unit_rows(random, 40, DIM)
    return [unit_rows(random, 6, DIM) * np.float32(0.3) + centres[random.integers(0, 40, 6)] for _ in range(n)]


DOCUMENTS = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in corpus()]
QUERY = DOCUMENTS[3][:4] + np.float32(0.1) * DOCUMENTS[50][:4]


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    root = tmp_path_factory.mktemp("vectors")
    return {
        (nbits, codec): Index.create(root / f"{nbits}{codec}", [DOCUMENTS], nbits=nbits, codec=codec)
        for nbits, codec in KINDS
    }


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (1e-8, r"length 1e-08 \(token 0\), too small for float16: rounding changes it by 100%"),
        (1e-6, r"length 1e-06 \(token \d\), too small for float16: rounding changes it by \d+%"),
        (1e-300, "too small for float16"),
        (1e6, "a number beyond ±65504"),
        (0.0, r"a token vector of zeros \(token 0\): leave padding out"),
    ],
)
@pytest.mark.parametrize("nbits", [16, 4])
def test_documents_that_float16_cannot_keep(tmp_path, scale, message, nbits):
    documents = [np.float64(rows) * scale for rows in DOCUMENTS]
    with pytest.raises(InputError, match=message):
        Index.create(tmp_path / "idx", [documents], nbits=nbits)
    index = Index.create(tmp_path / "idx", [DOCUMENTS], nbits=nbits)
    with pytest.raises(InputError, match=message), index.writer() as writer:
        writer.add(["a"], [documents[0]])


def test_half_precision_that_lost_too_much_before(tmp_path):
    with pytest.raises(InputError, match="too small for float16"):
        Index.create(tmp_path / "idx", [[(rows * 1e-6).astype(np.float16) for rows in DOCUMENTS]], nbits=16)


@pytest.mark.parametrize("scale", [1e-4, 5e-4, 100.0, 6e4])
@pytest.mark.parametrize("nbits", [16, 4, 8])
def test_documents_of_other_scales_rank_alike(tmp_path, indexes, scale, nbits):
    """Exactly; and a compressed one as well as it does at length 1, whose centroids are found in another order."""
    index = Index.create(tmp_path / "idx", [[rows * np.float32(scale) for rows in DOCUMENTS]], nbits=nbits)
    expected = indexes[16, "grid"].search(QUERY, 5)
    found = index.search(QUERY, 5, nprobe="all")
    assert found.ids[0] == expected.ids[0]
    assert found.scores[0] / scale == pytest.approx(expected.scores[0], rel=0.02)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e-6, 1e-3, 30.0, 5e3, 6e4])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("choices", [{}, {"scoring": "maxsim"}, {"imputation": "none"}])
def test_a_query_of_any_scale_ranks_alike(indexes, kind, scale, choices):
    index = indexes[kind]
    expected = index.search(QUERY, 10, k_prime=20, nprobe=4, **choices)
    query = np.float64(QUERY) * scale
    found = index.search(query, 10, k_prime=20, nprobe=4, **choices)
    assert found.scores / scale == pytest.approx(expected.scores, rel=1e-3)
    assert len(set(found.ids) & set(expected.ids)) >= 9
    assert found.ids[0] == expected.ids[0]
    assert found.recipe == expected.recipe
    (reason,), (of_expected,) = index.explain(query, found, [3]), index.explain(QUERY, expected, [3])
    assert reason.similarities / scale == pytest.approx(of_expected.similarities, rel=1e-2, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
def test_powers_of_two_change_nothing_but_the_scale(indexes, kind):
    index = indexes[kind]
    queries = [QUERY, QUERY * np.float32(2.0**-60), QUERY * np.float32(2.0**14), QUERY]
    plain, small, large, again = index.search_batch(queries, 10, k_prime=20, nprobe=4)
    assert list(plain) == list(again)
    assert plain.ids == small.ids == large.ids
    assert small.scores * 2.0**60 == pytest.approx(plain.scores, rel=1e-6 if kind[0] == 16 else 0)
    assert large.scores / 2.0**14 == pytest.approx(plain.scores, rel=1e-6 if kind[0] == 16 else 0)
    bounds = index.similarity_error_bounds(QUERY)
    assert (index.similarity_error_bounds(queries[2]) == bounds * 2.0**14).all()
    of_constant = index.search(QUERY, 10, k_prime=20, nprobe=4, imputation="0.25")
    scaled = index.search(queries[2], 10, k_prime=20, nprobe=4, imputation=str(0.25 * 2**14))
    assert (of_constant.ids, list(of_constant.scores)) == (scaled.ids, list(scaled.scores / 2.0**14))
    assert scaled.recipe.imputation == str(0.25 * 2**14)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.zeros((2, DIM), np.float32), r"The query has a token vector of zeros \(token 0\)"),
        (np.vstack([QUERY, np.zeros(DIM)]), r"a token vector of zeros \(token 4\): leave padding out"),
        (QUERY * np.float64(1e-40), "too small to reckon with: multiply the query"),
        (QUERY * np.float64(1e6), "beyond ±65504"),
        (QUERY.astype(np.int64), "expected an array of floating-point numbers, got int64"),
        (torch.ones(2, DIM, dtype=torch.int32), "floating-point numbers, got torch.int32"),
        (QUERY > 0, "floating-point numbers, got bool"),
        (QUERY.astype(complex), "floating-point numbers, got complex128"),
        (torch.ones(2, DIM, dtype=torch.complex64), "floating-point numbers, got torch.complex64"),
        (QUERY.astype(object), "floating-point numbers, got object"),
        (np.ma.masked_less(QUERY, 0), "some of the array is masked"),
        ([[1, 2], [3]], "makes no array"),
        ("text", "floating-point numbers, got str"),
        (None, "floating-point numbers, got NoneType"),
        (torch.ones(2, DIM, device="meta"), "a Tensor can't be read as an array"),
        (torch.ones(2, DIM).to_sparse(), "can't be read as an array"),
    ],
)
@pytest.mark.parametrize("kind", [(16, "grid"), (4, "grid")])
def test_queries_that_are_none(indexes, kind, query, message):
    with pytest.raises(InputError, match=message):
        indexes[kind].search(query)


class LikeJax:
    """What JAX's and TensorFlow's arrays have in common."""

    def __init__(self, values):
        self._values, self.dtype, self.shape = values, values.dtype, values.shape

    def __array__(self, dtype=None, copy=None):
        return self._values if dtype is None else self._values.astype(dtype)


TAKEN = {
    "float64": lambda rows: rows.astype(np.float64),
    "long double": lambda rows: rows.astype(np.longdouble),
    "big-endian": lambda rows: rows.astype(">f4"),
    "strided": lambda rows: np.asfortranarray(rows),
    "a mask that masks nothing": lambda rows: np.ma.masked_array(rows),
    "torch": torch.tensor,
    "torch float64": lambda rows: torch.tensor(rows, dtype=torch.float64),
    "torch bfloat16": lambda rows: torch.tensor(rows).to(torch.bfloat16),
    "torch float16": lambda rows: torch.tensor(rows).half(),
    "torch with gradients": lambda rows: torch.tensor(rows, requires_grad=True) * 1,
    "torch transposed": lambda rows: torch.tensor(rows.T.copy()).T,
    "ml_dtypes' bfloat16": lambda rows: rows.astype(ml_dtypes.bfloat16),
    "like JAX": LikeJax,
    "like JAX in bfloat16": lambda rows: LikeJax(rows.astype(ml_dtypes.bfloat16)),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_arrays_of_any_library(tmp_path, indexes, kind):
    made = TAKEN[kind]
    index = Index.create(tmp_path / "idx", [[made(rows) for rows in DOCUMENTS[:60]]], nbits=16)
    with index.writer() as writer:
        writer.add([str(n) for n in range(60, 120)], [made(rows) for rows in DOCUMENTS[60:]])
    index.refresh()
    expected = indexes[16, "grid"].search(QUERY, 5)
    for found in (index.search(made(QUERY), 5), *index.search_batch([made(QUERY)], 5)):
        assert found.ids[0] == expected.ids[0]
        assert found.scores == pytest.approx(expected.scores, rel=2e-2)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (torch.ones(2, DIM, dtype=torch.int64), "Document 'a': expected .*, got torch.int64"),
        (np.ones((2, DIM), bool), "got bool"),
        (np.ones((2, DIM), complex), "got complex128"),
        (np.ones((2, DIM), object), "got object"),
        (np.ma.masked_equal(np.eye(3, DIM), 0), "some of the array is masked"),
        ([[0.5] * DIM], "got list"),
        (torch.ones(2, DIM, device="meta"), "can't be read as an array"),
        (LikeJax(np.ones((2, DIM), np.int8)), "got int8"),
    ],
)
def test_documents_that_are_none(indexes, document, message):
    with pytest.raises(InputError, match=message), indexes[16, "grid"].writer() as writer:
        writer.add(["a"], [document])


def test_no_list_of_embeddings(tmp_path, indexes):
    with pytest.raises(InputError, match="got NoneType"), indexes[16, "grid"].writer() as writer:
        writer.add(["a"], None)
    for batches in (None, 3, [None], [3.0]):
        with pytest.raises(InputError, match=r"\(m, d\) arrays, got"):
            Index.create(tmp_path / "idx", batches, nbits=16)
