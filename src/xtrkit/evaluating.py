"""Measuring an index on a test collection: a row for each way of scoring, and one for BM25."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xtrkit.errors import InputError
from xtrkit.evaluation.beir import TestCollection
from xtrkit.evaluation.bm25 import BM25
from xtrkit.evaluation.measures import evaluate
from xtrkit.evaluation.runs import Run, without_identical_ids
from xtrkit.recipes import Recipe
from xtrkit.retriever import Retriever
from xtrkit.texts.reading import open_collection
from xtrkit.values import Ragged

DEPTH = 100
"""How many documents a query gets; measures beyond this rank see nothing."""


@dataclass(frozen=True)
class Row:
    """How one way of scoring did.

    Attributes:
        system: what was measured, such as "XTR k'=1000".
        measures: {measure: mean over judged queries}.
        seconds_per_query: of searching alone, all queries in one batch; encoding is told apart.
        run: the rankings.
    """

    system: str
    measures: dict[str, float]
    seconds_per_query: float
    run: Run


def measure(
    retriever: Retriever,
    test: TestCollection,
    systems: Sequence[tuple[str, Recipe]],
    measures: Sequence[str],
    *,
    embeddings: Ragged,
    threads: int | None = None,
    advance: Callable[[int], None],
) -> Iterator[Row]:
    """Search all queries in each way and measure the rankings.

    Passages that were cut out of one document count as that document, at the place of the best of them, since it is
    documents that are judged.

    Args:
        retriever: an index with its encoder.
        test: queries and judgements.
        systems: names and recipes.
        measures: names of measures.
        embeddings: of the queries, in their order.
        threads: as in :meth:`xtrkit.Index.search_batch`.
        advance: called with the number of queries that have been answered.
    """
    index, document_of = retriever.index, _documents_of_parts(retriever)
    for name, recipe in systems:
        index.search(embeddings[0], recipe=recipe)  # loads kernels, which is no part of a query's time
        begin = time.perf_counter()
        # One more than needed: the document that bears the query's own id is dropped.
        rankings = index.search_batch(embeddings, DEPTH + 1, recipe=recipe, threads=threads, advance=advance)
        run: dict[str, list[tuple[str, float]]] = {}
        for query, embedding, ranking in zip(test.queries, embeddings, rankings, strict=True):
            run[query] = _by_document(ranking, document_of)
            depth = DEPTH + 1
            while document_of and len(run[query]) <= DEPTH and depth < len(index):
                depth *= 2
                again = index.search(embedding, min(depth, len(index)), recipe=recipe, threads=threads)
                run[query] = _by_document(again, document_of)
        yield _row(name, run, test, measures, time.perf_counter() - begin)


def _documents_of_parts(retriever: Retriever) -> dict[str, str]:
    """{passage: document} of the passages that were cut out of documents; the others are documents themselves."""
    return {passage.id: passage.part.document for passage in retriever.index.passages() if passage.part is not None}


def _by_document(ranking: Iterable[tuple[str, float]], document_of: Mapping[str, str]) -> list[tuple[str, float]]:
    """Each document once, with its best passage's score."""
    best: dict[str, float] = {}
    for passage, score in ranking:
        best.setdefault(document_of.get(passage, passage), score)
    return list(best.items())


def build_bm25(test: TestCollection) -> BM25:
    """BM25 over the corpus of a test collection.

    Raises:
        CollectionError: the folder has no ``corpus.jsonl``.
    """
    return BM25(open_collection(test.path / "corpus.jsonl"))


def measure_bm25(bm25: BM25, test: TestCollection, measures: Sequence[str]) -> Row:
    """Measure BM25 on a test collection."""
    begin = time.perf_counter()
    run = bm25.search(test.queries, DEPTH + 1)
    return _row("BM25", run, test, measures, time.perf_counter() - begin)


def check_same_documents(retriever: Retriever, test: TestCollection) -> None:
    """Refuse an index in which not one judged document can be found: it is of another collection.

    Raises:
        InputError: the index has no document that the judgements name.
    """
    judged = {document for judgements in test.qrels.values() for document in judgements}
    if judged.isdisjoint(retriever.index.ids()) and judged.isdisjoint(_documents_of_parts(retriever).values()):
        raise InputError(
            f"The index at {retriever.index.path} has no document that the judgements of {test.path} name: "
            "evaluate the collection that was indexed."
        )


def _row(name: str, run: Run, test: TestCollection, measures: Sequence[str], seconds: float) -> Row:
    kept = without_identical_ids(run, DEPTH)
    return Row(name, evaluate(kept, test.qrels, measures), seconds / max(1, len(test.queries)), kept)
