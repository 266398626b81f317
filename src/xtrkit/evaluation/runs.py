"""TREC's formats: runs (``query Q0 document rank score tag``) in and out, qrels out (``qrels.py`` reads them)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluation.qrels import Qrels
from xtrkit.texts.reading import read_lines

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


def check_run_ids(ids: Iterable[str]) -> None:
    """Refuse ids that TREC's formats can't hold, whose columns are apart by white space.

    Raises:
        InputError: an id has white space, or is empty.
    """
    for identifier in ids:
        if len(identifier.split()) != 1 or identifier.strip() != identifier:
            raise InputError(f"The id {identifier!r} has white space, which a TREC run can't hold: leave out --run.")


def write_qrels(qrels: Mapping[str, Mapping[str, int]], path: str | Path) -> None:
    """Write judgements as TREC qrels: ``query 0 document relevance``."""
    check_run_ids([*qrels, *(document for judged in qrels.values() for document in judged)])
    lines = [
        f"{query} 0 {document} {relevance}\n"
        for query, judged in qrels.items()
        for document, relevance in judged.items()
    ]
    Path(path).write_text("".join(lines), encoding="utf-8")


def falling(scores: Iterable[float]) -> list[float]:
    """Scores of a ranking as 32-bit floats that fall strictly, so that whoever sorts by them gets the ranking.

    ``trec_eval``, and what computes with it (pytrec_eval, and so MTEB, BEIR, ir-measures and PyTerrier), sorts by score
    as a 32-bit float, equal scores by document id in descending order: a score that does not fall becomes the next
    smaller float.
    """
    fallen, previous = [], np.float32(np.inf)
    for score in scores:
        previous = min(np.float32(score), np.nextafter(previous, np.float32(-np.inf)))
        fallen.append(float(previous))
    return fallen


def write_run(run: Run, path: str | Path, tag: str = "xtrkit") -> None:
    """Write a TREC run whose scores fall strictly (:func:`falling`): ``trec_eval`` ignores the rank column."""
    check_run_ids([*run, *(document for ranking in run.values() for document, _ in ranking)])
    lines = []
    for query, ranking in run.items():
        scores = falling(score for _, score in ranking)
        for rank, ((document, _), score) in enumerate(zip(ranking, scores, strict=True), start=1):
            lines.append(f"{query} Q0 {document} {rank} {score:.9g} {tag}\n")
    Path(path).write_text("".join(lines), encoding="utf-8")


def read_run(path: str | Path) -> dict[str, list[tuple[str, float]]]:
    """Read a TREC run, each ranking in the order of its scores; equal scores in the order of the file.

    Raises:
        CollectionError: a line isn't ``query Q0 document rank score tag``.
    """
    run: dict[str, list[tuple[str, float]]] = {}
    for number, line in read_lines(Path(path)):
        try:
            query, _, document, _, score, _ = line.split()
            if not math.isfinite(float(score)):
                raise ValueError(score)
            run.setdefault(query, []).append((document, float(score)))
        except ValueError as error:
            raise CollectionError(
                f"{path}, line {number}: expected 'query Q0 document rank score tag', got {line!r}."
            ) from error
    return {query: sorted(ranking, key=lambda entry: -entry[1]) for query, ranking in run.items()}
