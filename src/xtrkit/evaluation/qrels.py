"""Judgements: which documents are relevant to which queries, and how much.

A file has BEIR's three columns apart by tabs, ``query<TAB>document<TAB>relevance``, or TREC's four, whose second is
unused; or it is pytrec_eval's and ranx's JSON, ``{"query": {"document": 1}}``. A first line that names the columns is
no judgement; it may name them as it likes (``query-id``, ``qid``, ``topic``; ``corpus-id``, ``docid``; ``score``,
``relevance``, ``label``) and in any order. Grades are whole numbers, which may be written as 1.0. Where a pair is
judged twice, the highest grade counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from xtrkit.errors import CollectionError
from xtrkit.evaluation.ids import Trimming
from xtrkit.evaluation.notes import Note, counted, examples_of, listed, quoted
from xtrkit.texts.reading import read_lines

Qrels = dict[str, dict[str, int]]
"""{query id: {document id: relevance}}"""

HIGHEST = 10_000
"""Grades beyond this, above or below 0, are no grades: a column was taken for another."""
_GRADE = re.compile(r"([+-]?[0-9]+)(?:\.0*)?")
_NAMES = {
    "query": {"query", "queryid", "qid", "topic", "topicid", "question", "questionid", "queryno", "topicno"},
    "document": {"corpus", "corpusid", "doc", "docid", "did", "docno", "document", "documentid", "pid", "passage",
                 "passageid", "cid"},
    "grade": {"score", "relevance", "rel", "label", "grade", "relevancy", "judgement", "judgment", "qrel", "rating",
              "gain", "value", "relevant", "relevancelabel", "relevancescore"},
}  # fmt: skip
"""What headers call the columns, in small letters without spaces and signs."""


class Columns(NamedTuple):
    """Which field of a line is what, and how many there are."""

    query: int
    document: int
    grade: int
    n: int


_OF_NUMBER = {3: Columns(0, 1, 2, 3), 4: Columns(0, 2, 3, 4)}  # BEIR's, and TREC's


@dataclass(frozen=True)
class Judgements:
    """Judgements as they were read.

    Attributes:
        qrels: the judgements.
        notes: what was passed over: white space around ids, pairs that are judged twice, negative grades.
    """

    qrels: Qrels
    notes: tuple[Note, ...] = ()


def read_judgements(path: Path) -> Judgements:
    """Read judgements.

    Raises:
        CollectionError: a line is no judgement, or there is none at all.
    """
    queries, documents = Trimming(), Trimming()
    grades: dict[tuple[str, str], list[int]] = {}
    for number, *written, grade in _judgements(path):
        query, document = queries(written[0]), documents(written[1])
        if not query or not document:
            raise CollectionError(f"{path}, line {number}: the id of a query or of a document is empty.")
        grades.setdefault((query, document), []).append(_grade(grade, path, number))
    if not grades:
        raise CollectionError(
            f"{path} has no judgements: expected lines of query, document and relevance, apart by tabs."
        )
    qrels: Qrels = {}
    for (query, document), given in grades.items():
        qrels.setdefault(query, {})[document] = max(given)
    notes = [
        *queries.notes("judged_queries", f"of queries in {path.name}"),
        *documents.notes("judged_documents", f"of documents in {path.name}"),
        *_judged_twice(grades, path),
        *_negative(qrels),
    ]
    return Judgements(qrels, tuple(notes))


def grade_of(value: object) -> int | None:
    """A relevance as a whole number; None where it is none: "1" and 1.0 are 1, "0.5" and "high" are nothing."""
    if isinstance(value, str):
        found = _GRADE.fullmatch(value.strip())
        whole = int(found[1]) if found and len(found[1]) < 20 else None
    else:
        try:
            whole = int(value) if value == int(value) else None  # type: ignore[call-overload]
        except (TypeError, ValueError, OverflowError):
            whole = None
    return whole if whole is not None and abs(whole) <= HIGHEST else None


def without_relevant(qrels: Mapping[str, Mapping[str, int]], least: int = 1) -> list[str]:
    """Queries that have no document of a grade, or of a higher one: no system can gain anything for them."""
    return [query for query, judged in qrels.items() if not any(grade >= least for grade in judged.values())]


def note_without_relevant(qrels: Mapping[str, Mapping[str, int]]) -> list[Note]:
    """Says which queries have no relevant document, where there are any."""
    without = without_relevant(qrels)
    if not without:
        return []
    sentence = (
        f"{len(without):,} of {counted(len(qrels), 'judged query')} {'has' if len(without) == 1 else 'have'} no "
        f"relevant document {quoted(without)}: each counts as 0 in every mean."
    )
    facts = {"queries": len(without), "of": len(qrels), "examples": examples_of(without)}
    return [Note("queries_without_relevant", facts, sentence)]


def _judgements(path: Path) -> Iterator[tuple[int, str, str, object]]:
    """The number of each judgement's line, and its query, document and grade."""
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        return iter(())
    lines = chain([first], lines)
    return _of_json(path, lines) if first[1].lstrip().startswith("{") else _of_lines(path, lines)


def _of_json(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str, str, object]]:
    try:
        record = json.loads("\n".join(line for _, line in lines))
        judged = [(query, *pair) for query, of_query in record.items() for pair in of_query.items()]
    except (ValueError, AttributeError, RecursionError) as error:
        raise CollectionError(f'{path}: expected judgements, {{"query": {{"document": 1}}}} in JSON.') from error
    yield from ((1, *one) for one in judged)


def _of_lines(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str, str, object]]:
    columns = None
    header = False
    for number, line in lines:
        fields = _fields(line, named=header)
        if columns is None:
            columns = _named_columns(fields)
            header = columns is not None
            if header:
                continue
            columns = _OF_NUMBER.get(len(fields))
        elif header and _named_columns(fields) == columns:
            continue  # files that were put together, each with its header
        if columns is None or len(fields) != columns.n:
            raise _no_judgement(path, number, line)
        yield number, fields[columns.query], fields[columns.document], fields[columns.grade]


def _fields(line: str, *, named: bool) -> list[str]:
    """The columns of a line: apart by tabs where there are some; TREC's, which have no names, by any white space."""
    bare, by_tabs = line.split(), line.rstrip().split("\t")
    mixed = not named and len(bare) == 4 != len(by_tabs) and bare[1] in ("0", "Q0")
    return bare if mixed or "\t" not in line.strip() else by_tabs


def _named_columns(fields: list[str]) -> Columns | None:
    """The columns that a header names, the third by elimination; None where the line is no header."""
    names = [re.sub(r"[^a-z0-9]", "", field.lower()) for field in fields]
    usual = _OF_NUMBER.get(len(fields))
    places = {
        what: next(place for place, name in enumerate(names) if name in known)
        for what, known in _NAMES.items()
        if not known.isdisjoint(names)
    }
    if usual and len(places) == 2:
        left = set(usual[:3]) - set(places.values())
        if len(left) == 1:
            places |= dict.fromkeys(_NAMES.keys() - places, left.pop())
    if len(places) < 3 or grade_of(fields[places["grade"]]) is not None:
        return None
    return Columns(places["query"], places["document"], places["grade"], len(fields))


def _grade(written: object, path: Path, number: int) -> int:
    grade = grade_of(written)
    if grade is None:
        raise _no_judgement(path, number, written, "its relevance")
    return grade


def _no_judgement(path: Path, number: int, got: object, what: str = "the line") -> CollectionError:
    hint = " A first line that names columns must name them so, as 'query-id', 'corpus-id', 'score'." * (number == 1)
    return CollectionError(
        f"{path}, line {number}: expected query, document and whole-number relevance (at most {HIGHEST:,}), apart by "
        f"tabs, got {got!r} as {what}.{hint}"
    )


def _judged_twice(grades: Mapping[tuple[str, str], Collection[int]], path: Path) -> list[Note]:
    twice = {pair: given for pair, given in grades.items() if len(given) > 1}
    if not twice:
        return []
    differing = {pair: given for pair, given in twice.items() if len(set(given)) > 1}
    sentence = f"{counted(len(twice), 'pair')} of query and document in {path.name} came twice or more"
    if differing:
        told = "; ".join(f"{q!r}, {d!r}: {' and '.join(map(str, g))}" for (q, d), g in examples_of(differing.items()))
        sentence += f", {len(differing):,} with different grades ({told}): the highest counts"
    else:
        sentence += f" ({'; '.join(listed(pair) for pair in examples_of(twice))}), with the same grade"
    shown = [
        {"query": query, "document": document, "grades": list(given)}
        for (query, document), given in examples_of((differing or twice).items())
    ]
    facts = {"pairs": len(twice), "disagreeing": len(differing), "taken": "highest", "examples": shown}
    return [Note("judged_twice", facts, f"{sentence}.")]


def _negative(qrels: Qrels) -> list[Note]:
    found = [(query, document) for query, judged in qrels.items() for document, grade in judged.items() if grade < 0]
    if not found:
        return []
    sentence = (
        f"Below 0, and counted as not relevant (by Bpref and infAP as not judged): {counted(len(found), 'judgement')} "
        f"{quoted([document for _, document in found])}."
    )
    return [Note("negative_grades", {"judgements": len(found), "examples": examples_of(found)}, sentence)]
