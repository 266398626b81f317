"""``rank.rerank``: documents in the order of their MaxSim with queries, without an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from xtrkit.compat.saying import without_meaning
from xtrkit.compat.vectors import Embeddings, each_text
from xtrkit.errors import InputError
from xtrkit.scoring.maxsim import maxsim_ranking


class RerankResult(TypedDict):
    """A document in a ranking."""

    id: Any
    score: float


def rerank(
    documents_ids: Sequence[Sequence[Any]],
    queries_embeddings: Embeddings,
    documents_embeddings: Sequence[Embeddings],
    device: str | None = None,
) -> list[list[RerankResult]]:
    """The documents of each query, best first.

    Args:
        documents_ids: ids of the documents of each query, of any kind; they come back as they are.
        queries_embeddings: token vectors of each query.
        documents_embeddings: token vectors of the documents of each query.
        device: has no meaning here.

    Raises:
        InputError: the lists are not of one length, or of another dimension.
    """
    without_meaning("device", device, "cpu", "NumPy computes it")
    queries = each_text(queries_embeddings)
    if hasattr(documents_embeddings, "ndim") and documents_embeddings.ndim == 3:
        documents_embeddings = [documents_embeddings]  # of one query
    if not len(documents_ids) == len(queries) == len(documents_embeddings):
        raise InputError(
            f"There are {len(queries)} queries, ids of documents for {len(documents_ids)} and their vectors for "
            f"{len(documents_embeddings)}: give a list of both for each query."
        )
    ranked: list[list[RerankResult]] = []
    for place, (query, names, given) in enumerate(zip(queries, documents_ids, documents_embeddings, strict=True)):
        rows = each_text(given)
        if len(rows) != len(names):
            raise InputError(f"Query {place} has {len(names)} ids for {len(rows)} documents: give one for each.")
        if any(of_one.shape[1] != query.shape[1] or not len(of_one) for of_one in (*rows, query)):
            raise InputError(f"Query {place} and its documents need token vectors of one dimension, at least one each.")
        if not all(np.isfinite(of_one).all() for of_one in (*rows, query)):
            raise InputError(f"Query {place} or its documents have NaN or infinity among their token vectors.")
        places, scores = maxsim_ranking(query, rows)
        best = zip(places.tolist(), scores.tolist(), strict=True)
        ranked.append([{"id": names[one], "score": score} for one, score in best])
    return ranked
