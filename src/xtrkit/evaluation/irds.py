"""Queries and judgements of ir_datasets: by name (``irds:beir/scifact/test``), or of a dataset that was loaded.

A dataset that says how it is officially measured is measured so; those of BEIR are measured as their folders are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xtrkit.errors import CollectionError
from xtrkit.evaluation.beir import rules_of
from xtrkit.evaluation.collection import Protocol, TestCollection, asked
from xtrkit.evaluation.ids import trimmed
from xtrkit.evaluation.measures import DEFAULT_MEASURES
from xtrkit.evaluation.notes import Note
from xtrkit.evaluation.qrels import Judgements, Qrels
from xtrkit.texts.irds import given_by, loaded
from xtrkit.texts.reading import IRDS

UNNAMED = "dataset"
"""What a dataset that was made of files is called."""


def read_irds(dataset: Any) -> TestCollection:
    """Read queries and judgements.

    Args:
        dataset: a name such as "beir/scifact/test", or what ``ir_datasets.load`` and ``create_dataset`` give.

    Raises:
        CollectionError: there is none, it lacks queries or judgements, or it can't be had.
        MissingExtraError: ir_datasets isn't installed.
    """
    if isinstance(dataset, str):
        dataset = loaded(dataset.removeprefix(IRDS))
    name = dataset.dataset_id() if hasattr(dataset, "dataset_id") else UNNAMED
    path = Path(f"{IRDS}{name}")
    if not (dataset.has_queries() and dataset.has_qrels()):
        raise CollectionError(
            f"{dataset!r} lacks {'queries' if not dataset.has_queries() else 'judgements'}: give a dataset that has "
            "both, such as irds:beir/scifact/test."
        )
    with given_by(dataset, "queries"):
        texts = {trimmed(query.query_id): query.default_text() for query in dataset.queries_iter()}
    qrels: Qrels = {}
    with given_by(dataset, "judgements"):
        for query, document, grade in ((one.query_id, one.doc_id, one.relevance) for one in dataset.qrels_iter()):
            of_query = qrels.setdefault(trimmed(query), {})
            of_query[trimmed(document)] = max(grade, of_query.get(trimmed(document), grade))
    queries, notes = asked(texts, Judgements(qrels), path, path)
    protocol, of_set = _rules(dataset, name, qrels)
    corpus = path if name != UNNAMED and dataset.has_docs() else None
    return TestCollection(
        path, queries, qrels, (*notes, *of_set), protocol, name, corpus, index_name=name.replace("/", "-")
    )


def _rules(dataset: Any, name: str, qrels: Qrels) -> tuple[Protocol, list[Note]]:
    """How it is measured, and what must be known of this version of it."""
    of, *parts = name.split("/")
    if of == "beir" and parts:
        return rules_of(parts[0], parts[-1], qrels)
    official = dataset.documentation().get("official_measures") if hasattr(dataset, "documentation") else None
    return Protocol("ir_datasets", tuple(map(str, official or DEFAULT_MEASURES))), []
