"""Files of runs in and out, and of judgements out (``qrels.py`` reads them).

==============  ========================================================================================================
``trec``        ``query Q0 document rank score tag``: TREC's runs
``msmarco``     ``query<TAB>document<TAB>rank``: MS MARCO's
``colbert``     ``query<TAB>document<TAB>rank<TAB>score``: ColBERT's rankings, and LoTTE's
``json``        ``{"query": {"document": score}}``: BEIR's and pytrec_eval's
==============  ========================================================================================================

``trec_eval`` sorts a run by its scores as 32-bit floats, equal ones by document id in descending order, and ignores the
column of ranks. So does reading a run here: the figures are its figures. In layouts without scores, ranks decide.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluation.notes import Note, counted, examples_of, quoted
from xtrkit.evaluation.runs import Run, falling
from xtrkit.texts.reading import read_lines
from xtrkit.whole_file import write_whole

LAYOUTS = ("trec", "msmarco", "colbert", "json")
"""Of files of runs."""


class FileRun(dict[str, list[tuple[str, float]]]):
    """A run as it was read: {query id: [(document id, score), …]}, best first.

    Attributes:
        notes: ties, ranks with gaps, ranks that come twice or say another order than the scores, documents that come
            twice; each with its first line and how many there are.
        tag: the system's name, where the file has one.
    """

    def __init__(
        self, rankings: Mapping[str, list[tuple[str, float]]], notes: Iterable[Note] = (), tag: str = ""
    ) -> None:
        super().__init__(rankings)
        self.notes = tuple(notes)
        self.tag = tag


_Line = tuple[int, str, int | None, float | None]
"""The number of a line (0 in JSON, which has none), and its document, rank and score, where it has these."""
_HIGHEST = 1e38
"""Scores beyond it, which 32 bits hardly hold, count as this one."""


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, in which a key may come twice."""


def read_run(path: str | Path) -> FileRun:
    """Read a run, of whichever of the :data:`LAYOUTS`; a file whose name ends in ``.gz`` is unpacked.

    Scores that 32 bits don't hold, infinite ones among them, count as the highest or the lowest.

    Raises:
        CollectionError: a line is of no layout, or of another than the first, or a score is no number (the sentence
            has the line); or there is no line.
    """
    path = Path(path)
    lines = read_lines(path)
    first = _first(path, lines)
    lines = chain([first], lines)
    if first[1].lstrip().startswith("{"):
        found, tag = _of_json(path, "\n".join(line for _, line in lines)), ""
    else:
        found, tag = _of_lines(path, len(_fields(first[1])), lines)
    return FileRun({query: _ranked(given) for query, given in found.items()}, _notes(found, path), tag)


def check_run(path: str | Path) -> None:
    """Refuse a file that does not begin as a run does, before work is done for it; what can be read once is left.

    Raises:
        CollectionError: it can't be read, or its first line is of no layout.
    """
    path = Path(path)
    if path.is_fifo():
        return
    number, text = _first(path, read_lines(path))
    if not text.lstrip().startswith("{") and len(_fields(text)) not in (3, 4, 6):
        raise _no_run(path, number, text)


_EXPECTED = (
    "'query Q0 document rank score tag' (TREC), 'query<TAB>document<TAB>rank' (MS MARCO), "
    "'query<TAB>document<TAB>rank<TAB>score' (ColBERT), or JSON"
)


def _of_lines(path: Path, columns: int, lines: Iterable[tuple[int, str]]) -> tuple[dict[str, list[_Line]], str]:
    """{query: its lines}, and the tag."""
    found: dict[str, list[_Line]] = {}
    tag, seconds = "", set[str]()
    for number, text in lines:
        fields = _fields(text)
        if len(fields) != columns or columns not in (3, 4, 6):
            raise _no_run(path, number, text)
        rank: int | None
        try:
            if columns == 6:
                query, _, document, written, score, tag = fields
                rank = int(written) if written.removeprefix("-").isdecimal() else None
            else:
                query, document, written = fields[:3]
                rank, score = _rank(written), fields[-1]
                seconds.add(document)
            line = number, document, rank, None if columns == 3 else _score(score)
        except ValueError as error:
            raise _no_run(path, number, text, f"{error}; ") from error
        if not query or not document:
            raise CollectionError(f"{path}, line {number}: the id of a query or of a document is empty.")
        found.setdefault(query, []).append(line)
    if columns == 4 and seconds in ({"0"}, {"Q0"}) and sum(map(len, found.values())) > 1:
        raise CollectionError(
            f"{path} looks like judgements (query 0 document relevance): expected a run, {_EXPECTED}."
        )
    return found, tag


def _of_json(path: Path, text: str) -> dict[str, list[_Line]]:
    """{query: its lines}."""
    try:
        record = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, _Pairs) or not all(_are_scores(ranking) for _, ranking in record):
        raise CollectionError(f'{path}: expected {{"query": {{"document": score}}}}, got {text[:80]!r}.')
    found: dict[str, list[_Line]] = {}
    try:
        for query, ranking in record:
            found.setdefault(query, []).extend((0, name, None, _score(score)) for name, score in ranking)
    except ValueError as error:
        raise CollectionError(f"{path}: {error}.") from error
    return found


def _are_scores(ranking: object) -> bool:
    return isinstance(ranking, _Pairs) and all(
        isinstance(score, int | float) and not isinstance(score, bool) for _, score in ranking
    )


def _first(path: Path, lines: Iterator[tuple[int, str]]) -> tuple[int, str]:
    first = next(lines, None)
    if first is None:
        raise CollectionError(f"{path} has no lines: expected a run, {_EXPECTED}.")
    return first


def _fields(text: str) -> list[str]:
    """The columns of a line: apart by white space, or by tabs alone, between which ids and tags may have blanks."""
    bare = text.split()
    if len(bare) != 6 and text.count("\t") in (2, 3, 5):
        return [field.strip() for field in text.split("\t")]
    return bare


def _rank(written: str) -> int:
    try:
        return int(written)
    except ValueError as error:
        raise ValueError(f"the rank {written!r:.40} is no whole number") from error


def _score(written: str | float) -> float:
    """A score as far as 32 bits hold it."""
    try:
        score = float(written)
    except (ValueError, OverflowError):  # the latter of whole numbers with hundreds of digits
        score = math.nan
    if math.isnan(score):
        raise ValueError(f"the score {written!r:.40} is no number")
    return max(-_HIGHEST, min(score, _HIGHEST))


def _no_run(path: Path, number: int, text: str, why: str = "") -> CollectionError:
    fields = text.split()
    hint = " It looks like judgements." if len(fields) == 4 and fields[1] in ("0", "Q0") else ""
    return CollectionError(f"{path}, line {number}: {why}expected {_EXPECTED}, got {text[:120]!r}.{hint}")


def _ranked(lines: Sequence[_Line]) -> list[tuple[str, float]]:
    """A ranking as trec_eval orders it; where there are no scores, by the ranks, with scores that follow them."""
    scores = np.array([-float(rank or 0) if score is None else score for *_, rank, score in lines])
    documents = [document for _, document, *_ in lines]
    order = np.arange(len(lines))
    if lines and lines[0][3] is not None:  # of equal scores, the document with the higher id comes first
        order = np.array(sorted(order.tolist(), key=documents.__getitem__, reverse=True))
    order = order[np.argsort(-scores[order].astype(np.float32), kind="stable")]
    best: dict[str, float] = {}
    for place, score in zip(order.tolist(), scores[order].tolist(), strict=True):
        best.setdefault(documents[place], score)
    return list(best.items())


_TOLD = {
    "run_ties": "scores that are equal within a query: ordered by document id, descending, as trec_eval does",
    "run_rank_order": "ranks that say another order than the scores: scores count, as in trec_eval",
    "run_rank_gaps": "ranks that leave some out",
    "run_duplicate_ranks": "ranks that come twice in a query",
    "run_documents_twice": "documents that come twice in a query: they count where they rank higher",
}


def _notes(found: Mapping[str, Sequence[_Line]], path: Path) -> list[Note]:
    """What is odd in the lines of a run, with its first line and how many there are."""
    seen: dict[str, dict[str, list[int]]] = {kind: {} for kind in _TOLD}
    for query, lines in found.items():
        for kind, numbers in _odd(lines).items():
            if numbers:
                seen[kind][query] = numbers
    notes = []
    for kind, what in _TOLD.items():
        if of_queries := seen[kind]:
            n, first = sum(map(len, of_queries.values())), min(map(min, of_queries.values()))
            where = f"{counted(n, 'line')}, the first line {first:,}" if first else counted(n, "time")
            queries = f"{counted(len(of_queries), 'query')} {quoted(of_queries)}"
            facts = {"lines": n, "first_line": first or None, "queries": len(of_queries)}
            sentence = f"{path.name} has {what} ({where}; {queries})."
            notes.append(Note(kind, {**facts, "examples": examples_of(of_queries)}, sentence))
    return notes


def _odd(lines: Sequence[_Line]) -> dict[str, list[int]]:
    """{kind: numbers of the lines} of one query in which something is odd."""
    twice = _again([document for _, document, *_ in lines])
    odd = {"run_documents_twice": [lines[place][0] for place in twice]}
    once = [line for place, line in enumerate(lines) if place not in set(twice)] if twice else lines
    scores = np.array([score for *_, score in once if score is not None], np.float32)
    odd["run_ties"] = [once[place][0] for place in _again(scores.tolist())]
    return odd | _odd_ranks([line for line in lines if line[2] is not None])


def _odd_ranks(lines: Sequence[_Line]) -> dict[str, list[int]]:
    """The same of ranks, which all lines have."""
    ranks = np.array([rank for *_, rank, _ in lines])
    order = np.argsort(ranks, kind="stable")
    steps, later = np.diff(ranks[order]), np.array([number for number, *_ in lines])[order][1:]
    scores = np.array([-np.inf if score is None else score for *_, score in lines])[order]
    rising = (scores[1:] > scores[:-1]) & (steps != 0)
    odd = {"run_rank_order": rising, "run_rank_gaps": steps > 1, "run_duplicate_ranks": steps == 0}
    return {kind: later[found].tolist() for kind, found in odd.items()}


def _again(values: Sequence[object]) -> list[int]:
    """The places of values that came before."""
    first: dict[object, int] = {}
    for place, value in enumerate(values):
        first.setdefault(value, place)
    return [] if len(first) == len(values) else [n for n, value in enumerate(values) if first[value] != n]


def check_run_ids(ids: Iterable[str]) -> None:
    """Refuse ids that TREC's formats can't hold, whose columns are apart by white space.

    Raises:
        InputError: an id has white space, or is empty.
    """
    for identifier in ids:
        if len(identifier.split()) != 1 or identifier.strip() != identifier:
            has = "has white space" if identifier else "is empty"
            raise InputError(f"The id {identifier!r} {has}, which a TREC run can't hold: choose --layout json.")


def any_ids(ids: Iterable[str]) -> None:
    """Take all ids, as JSON does."""


def check_of(layout: str) -> Callable[[Iterable[str]], None]:
    """What refuses the ids that a layout can't hold."""
    return any_ids if layout == "json" else check_run_ids


def write_qrels(qrels: Mapping[str, Mapping[str, int]], path: str | Path) -> None:
    """Write judgements as TREC qrels: ``query 0 document relevance``."""
    check_run_ids([*qrels, *(document for judged in qrels.values() for document in judged)])
    lines = [
        f"{query} 0 {document} {relevance}\n"
        for query, judged in qrels.items()
        for document, relevance in judged.items()
    ]
    write_whole(path, "".join(lines))


def check_layout(layout: str) -> None:
    """Refuse a layout of runs that there is not.

    Raises:
        InputError: there is none of that name.
    """
    if layout not in LAYOUTS:
        raise InputError(f"Unknown layout of runs {layout!r}: use one of {', '.join(LAYOUTS)}.")


def write_run(run: Run, path: str | Path, tag: str = "xtrkit", layout: str = "trec") -> None:
    """Write a run whose scores fall strictly, so that whoever sorts by them gets the ranking.

    Args:
        run: the rankings.
        path: the file.
        tag: the last column of TREC's layout, the name of the system.
        layout: one of :data:`LAYOUTS`.

    Raises:
        InputError: an id or the tag has white space, which the layout can't hold.
    """
    check_layout(layout)
    check_of(layout)([tag, *run, *(document for ranking in run.values() for document, _ in ranking)])
    if layout == "json":
        found = {query: dict(falling(ranking)) for query, ranking in run.items()}
        text = json.dumps(found, ensure_ascii=False) + "\n"
    else:
        form = {
            "trec": "{query} Q0 {document} {rank} {score:.9g} {tag}\n",
            "msmarco": "{query}\t{document}\t{rank}\n",
            "colbert": "{query}\t{document}\t{rank}\t{score:.9g}\n",
        }[layout]
        text = "".join(
            form.format(query=query, document=document, rank=rank, score=score, tag=tag)
            for query, ranking in run.items()
            for rank, (document, score) in enumerate(falling(ranking), start=1)
        )
    write_whole(path, text)
