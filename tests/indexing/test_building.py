"""Building in blocks, over threads and through files: the same index however it is done."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import unit_rows
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.indexing import centroids, postings
from xtrkit.indexing.codec import codec_named
from xtrkit.indexing.compressed_format import _largest, _marks
from xtrkit.indexing.creating import Making
from xtrkit.indexing.documents import checked, checked_documents
from xtrkit.indexing.segments import RowsInMemory
from xtrkit.indexing.workers import Workers
from xtrkit.kernels.encoding import leads_back
from xtrkit.kernels.gathering import ROWS_PER_MARK
from xtrkit.values import Ragged, offsets_of


def torch_rows(dim=8):
    torch = pytest.importorskip("torch")
    return torch.ones((2, dim))


def rows_of(n_tokens=3000, dim=32):
    random = np.random.default_rng(1)
    lengths = random.integers(1, 40, size=n_tokens)
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), n_tokens)]
    return RowsInMemory(Ragged(unit_rows(random, int(lengths.sum()), dim).astype(np.float16), lengths))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("xtrkit.indexing.segments.ROWS_AT_A_TIME", 256)
    monkeypatch.setattr(centroids, "BLOCK", 256)


@pytest.mark.parametrize("codec", ["grid", "buckets"])
def test_threads_and_files_change_nothing(tmp_path, monkeypatch, small_blocks, codec):
    rows, found = rows_of(), set()
    monkeypatch.setattr(postings, "PLACED_AT_A_TIME", 100)
    for threads, ordered_bytes in ((1, 1 << 27), (3, 1 << 27), (2, 1 << 12)):
        monkeypatch.setattr(postings, "ORDERED_BYTES", ordered_bytes)
        quantiser, assigned = postings.train(rows, codec_named(codec, 2), threads=threads)
        name = f"{threads} {ordered_bytes}"
        written = postings.compress(rows, quantiser, tmp_path, name, assigned=assigned, threads=threads)
        found.add((written.file.sha256, written.error, quantiser.energies.tobytes()))
    assert len(found) == 1
    assert len(list(tmp_path.iterdir())) == 3  # nothing temporary is left


def test_clusters_that_are_not_known_are_found_before_or_on_the_way(tmp_path, monkeypatch, small_blocks):
    rows, found = rows_of(), set()
    quantiser, _ = postings.train(rows, codec_named("grid", 4))
    for ordered_bytes in (1 << 27, 1 << 12):
        monkeypatch.setattr(postings, "ORDERED_BYTES", ordered_bytes)
        written = postings.compress(rows, quantiser, tmp_path, str(ordered_bytes), threads=2)
        found.add((written.file.sha256, written.error))
    assert len(found) == 1


def test_a_sample_of_many_tokens_has_no_token_twice(monkeypatch):
    monkeypatch.setattr(postings, "DRAWN_FROM_ALL", 0)
    for n_tokens, size in ((10, 10), (1000, 999), (5000, 1000), (10**9, 5000)):
        drawn = postings._drawn(n_tokens, size, np.random.default_rng(0))
        assert len(set(drawn.tolist())) == len(drawn) == size
        assert 0 <= drawn.min() <= drawn.max() < n_tokens


def test_results_come_in_order_and_not_too_many_are_ahead():
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    for threads in (1, 3):
        taken.clear()
        with Workers(threads) as workers:
            for number, result in enumerate(workers.map(lambda item: item * item, items())):
                assert result == number**2
                assert len(taken) <= number + threads + 2
        assert taken == list(range(20))


def test_what_goes_wrong_in_a_thread_is_told():
    def work(number):
        if number == 5:
            raise OSError("no room")
        return number

    for threads in (1, 2):
        with Workers(threads) as workers, pytest.raises(OSError, match="no room"):
            list(workers.map(work, range(100)))


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_numbers_of_threads_that_there_can_not_be(threads, tmp_path):
    with pytest.raises(InputError, match="threads must be a whole number of at least 1"):
        Making(threads=threads)
    with pytest.raises(InputError, match="threads must be"):
        Index.create(tmp_path / "idx", [[np.ones((2, 8), dtype=np.float32)]], threads=threads)


SOUND = [np.float32([[1, 0, 2, 0, 0, 0, 0, 1]]), np.full((3, 8), 0.1, dtype=np.float32)]


@pytest.mark.parametrize(
    "odd",
    [
        np.float64([[1] * 8, [2] * 8]),
        np.float16([[1] * 8]),
        np.asfortranarray(np.ones((3, 8), dtype=np.float32)),
        np.full((1, 8), 2e-5, dtype=np.float32),  # all right, but not by far
        torch_rows(),
    ],
)
def test_documents_together_are_what_they_are_one_by_one(odd):
    documents = [SOUND[0], odd, SOUND[1]]
    together = checked_documents(["a", "b", "c"], documents, 0)
    for name, document, found in zip("abc", documents, together, strict=True):
        assert (checked(name, document, 8) == found).all()
        assert found.dtype == np.float16


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((0, 8), dtype=np.float32),
        np.zeros((2, 0), dtype=np.float32),
        np.ones((2, 9), dtype=np.float32),
        np.ones(8, dtype=np.float32),
        np.ones((2, 8), dtype=np.int32),
        np.float32([[1] * 8, [0] * 8]),
        np.float32([[np.nan] * 8]),
        np.float32([[1] * 7 + [np.inf]]),
        np.float32([[1] * 7 + [65520]]),
        np.float32([[1e-6] * 8]),
        "text",
        None,
    ],
)
@pytest.mark.parametrize("dim", [0, 8])
def test_documents_together_are_refused_as_one_by_one(bad, dim):
    with pytest.raises(InputError) as alone:
        checked("b", bad, 8)
    with pytest.raises(InputError) as together:
        checked_documents(["a", "b", "c"], [SOUND[0], bad, SOUND[1]], dim)
    assert str(together.value) == str(alone.value)


def test_dimensions_are_checked_with_the_first_document():
    def refuse(dim):
        raise InputError(f"{dim} dimensions")

    for document in (np.ones((1, 9), dtype=np.float32), np.ones((1, 9)), torch_rows(9)):
        with pytest.raises(InputError, match="9 dimensions"):
            checked_documents(["a"], [document], 0, refuse)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_places_that_lead_back(seed, n_documents):
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 4, n_documents)
    offsets, document_of = offsets_of(lengths), np.repeat(np.arange(n_documents, dtype=np.int32), lengths)
    positions = random.permutation(len(document_of)).astype(np.uint32)
    documents = np.empty_like(document_of)
    documents[positions] = document_of
    assert leads_back(positions, offsets, documents, np.zeros(len(documents), dtype=np.bool_))
    place, other = random.integers(0, len(documents), 2)
    wrong = documents.copy()
    wrong[place] = (wrong[place] + 1) % n_documents
    assert (wrong == documents).all() or not leads_back(positions, offsets, wrong, np.zeros(len(wrong), dtype=np.bool_))
    twice = positions.copy()
    twice[place] = twice[other]
    assert place == other or not leads_back(twice, offsets, documents, np.zeros(len(documents), dtype=np.bool_))


@given(st.lists(st.sampled_from([0, 1, 5, 63, 64, 65, 300]), min_size=1, max_size=30))
def test_marks_are_the_clusters_of_rows(sizes):
    offsets = offsets_of(np.array(sizes))
    marked = np.arange(0, offsets[-1], ROWS_PER_MARK)
    assert _marks(offsets).tolist() == (np.searchsorted(offsets, marked, side="right") - 1).tolist()


def test_the_largest_is_found_by_many(monkeypatch):
    monkeypatch.setattr("xtrkit.indexing.compressed_format.LOOKED_AT_ALONE", 10)
    for n in (0, 1, 10, 11, 99):
        values = np.random.default_rng(n).permutation(n).astype(np.uint32)
        assert _largest(values) == n - 1
