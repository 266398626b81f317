"""Rankings, and what drops out of them before they are measured; ``run_files.py`` reads and writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from xtrkit.evaluation.qrels import Qrels

Named = TypeVar("Named")
Run = Mapping[str, Sequence[tuple[str, float]]]
"""{query id: [(document id, score), …]}, best first"""


def falling(ranking: Iterable[tuple[Named, float]]) -> Iterator[tuple[Named, float]]:
    """A ranking with scores that fall strictly, so that whoever sorts by them gets the ranking.

    ``trec_eval`` ignores ranks and sorts by score as a 32-bit float, equal scores by document id in descending order;
    so does all that computes with it: pytrec_eval, ir-measures, and so MTEB, BEIR and PyTerrier. A score that does not
    fall therefore becomes the next smaller float.
    """
    previous = np.float32(np.inf)
    for document, score in ranking:
        previous = min(np.float32(score), np.nextafter(previous, np.float32(-np.inf)))
        yield document, float(previous)


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
