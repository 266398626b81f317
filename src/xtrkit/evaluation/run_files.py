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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

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


class _Line(NamedTuple):
    number: int
    document: str
    rank: int | None
    score: float | None


def read_run(path: str | Path) -> FileRun:
    """Read a run, of whichever of the :data:`LAYOUTS`; a file whose name ends in ``.gz`` is unpacked.

    Raises:
        CollectionError: a line is of no layout, or of another than the first, or a score is no number (the sentence
            has the line); or there is no line.
    """
    path = Path(path)
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise CollectionError(f"{path} has no lines: expected a run, {_EXPECTED}.")
    if first[1].lstrip().startswith("{"):
        return _of_json(path, "\n".join([first[1], *(line for _, line in lines)]))
    found: dict[str, list[_Line]] = {}
    tag, seconds = "", set[str]()
    columns = _columns_of(path, *first)
    for number, text in _with_first(first, lines):
        fields = text.split("\t") if columns != 6 and "\t" in text else text.split()
        if len(fields) != columns:
            raise _no_run(path, number, text)
        seconds.add(fields[1])
        query, line = _parsed(path, number, text, [field.strip() for field in fields])
        found.setdefault(query, []).append(line)
        tag = tag or (fields[5] if columns == 6 else "")
    if columns == 4 and seconds in ({"0"}, {"Q0"}) and sum(map(len, found.values())) > 1:
        raise CollectionError(
            f"{path} looks like judgements (query 0 document relevance): expected a run, {_EXPECTED}."
        )
    return FileRun({query: _ranked(given) for query, given in found.items()}, _notes(found, path), tag)


_EXPECTED = (
    "'query Q0 document rank score tag' (TREC), 'query<TAB>document<TAB>rank' (MS MARCO), "
    "'query<TAB>document<TAB>rank<TAB>score' (ColBERT), or JSON"
)


def _with_first(first: tuple[int, str], others: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from others


def _columns_of(path: Path, number: int, text: str) -> int:
    columns = len(text.split())
    if columns not in (3, 4, 6):
        raise _no_run(path, number, text)
    return columns


def _parsed(path: Path, number: int, text: str, fields: list[str]) -> tuple[str, _Line]:
    try:
        if len(fields) == 6:
            query, _, document, rank, score, _ = fields
            line = _Line(number, document, int(rank) if rank.lstrip("-").isdecimal() else None, float(score))
        else:
            query, document, rank, *scores = fields
            line = _Line(number, document, int(rank), float(scores[0]) if scores else None)
        if line.score is not None and not math.isfinite(line.score):
            raise ValueError(line.score)
    except ValueError as error:
        raise _no_run(path, number, text) from error
    if not query or not document:
        raise CollectionError(f"{path}, line {number}: the id of a query or of a document is empty.")
    return query, line


def _no_run(path: Path, number: int, text: str) -> CollectionError:
    fields = text.split()
    hint = " It looks like judgements." if len(fields) == 4 and fields[1] in ("0", "Q0") else ""
    return CollectionError(f"{path}, line {number}: expected {_EXPECTED}, got {text[:120]!r}.{hint}")


def _ranked(lines: list[_Line]) -> list[tuple[str, float]]:
    """A ranking as trec_eval orders it; where there are no scores, by the ranks, with scores that follow them."""
    best: dict[str, float] = {}
    for line in sorted(lines, key=_order):
        best.setdefault(line.document, -float(line.rank or 0) if line.score is None else line.score)
    return list(best.items())


def _order(line: _Line) -> tuple[float, tuple[int, ...]]:
    if line.score is None:
        return float(line.rank or 0), ()
    return -float(np.float32(line.score)), (*(-byte for byte in line.document.encode()), 1)


def _of_json(path: Path, text: str) -> FileRun:
    try:
        record = json.loads(text)
        lines = {
            query: [_Line(1, document, None, _finite(score)) for document, score in ranking.items()]
            for query, ranking in record.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CollectionError(f'{path}: expected {{"query": {{"document": score}}}}, got {text[:80]!r}.') from error
    return FileRun({query: _ranked(given) for query, given in lines.items()})


def _finite(score: object) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(score)
    return float(score)


class _Seen:
    """Lines at which something was found: the first, how many, of which queries."""

    def __init__(self) -> None:
        self.first, self.lines = 0, 0
        self.queries: dict[str, None] = {}

    def add(self, query: str, line: _Line) -> None:
        self.first = min(self.first, line.number) if self.lines else line.number
        self.lines += 1
        self.queries[query] = None


_TOLD = {
    "run_ties": "scores that are equal within a query: ordered by document id, descending, as trec_eval does",
    "run_rank_order": "ranks that say another order than the scores: scores count, as in trec_eval",
    "run_rank_gaps": "ranks that leave some out",
    "run_duplicate_ranks": "ranks that come twice in a query",
    "run_documents_twice": "documents that come twice in a query: they count where they rank higher",
}


def _notes(found: Mapping[str, Sequence[_Line]], path: Path) -> list[Note]:
    seen = {kind: _Seen() for kind in _TOLD}
    for query, lines in found.items():
        _look(query, lines, seen)
    notes = []
    for kind, what in _TOLD.items():
        of = seen[kind]
        if of.lines:
            sentence = (
                f"{path.name} has {what} ({counted(of.lines, 'line')}, the first line {of.first:,}; "
                f"{counted(len(of.queries), 'query')} {quoted(of.queries)})."
            )
            facts = {"lines": of.lines, "first_line": of.first, "queries": len(of.queries)}
            notes.append(Note(kind, {**facts, "examples": examples_of(of.queries)}, sentence))
    return notes


def _look(query: str, lines: Sequence[_Line], seen: Mapping[str, _Seen]) -> None:
    """Find what is odd in the lines of one query."""
    documents, scores = set[str](), dict[float, str]()
    for line in lines:
        if line.document in documents:
            seen["run_documents_twice"].add(query, line)
        elif line.score is not None:
            if (key := float(np.float32(line.score))) in scores:
                seen["run_ties"].add(query, line)
            scores[key] = line.document
        documents.add(line.document)
    ranked = sorted((line for line in lines if line.rank is not None), key=lambda line: (line.rank, line.number))
    for before, line in pairwise(ranked):
        step = (line.rank or 0) - (before.rank or 0)
        if step == 0:
            seen["run_duplicate_ranks"].add(query, line)
        elif before.score is not None and line.score is not None and line.score > before.score:
            seen["run_rank_order"].add(query, line)
        if step > 1:
            seen["run_rank_gaps"].add(query, line)


def check_run_ids(ids: Iterable[str]) -> None:
    """Refuse ids that TREC's formats can't hold, whose columns are apart by white space.

    Raises:
        InputError: an id has white space, or is empty.
    """
    for identifier in ids:
        if len(identifier.split()) != 1 or identifier.strip() != identifier:
            raise InputError(
                f"The id {identifier!r} has white space, which a TREC run can't hold: write the layout json, or none."
            )


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
    if layout == "json":
        found = {query: dict(falling(ranking)) for query, ranking in run.items()}
        text = json.dumps(found, ensure_ascii=False) + "\n"
    else:
        check_run_ids([tag, *run, *(document for ranking in run.values() for document, _ in ranking)])
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
