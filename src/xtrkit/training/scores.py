"""Scores of a batch's queries for all of its documents, in bounded memory, with gradients.

The grid of all similarities (4,096 query tokens × 46,080 document tokens for a batch of 128 with a hard negative each)
would fill 750 MB, several times over with its gradients. Two observations make it unnecessary to keep:

- a document's best *retrieved* token is its best token, if that one is retrieved at all; so besides the maxima over
  each document, (query tokens × documents), only the k_train-th largest similarity of each query token is needed;
- the gradient of a maximum goes to one pair of tokens, whose place is one number.

So the grid is computed some rows at a time, forwards and again backwards. ``reference.py`` is the slow twin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xtrkit.errors import InputError

ELEMENTS = 1 << 24
"""Similarities that are in memory at a time: 64 MB of float32."""


def xtr_scores(
    queries: Tensor,
    documents: Tensor,
    query_mask: Tensor,
    document_mask: Tensor,
    k_train: int,
    *,
    negative: str = "clip0",
    elements: int = ELEMENTS,
) -> Tensor:
    """f_XTR (Lee et al. 2023, eq. 2): what a document's retrieved tokens say, all documents competing for retrieval.

    Tokens exactly as near as the k_train-th nearest are retrieved, too. No gradient goes through the selection.

    Args:
        queries: (B, n, d) token embeddings.
        documents: (C, m, d) token embeddings of all documents in the batch.
        query_mask: (B, n) which query tokens are real.
        document_mask: (C, m) which document tokens are real.
        k_train: how many document tokens each query token retrieves; all of them where there are no more.
        negative: "clip0" or "keep", as in :func:`xtrkit.training.reference.xtr_scores`.
        elements: similarities in memory at a time.

    Returns:
        (B, C) scores: sums divided by Z, the number of query tokens that retrieved some token of the document; 0 where
        none did.

    Raises:
        InputError: k_train isn't positive.
    """
    if k_train < 1:
        raise InputError(f"k_train must be at least 1, got {k_train}.")
    maxima, thresholds = _token_maxima(queries, documents, query_mask, document_mask, k_train, elements)
    # Said in the negative, so that a NaN is retrieved, and shows in the loss.
    retrieved = ~(maxima < thresholds[:, None]) & (maxima != -torch.inf)
    if negative == "clip0":
        retrieved = retrieved & ~(maxima <= 0)
    sums = _sum_by_query(torch.where(retrieved, maxima, 0.0), query_mask)
    z = _sum_by_query(retrieved.to(maxima.dtype), query_mask)
    return sums / z.clamp(min=1)


def maxsim_scores(
    queries: Tensor,
    documents: Tensor,
    query_mask: Tensor,
    document_mask: Tensor,
    *,
    mean: bool = True,
    elements: int = ELEMENTS,
) -> Tensor:
    """f_ColBERT (Lee et al. 2023, eq. 1; Khattab & Zaharia 2020, eq. 3): the mean or the sum of maxima.

    Args:
        queries: (B, n, d) token embeddings.
        documents: (C, m, d) token embeddings.
        query_mask: (B, n) which query tokens are real.
        document_mask: (C, m) which document tokens are real; a document without any scores 0.
        mean: divide by the number of query tokens, which stabilises training.
        elements: similarities in memory at a time.

    Returns:
        (B, C) scores.
    """
    maxima, _ = _token_maxima(queries, documents, query_mask, document_mask, None, elements)
    sums = _sum_by_query(torch.where(maxima == -torch.inf, 0.0, maxima), query_mask)
    return sums / query_mask.sum(dim=1, keepdim=True).clamp(min=1) if mean else sums


def _token_maxima(
    queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor, k: int | None, elements: int
) -> tuple[Tensor, Tensor]:
    """(N, C) best similarity of each real query token in each document, (N,) its k-th best similarity of all."""
    # In full precision whatever the model computes in: half precision would make ties of different similarities.
    with torch.autocast(queries.device.type, enabled=False):
        wide = torch.promote_types(queries.dtype, torch.float32)
        rows = queries[query_mask.bool()].to(wide)
        apply: Any = _TokenMaxima.apply
        found: tuple[Tensor, Tensor] = apply(rows, documents.to(wide), document_mask.bool(), k, elements)
    return found


class _TokenMaxima(torch.autograd.Function):
    """Maxima over each document's tokens, and thresholds; the grid of similarities is never whole in memory."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, documents: Tensor, mask: Tensor, k: int | None, elements: int
    ) -> tuple[Tensor, Tensor]:
        n_documents, length, _ = documents.shape
        tokens, absent, n_real = documents.flatten(0, 1), ~mask.flatten(), int(mask.sum())
        maxima = rows.new_empty(len(rows), n_documents)
        places = torch.empty(len(rows), n_documents, dtype=torch.int64, device=rows.device)
        thresholds = rows.new_full((len(rows),), -torch.inf)
        for part in _parts(len(rows), len(tokens), elements):
            similarities = (rows[part] @ tokens.T).masked_fill_(absent, -torch.inf)
            maxima[part], places[part] = similarities.view(-1, n_documents, length).max(dim=2)
            if k is not None and k < n_real:
                thresholds[part] = similarities.topk(k, sorted=False).values.amin(dim=1)
        ctx.save_for_backward(rows, documents, places)
        ctx.elements = elements
        ctx.mark_non_differentiable(thresholds)
        return maxima, thresholds

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        rows, documents, places = ctx.saved_tensors
        n_documents, length, _ = documents.shape
        tokens = documents.flatten(0, 1)
        of_rows, of_tokens = torch.empty_like(rows), torch.zeros_like(tokens)
        for part in _parts(len(rows), len(tokens), ctx.elements):
            grid = rows.new_zeros(len(rows[part]), n_documents, length)
            grid.scatter_(2, places[part][..., None], gradients[0][part][..., None])
            of_rows[part] = grid.flatten(1) @ tokens
            of_tokens += grid.flatten(1).T @ rows[part]
        return of_rows, of_tokens.view_as(documents), None, None, None


def _parts(n_rows: int, width: int, elements: int) -> list[slice]:
    step = max(1, elements // max(1, width))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _sum_by_query(values: Tensor, query_mask: Tensor) -> Tensor:
    """(N, C) values of real query tokens -> (B, C) sums over each query's."""
    owners = torch.repeat_interleave(query_mask.bool().sum(dim=1))
    return values.new_zeros(len(query_mask), values.shape[1]).index_add(0, owners, values)
