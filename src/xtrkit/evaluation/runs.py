"""Rankings, and what drops out of them before they are measured; ``run_files.py`` reads and writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xtrkit.evaluation.qrels import Qrels

Run = Mapping[str, Sequence[tuple[str, float]]]
"""{query id: [(document id, score), …]}, best first"""


def without_identical_ids(run: Run, qrels: Qrels, depth: int) -> dict[str, list[tuple[str, float]]]:
    """Drop documents that bear the id of the query, as BEIR does (they are the query itself), then cut to a depth.

    A document that is judged relevant to the query stays: it is an answer, not the query.
    """
    return {
        query: [(document, score) for document, score in ranking if document != query or _is_answer(query, qrels)][
            :depth
        ]
        for query, ranking in run.items()
    }


def identical_ids(run: Run, qrels: Qrels) -> tuple[list[str], list[str]]:
    """Queries whose ranking has a document of their own id: those where it is dropped, and those where it stays."""
    found = [query for query, ranking in run.items() if any(document == query for document, _ in ranking)]
    kept = [query for query in found if _is_answer(query, qrels)]
    return [query for query in found if query not in set(kept)], kept


def _is_answer(query: str, qrels: Qrels) -> bool:
    return qrels.get(query, {}).get(query, 0) > 0
