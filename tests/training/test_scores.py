"""Batched scores against their slow twin, against sentence-transformers, and against the paper's own arithmetic."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers.multi_vector_encoder.scoring import mean_colbert_scores
from sentence_transformers.multi_vector_encoder.scoring import xtr_scores as sentence_transformers_xtr

from xtrkit.errors import InputError
from xtrkit.training import reference
from xtrkit.training.scores import maxsim_scores, xtr_scores

DIM = 4


@st.composite
def batches(draw):
    """Ragged queries and documents of a batch, without ties, and the same as padded tensors with masks."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    queries = [random.normal(size=(n, DIM)) for n in draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))]
    documents = [random.normal(size=(m, DIM)) for m in draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))]
    return queries, documents, padded(queries, random, 2), padded(documents, random, 3)


def padded(ragged, random, extra=0):
    """(texts, tokens, d) with rubbish where nothing is, and the mask."""
    longest = max(map(len, ragged)) + extra
    values = torch.from_numpy(random.normal(size=(len(ragged), longest, DIM)) * 9)
    mask = torch.zeros(len(ragged), longest, dtype=torch.bool)
    for i, rows in enumerate(ragged):
        values[i, : len(rows)] = torch.from_numpy(rows)
        mask[i, : len(rows)] = True
    return values, mask


@given(batches(), st.integers(1, 30), st.sampled_from(["keep", "clip0"]), st.integers(1, 64))
def test_xtr_scores_are_those_of_the_slow_twin(batch, k_train, negative, elements):
    queries, documents, (q, q_mask), (d, d_mask) = batch
    got = xtr_scores(q, d, q_mask, d_mask, k_train, negative=negative, elements=elements)
    expected = [reference.xtr_scores(query, documents, k_train, negative) for query in queries]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)


@given(batches(), st.booleans(), st.integers(1, 64))
def test_maxsim_scores_are_those_of_the_slow_twin(batch, mean, elements):
    queries, documents, (q, q_mask), (d, d_mask) = batch
    got = maxsim_scores(q, d, q_mask, d_mask, mean=mean, elements=elements)
    expected = [reference.maxsim_scores(query, documents, mean) for query in queries]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)


@given(batches(), st.integers(1, 30))
def test_sentence_transformers_agrees(batch, k_train):
    _, _, (q, q_mask), (d, d_mask) = batch
    q, d = q.float(), d.float()
    got = xtr_scores(q, d, q_mask, d_mask, k_train, negative="keep")
    # Its scorer takes one group of documents a query, but scores any number of queries against all groups.
    expected = sentence_transformers_xtr(q, d[:, None], q_mask, d_mask[:, None], top_k=k_train)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        maxsim_scores(q, d, q_mask, d_mask),
        mean_colbert_scores(q, d[:, None], q_mask, d_mask[:, None]),
        atol=1e-4,
        rtol=1e-4,
    )


@given(batches(), st.integers(1, 30), st.integers(1, 64))
def test_gradients_are_those_of_autograd_on_the_whole_grid(batch, k_train, elements):
    _, _, (q, q_mask), (d, d_mask) = batch

    def gradients(function):
        leaves = q.clone().requires_grad_(), d.clone().requires_grad_()
        scores = function(*leaves)
        weights = torch.arange(1.0, scores.numel() + 1, dtype=scores.dtype).view_as(scores)
        (scores * weights).sum().backward()
        return leaves[0].grad, leaves[1].grad

    def whole_grid(queries, documents):
        grid = torch.einsum("bid,cjd->bicj", queries, documents).masked_fill(~d_mask, -torch.inf)
        pool = grid.flatten(2)
        chosen = pool.topk(min(k_train, int(d_mask.sum()))).indices
        aligned = torch.zeros_like(pool, dtype=torch.bool).scatter(2, chosen, True).view_as(grid)
        best = grid.masked_fill(~aligned, -torch.inf).amax(dim=3)
        there = (best > -torch.inf) & q_mask[:, :, None]
        return torch.where(there, best, 0.0).sum(1) / there.sum(1).clamp(min=1)

    ours = gradients(lambda a, b: xtr_scores(a, b, q_mask, d_mask, k_train, negative="keep", elements=elements))
    for got, expected in zip(ours, gradients(whole_grid), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


@given(batches())
def test_with_the_whole_pool_retrieved_xtr_is_colbert(batch):
    """Oracle 7: k_train of at least the pool, similarities all positive."""
    _, _, (q, q_mask), (d, d_mask) = batch
    q, d = q.abs(), d.abs()
    whole = xtr_scores(q, d, q_mask, d_mask, k_train=10_000)
    torch.testing.assert_close(whole, maxsim_scores(q, d, q_mask, d_mask, mean=True))


def cross_entropy(scores, positive=0):
    return torch.nn.functional.cross_entropy(scores, torch.tensor([positive]))


def everything(*tensors):
    return [torch.ones(tensor.shape[:2], dtype=torch.bool) for tensor in tensors]


def test_the_failure_case_of_section_3():
    """D+ is good everywhere (0.8), each negative has one peak above it: ColBERT is content, XTR is not."""
    n = 4
    query = torch.eye(n)[None]
    positive = torch.full((1, 1, n), 0.8)
    negatives = torch.eye(n)[:, None] * 0.9
    documents = torch.cat([positive, negatives])
    masks = everything(query, documents)
    by_colbert = maxsim_scores(query, documents, *masks, mean=False)
    by_xtr = xtr_scores(query, documents, *masks, k_train=1)
    assert by_colbert[0, 0] > 3.1
    assert (by_colbert[0, 1:] < 1).all()
    assert cross_entropy(10 * by_colbert) < 1e-8
    assert by_xtr[0, 0] == 0
    torch.testing.assert_close(by_xtr[0, 1:], torch.full((n,), 0.9))
    assert cross_entropy(10 * by_xtr) > 10


def test_the_gradients_of_appendix_a():
    """dL/dP+ = -(1/Z+)(1 - p+) and dL/dP- = (1/Z-) p-, P being the best retrieved similarities."""
    # d = n one-hot query tokens make documents' coordinates the similarities themselves.
    query = torch.eye(3, dtype=torch.float64)[None]
    documents = torch.tensor(
        [[[0.9, 0.1, 0.2]], [[0.8, 0.7, 0.15]], [[0.3, 0.6, 0.05]]], dtype=torch.float64, requires_grad=True
    )
    masks = everything(query, documents)
    scores = xtr_scores(query, documents, *masks, k_train=2)
    z = torch.tensor([2.0, 3.0, 1.0], dtype=torch.float64)
    cross_entropy(scores).backward()
    p = scores.detach().softmax(dim=1)[0]
    expected = (p - torch.tensor([1.0, 0, 0])) / z
    retrieved = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 1, 0]])
    torch.testing.assert_close(documents.grad[:, 0], expected[:, None] * retrieved)

    documents.grad = None
    scores = maxsim_scores(query, documents, *masks)
    cross_entropy(scores).backward()
    expected = (scores.detach().softmax(dim=1)[0] - torch.tensor([1.0, 0, 0])) / 3
    torch.testing.assert_close(documents.grad[:, 0], expected[:, None].expand(3, 3))


def test_nothing_retrieved_scores_nothing_and_learns_nothing():
    query, documents = torch.eye(2)[None], torch.tensor([[[0.1, 0.1]], [[0.9, 0.9]]], requires_grad=True)
    scores = xtr_scores(query, documents, *everything(query, documents), k_train=1)
    assert scores[0, 0] == 0
    cross_entropy(scores).backward()
    assert (documents.grad[0] == 0).all()
    assert documents.grad.isfinite().all()


def test_half_precision_is_scored_in_full():
    torch.manual_seed(0)
    q, d = torch.randn(2, 3, DIM), torch.randn(4, 5, DIM)
    masks = everything(q, d)
    got = xtr_scores(q.bfloat16(), d.bfloat16(), *masks, k_train=4)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, xtr_scores(q.bfloat16().float(), d.bfloat16().float(), *masks, k_train=4))


def test_k_train_of_nothing_is_refused():
    q = torch.ones(1, 1, 1)
    with pytest.raises(InputError, match="k_train must be at least 1, got 0"):
        xtr_scores(q, q, *everything(q, q), k_train=0)


def test_what_is_no_number_shows_in_the_scores():
    q, d = torch.ones(1, 2, 2), torch.ones(3, 2, 2)
    d[1, 0, 0] = torch.nan
    assert xtr_scores(q, d, *everything(q, d), k_train=2).isnan().any()
    assert maxsim_scores(q, d, *everything(q, d)).isnan().any()
