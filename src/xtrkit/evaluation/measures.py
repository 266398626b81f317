"""Measures such as nDCG@10 and R@100, computed by ``ir-measures`` (and ``pytrec_eval`` behind it)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xtrkit.errors import InputError, missing_extra
from xtrkit.evaluation.beir import Qrels
from xtrkit.evaluation.runs import Run

DEFAULT_MEASURES = ("nDCG@10", "R@100")


def parse_measures(text: str) -> list[str]:
    """Names of measures, apart from each other by white space or commas, as ir-measures writes them.

    Raises:
        InputError: there is none, or one that ir-measures doesn't know or can't compute here.
        MissingExtraError: ir-measures isn't installed.
    """
    names = list(dict.fromkeys(text.replace(",", " ").split()))
    if not names:
        raise InputError("No measures were given: name some, such as 'nDCG@10 R@100 RR@10'.")
    for name in names:
        _check(name)
    return names


def evaluate(run: Run, qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES) -> dict[str, float]:
    """The mean of each measure over all judged queries; a query that the run has no answer for counts as 0.

    Ranks decide, not scores: where two scores are equal, the order of the run stands, which ``trec_eval`` would not
    promise.
    """
    each = of_each_query(run, qrels, measures)
    return {name: sum(values.values()) / len(qrels) for name, values in each.items()}


def of_each_query(run: Run, qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES) -> dict[str, dict[str, float]]:
    """{measure: {query: value}}, as :func:`evaluate` averages them."""
    ir_measures = _ir_measures()
    parsed = {name: ir_measures.parse_measure(name) for name in measures}
    ranked = {
        query: {document: float(-rank) for rank, (document, _) in enumerate(run.get(query, ()))} for query in qrels
    }
    found = {measure: dict.fromkeys(qrels, 0.0) for measure in parsed.values()}  # of which some have two names
    for metric in ir_measures.iter_calc(list(found), qrels, ranked):
        found[metric.measure][metric.query_id] = metric.value
    return {name: found[measure] for name, measure in parsed.items()}


def _check(name: str) -> None:
    """Compute a measure of one document, so that one that can't be computed is told before hours of searching."""
    refused = InputError(f"Unknown measure {name!r}: use names such as nDCG@10, R@100, RR@10, AP, Success@5.")
    ir_measures = _ir_measures()
    try:
        cutoff = ir_measures.parse_measure(name).params.get("cutoff", 1)
        if isinstance(cutoff, int) and cutoff >= 1:
            evaluate({"q": [("d", 1.0)]}, {"q": {"d": 1}}, [name])
            return
    except Exception as error:  # its parser and the programs behind its measures raise errors of many kinds
        raise refused from error
    raise refused


def _ir_measures() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise missing_extra("Evaluation", "eval") from error
    return ir_measures
