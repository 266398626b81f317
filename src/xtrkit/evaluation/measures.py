"""Measures such as nDCG@10 and R@100, computed by ``ir-measures`` (and ``pytrec_eval`` behind it)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xtrkit.errors import InputError, MissingExtraError
from xtrkit.evaluation.beir import Qrels
from xtrkit.evaluation.runs import Run

DEFAULT_MEASURES = ("nDCG@10", "R@100")


def parse_measures(text: str) -> list[str]:
    """Names of measures, apart from each other by white space or commas, as ir-measures writes them.

    Raises:
        InputError: there is none, or ir-measures doesn't know one.
        MissingExtraError: ir-measures isn't installed.
    """
    names = text.replace(",", " ").split()
    if not names:
        raise InputError("No measures were given: name some, such as 'nDCG@10 R@100 RR@10'.")
    for name in names:
        _parse(name)
    return names


def evaluate(run: Run, qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES) -> dict[str, float]:
    """The mean of each measure over all judged queries; a query that the run has no answer for counts as 0.

    Ranks decide, not scores: where two scores are equal, the order of the run stands, which ``trec_eval`` would not
    promise.
    """
    ir_measures = _ir_measures()
    parsed = {_parse(name): name for name in measures}
    ranked = {
        query: {document: float(-rank) for rank, (document, _) in enumerate(run.get(query, ()))} for query in qrels
    }
    totals = dict.fromkeys(measures, 0.0)
    for metric in ir_measures.iter_calc(list(parsed), qrels, ranked):
        totals[parsed[metric.measure]] += metric.value
    return {name: total / len(qrels) for name, total in totals.items()}


def _parse(name: str) -> Any:
    ir_measures = _ir_measures()
    try:
        return ir_measures.parse_measure(name)
    except (ValueError, NameError, SyntaxError) as error:
        raise InputError(
            f"Unknown measure {name!r}: use names such as nDCG@10, R@100, RR@10, AP, Success@5."
        ) from error


def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtraError('Evaluation needs ir-measures: pip install "xtrkit[eval]".') from error
    return ir_measures
