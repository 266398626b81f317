"""Answering queries that nobody judged: a run, to be measured elsewhere, or compared with another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from xtrkit.evaluating.measuring import note_truncated
from xtrkit.evaluation.notes import Note, counted, examples_of, quoted
from xtrkit.evaluation.run_files import any_ids
from xtrkit.retriever import Retriever

TOGETHER = 64
"""Queries that are searched for at a time, so that progress is seen and the memory of hits is bounded."""


class Answered(NamedTuple):
    """What was found.

    Attributes:
        run: {query: [(id, score), …]}, best first; of passages that were cut out of documents, the documents.
        notes: queries that the model cut off, and those that found fewer than was asked for.
    """

    run: dict[str, list[tuple[str, float]]]
    notes: tuple[Note, ...]


def answer_topics(
    retriever: Retriever,
    queries: Mapping[str, str],
    k: int,
    *,
    passages: bool = False,
    advance: Callable[[int], None] = lambda n: None,
    check_ids: Callable[[Iterable[str]], None] = any_ids,
    **as_in_search: Any,
) -> Answered:
    """Search for each query.

    Args:
        retriever: the index and its encoder; its reranker scores the best again.
        queries: {id: text}.
        k: how many documents of each.
        passages: rank passages by their own ids, also where they were cut out of documents.
        advance: called with the number of queries that have been answered.
        check_ids: refuses ids that can't be written, as soon as they are found.
        **as_in_search: the other arguments of :meth:`xtrkit.Retriever.search`.
    """
    run: dict[str, list[tuple[str, float]]] = {}
    left = iter(queries.items())
    while some := dict(islice(left, TOGETHER)):
        asked = {**as_in_search, "group_by_document": False} if passages else as_in_search
        for query, hits in zip(some, retriever.search_batch(list(some.values()), k, **asked), strict=True):
            run[query] = [(hit.id if passages or hit.part is None else hit.part.document, hit.score) for hit in hits]
        check_ids(document for query in some for document, _ in run[query])
        advance(len(some))
    return Answered(run, (*note_truncated(retriever, queries), *_fewer(run, k)))


def _fewer(run: Mapping[str, list[tuple[str, float]]], k: int) -> list[Note]:
    short = [query for query, ranking in run.items() if len(ranking) < k]
    if not short:
        return []
    sentence = (
        f"{counted(len(short), 'query')} {quoted(short)} found fewer than the {k:,} documents that were asked for: the "
        "index, or the filter, has no more."
    )
    return [Note("fewer_than_k", {"queries": len(short), "k": k, "examples": examples_of(short)}, sentence)]
