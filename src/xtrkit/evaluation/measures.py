"""Measures such as nDCG@10 and R@100, computed by ``ir-measures`` (and ``pytrec_eval`` behind it).

One is added to its own: ``R_cap@k``, BEIR's capped recall, relevant documents found over min(k, relevant documents). It
is what the published R@100 of TREC-COVID is, of whose queries each has hundreds of relevant documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from xtrkit.errors import InputError, missing_extra
from xtrkit.evaluation.ids import Trimming, trimmed
from xtrkit.evaluation.notes import Note, counted, examples_of, quoted
from xtrkit.evaluation.qrels import Qrels, grade_of, note_without_relevant, without_relevant
from xtrkit.evaluation.runs import Run

DEFAULT_MEASURES = ("nDCG@10", "R@100")
LEAST_DEPTH = 100
"""Documents that are found for each query whatever is measured, so that runs and times of searching compare."""
WITHOUT_CUTOFF = 1000
"""Documents that a measure without a cut-off sees, such as AP, RR and nDCG: trec_eval's own depth."""
_NAME = re.compile(r"(?:[^\s,(]|\([^)]*\)?)+")
_CAPPED = re.compile(r"R_cap@([1-9][0-9]{0,8})")


def parse_measures(text: str) -> list[str]:
    """Names of measures, apart from each other by white space or commas, as ir-measures writes them.

    Those of ``trec_eval`` (``map``, ``ndcg_cut_10``) are taken, too.

    Raises:
        InputError: there is none, or one that ir-measures doesn't know or can't compute here.
        MissingExtraError: ir-measures isn't installed.
    """
    written = _NAME.findall(text)
    names = list(dict.fromkeys(name for one in written for name in _by_our_names(one)))
    if not names:
        raise InputError("No measures were given: name some, such as 'nDCG@10 R@100 RR@10'.")
    for name in names:
        _check(name)
    return names


class Figures(dict[str, float]):
    """{measure: value}, with what must be known to read them.

    Attributes:
        notes: queries without a relevant document, rankings that end before a measure's cut-off, and their like.
    """

    def __init__(self, figures: Mapping[str, float], notes: Iterable[Note] = ()) -> None:
        super().__init__(figures)
        self.notes = tuple(notes)


def evaluate(run: Run, qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES) -> Figures:
    """The mean of each measure over all judged queries; a query that the run has no answer for counts as 0.

    Measures that count (NumQ, NumRet, NumRel) are sums, as in ``trec_eval``. Ranks decide, not scores: where two scores
    are equal, the order of the run stands, which ``trec_eval`` would not promise. A document that comes twice in a
    ranking counts where it comes first.

    Raises:
        InputError: there are no judgements, or a relevance is no whole number.
    """
    if not qrels:
        raise InputError("There are no judgements: a mean needs at least one judged query.")
    means = means_of(of_each_query(run, qrels, measures))
    return Figures(means, [*notes_on_judgements(qrels, measures), *notes_on_run(run, qrels, measures)])


def means_of(of_each: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """{measure: mean over the queries}, the sum for measures that count."""
    means = {}
    for name, values in of_each.items():
        aggregate = _parsed(_mean_like(name)).aggregator()
        for value in values.values():
            aggregate.add(value)
        means[name] = float(aggregate.result())
    return means


def of_each_query(run: Run, qrels: Qrels, measures: Sequence[str] = DEFAULT_MEASURES) -> dict[str, dict[str, float]]:
    """{measure: {query: value}}, as :func:`evaluate` averages them."""
    parsed = {name: _parsed(name) for name in measures if not _CAPPED.fullmatch(name)}
    judged, answers = {}, {trimmed(query): ranking for query, ranking in run.items()}
    ranked: dict[str, dict[str, float]] = {}
    for query, grades in qrels.items():
        judged[query] = _checked_grades(query, grades)
        ranked[query] = {}
        for rank, (document, _) in enumerate(answers.get(trimmed(query), ())):
            ranked[query].setdefault(trimmed(document), float(-rank))
    found = {measure: dict.fromkeys(qrels, 0.0) for measure in parsed.values()}  # of which some have two names
    for measures_alike, queries in _computable(list(found), judged, ranked):
        of_these = {query: judged[query] for query in queries}
        answers_of = {query: ranked[query] for query in queries}
        for metric in _ir_measures().iter_calc(measures_alike, of_these, answers_of):
            found[metric.measure][metric.query_id] = metric.value
    return {name: found[parsed[name]] if name in parsed else _capped_recall(name, judged, ranked) for name in measures}


def _computable(
    measures: Sequence[Any], judged: Mapping[str, Mapping[str, int]], ranked: Mapping[str, Mapping[str, float]]
) -> Iterator[tuple[list[Any], Sequence[str]]]:
    """Measures with the queries that they can be computed for: two divide by what may be nothing."""
    answered = [query for query, ranking in ranked.items() if ranking]
    relevant = [query for query in answered if any(grade > 0 for grade in judged[query].values())]
    special: dict[str, Sequence[str]] = {"Judged": answered, "Compat": relevant}
    for name, queries in {**special, "": list(judged)}.items():
        alike = [measure for measure in measures if (measure.NAME if measure.NAME in special else "") == name]
        if alike and queries:
            yield alike, queries


def _capped_recall(
    name: str, judged: Mapping[str, Mapping[str, int]], ranked: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """R_cap@k of each query; ranked documents are in the order of their ranks."""
    cutoff, of_each = _cutoff(name) or 0, {}
    for query, grades in judged.items():
        relevant = {document for document, grade in grades.items() if grade > 0}
        most = min(cutoff, len(relevant))
        of_each[query] = len(relevant.intersection(list(ranked[query])[:cutoff])) / most if most else 0.0
    return of_each


def depth_of(measures: Iterable[str]) -> int:
    """How many documents of each query must be found, so that no measure sees fewer than it asks for.

    The largest cut-off, and at least :data:`LEAST_DEPTH`; :data:`WITHOUT_CUTOFF` for measures that have none, or that
    cut off after some judged documents.
    """
    return max([LEAST_DEPTH, *(_depth(name) for name in measures)])


def cutoff_of(name: str) -> int | None:
    """A measure's cut-off: 10 of nDCG@10; None where it has none."""
    return _cutoff(name)


def notes_on_judgements(qrels: Qrels, measures: Sequence[str]) -> list[Note]:
    """Queries that no system can gain anything for, by any measure, and by measures that ask for a higher grade."""
    notes = note_without_relevant(qrels)
    least = {name: _parsed(_mean_like(name)).params.get("rel", 1) for name in measures}
    higher = {name: found for name, grade in least.items() if grade > 1 and (found := without_relevant(qrels, grade))}
    if higher:
        told = "; ".join(f"{name}: {len(found):,} of {len(qrels):,} queries" for name, found in higher.items())
        facts = {name: {"queries": len(found), "examples": examples_of(found)} for name, found in higher.items()}
        sentence = f"Queries without a document of the grade that a measure asks for count as 0 in it ({told})."
        notes.append(Note("queries_without_grade", facts, sentence))
    return notes


def notes_on_run(run: Run, qrels: Qrels, measures: Sequence[str]) -> list[Note]:
    """What of a run did not count as it stands: missing queries, documents that come twice, rankings cut off early."""
    trim = Trimming()
    answers = {trim(query): ranking for query, ranking in run.items()}
    judged = dict.fromkeys(map(trim, qrels))
    answered = {query: ranking for query, ranking in answers.items() if query in judged}
    places = {query: [trim(document) for document, _ in ranking] for query, ranking in answered.items()}
    for grades in qrels.values():
        for document in grades:
            trim(document)
    longest = max(map(len, places.values()), default=0)
    short = {name: cutoff for name in measures if (cutoff := cutoff_of(name)) and cutoff > longest > 0}
    notes = [
        trim.notes("run_and_judgements", "of the run and the judgements", alone=False),
        _of_queries("unanswered_queries", [q for q in judged if not answers.get(q)],
                    "Without an answer in the run, and counted as 0: {} {}."),
        _of_queries("unjudged_queries_in_run", [query for query in answers if query not in judged],
                    "In the run without judgements, and not counted: {} {}."),
        _of_queries("documents_twice", [query for query, found in places.items() if len(set(found)) < len(found)],
                    "With a document twice in the ranking, counted where it comes first: {} {}."),
        _of_queries("rising_scores", [query for query, ranking in answered.items() if _rises(ranking)],
                    "With scores that do not fall, where the order counts all the same: {} {}."),
    ]  # fmt: skip
    if short:
        sentence = (
            f"The longest ranking has {counted(longest, 'document')}: {', '.join(short)} "
            f"{'sees' if len(short) == 1 else 'see'} no more than these."
        )
        notes.append([Note("short_rankings", {"longest": longest, "measures": list(short)}, sentence)])
    return [note for found in notes for note in found]


def _of_queries(kind: str, queries: Sequence[str], sentence: str) -> list[Note]:
    if not queries:
        return []
    told = sentence.format(counted(len(queries), "query"), quoted(queries))
    return [Note(kind, {"queries": len(queries), "examples": examples_of(queries)}, told)]


def _rises(ranking: Sequence[tuple[str, float]]) -> bool:
    return any(later > earlier for (_, earlier), (_, later) in pairwise(ranking))


def _checked_grades(query: str, grades: Mapping[str, object]) -> dict[str, int]:
    found: dict[str, int] = {}
    for document, written in grades.items():
        grade, name = grade_of(written), trimmed(document)
        if grade is None:
            raise InputError(
                f"The relevance of {document!r} for the query {query!r} must be a whole number, got {written!r}."
            )
        found[name] = max(grade, found.get(name, grade))
    return found


def _depth(name: str) -> int:
    cutoff = _cutoff(name) or WITHOUT_CUTOFF
    return max(cutoff, WITHOUT_CUTOFF) if _parsed(_mean_like(name)).params.get("judged_only") else cutoff


def _cutoff(name: str) -> int | None:
    if capped := _CAPPED.fullmatch(name):
        return int(capped[1])
    cutoff: int | None = _parsed(name).params.get("cutoff")
    return cutoff


def _mean_like(name: str) -> str:
    """A measure of ir-measures that has the same parameters and is averaged alike."""
    return name.replace("R_cap", "R") if _CAPPED.fullmatch(name) else name


def _parsed(name: str) -> Any:
    return _ir_measures().parse_measure(name)


def _by_our_names(name: str) -> list[str]:
    """A name of trec_eval's as ir-measures has it, which may be several: ``ndcg_cut`` is at many cut-offs."""
    try:
        return [str(measure) for measure in _ir_measures().parse_trec_measure(name)]
    except ValueError:
        return [name]


def _check(name: str) -> None:
    """Compute a measure of one document, so that one that can't be computed is told before hours of searching."""
    refused = InputError(
        f"Unknown measure {name!r}, or one that can't be computed here: use names such as nDCG@10, R@100, RR@10, AP, "
        "Success@5."
    )
    _ir_measures()
    try:
        cutoff = 1 if (found := _cutoff(name)) is None else found
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
