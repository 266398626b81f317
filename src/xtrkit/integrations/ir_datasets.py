"""ir_datasets in and out: an index answers a dataset's queries, in the records that ir_datasets and ir-measures take.

::

    dataset = ir_datasets.load("beir/scifact/test")
    retriever = Retriever.create("idx", dataset)
    ir_measures.calc_aggregate([nDCG @ 10], dataset.qrels_iter(), scored_docs(retriever, dataset))

What is read by name needs nothing of this module: ``xtrkit index irds:beir/scifact idx``, and ``xtrkit evaluate idx
irds:beir/scifact/test``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xtrkit.errors import CollectionError, missing_extra
from xtrkit.evaluation.runs import Run, falling
from xtrkit.integrations.answering import check_choices, rankings
from xtrkit.integrations.opening import opened_here
from xtrkit.recipes import check_k
from xtrkit.retriever import Retriever
from xtrkit.texts.irds import given_by, loaded
from xtrkit.texts.reading import IRDS

try:
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import BaseScoredDocs, GenericScoredDoc
except ImportError as error:
    raise missing_extra("Records of ir_datasets", "irds") from error

DEFAULT_K = 1000
"""How many documents runs of TREC have for each query."""


def scored_docs(
    index: str | Path | Retriever, dataset: Any, k: int = DEFAULT_K, **choices: Any
) -> Iterator[GenericScoredDoc]:
    """Search for all queries of a dataset: (query_id, doc_id, score), query after query and best first.

    Args:
        index: its path, or a retriever.
        dataset: what ``ir_datasets.load`` or ``create_dataset`` gives, or a name.
        k: how many documents for each query.
        **choices: keyword arguments of :meth:`xtrkit.Retriever.search`.

    Raises:
        InputError: k or a choice can't be used.
        CollectionError: the dataset has no queries, or they can't be had.
    """
    return _of_run(run_of(index, dataset, k, **choices))


def run_of(index: str | Path | Retriever, dataset: Any, k: int = DEFAULT_K, **choices: Any) -> Run:
    """As :func:`scored_docs`, as {query: [(document, score), …]}, which :func:`xtrkit.evaluation.write_run` writes."""
    check_k(k)
    check_choices(choices)
    dataset = _dataset(dataset)
    if not dataset.has_queries():
        raise CollectionError(f"{dataset!r} has no queries: give a dataset that has some.")
    with given_by(dataset, "queries"):
        queries = [(query.query_id, query.default_text()) for query in dataset.queries_iter()]
    found = rankings(opened_here(index), queries, k, choices)
    return {query: ranking for (query, _), ranking in zip(queries, found, strict=True)}


def with_run(dataset: Any, run: Run) -> Any:
    """A dataset with a run as its ``scoreddocs``, for what ranks candidates anew.

    Args:
        dataset: what ``ir_datasets.load`` or ``create_dataset`` gives, or a name.
        run: {query: [(document, score), …]}, best first, from :func:`run_of` or :func:`xtrkit.evaluation.read_run`.
    """
    return Dataset(_ScoredDocs(run), _dataset(dataset))


class _ScoredDocs(BaseScoredDocs):
    """A run that is in memory."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def scoreddocs_path(self, force: bool = True) -> None:
        """There is no file."""

    def scoreddocs_iter(self) -> Iterator[GenericScoredDoc]:
        return _of_run(self._run)


def _of_run(run: Run) -> Iterator[GenericScoredDoc]:
    for query, ranking in run.items():
        for document, score in falling(ranking):
            yield GenericScoredDoc(query, document, score)


def _dataset(given: Any) -> Any:
    if isinstance(given, str):
        return loaded(given.removeprefix(IRDS))
    if not hasattr(given, "has_queries"):
        raise CollectionError(f"A dataset is given by its name, or as ir_datasets.load gives it, got {given!r:.60}.")
    return given
