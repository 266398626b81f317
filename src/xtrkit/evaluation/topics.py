"""Queries without judgements, in the formats in which they come: what is asked, by id.

==================  ====================================================================================================
``.tsv``, ``.txt``  ``id<TAB>text``, as MS MARCO, LoTTE, MIRACL and ColBERT have them; a first line that names
                    the columns is no query, and tells which of several are id and text
``.csv``            with such a first line, quoted as in CSV
``.jsonl``          an object a line: BEIR's ``_id`` and ``text``, LoTTE's ``qid`` and ``query``, …
``.json``           ``{"id": "text", …}``, or a list of such objects
TREC topics         ``<top> <num> Number: 301 <title> …``, also with closing tags; ``<topic number="1"> <query> …``,
                    also with the text right inside
==================  ====================================================================================================

Each also ``.gz``. What a file is, its beginning says, not its name.
"""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xtrkit.errors import CollectionError
from xtrkit.evaluation.ids import Trimming
from xtrkit.evaluation.notes import Note, counted, examples_of, listed, quoted
from xtrkit.texts.reading import read_lines, storable

IDS = ("_id", "id", "qid", "query_id", "topic_id", "number")
TEXTS = ("text", "query", "title", "question", "query_text")
"""What JSON objects call them; the first that is there counts."""
FIELD = "title"
"""Which field of TREC's topics is asked, unless another is named: what users type."""
_ALIKE = (("title", "query"), ("desc", "description"), ("narr", "narrative"))
"""Names of the same field: TREC's ad-hoc topics call it the former, those in XML the latter."""
_NUMBERS = ("num", "number", "id", "identifier", "qid")
"""The tags of a topic's number."""
_NUMBER = re.compile(r"\s*(?:number\s*:)?+\s*(\S+)", re.IGNORECASE)
_NUMBERED = re.compile(r"""\b(?:number|num|id|qid)\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_TOPIC = re.compile(
    r"<(?:top|topic)\b([^>]*)>(.*?)(?=</(?:top|topic)\s*>|<(?:top|topic)\b|\Z)", re.IGNORECASE | re.DOTALL
)
_FIELD = re.compile(  # as far as its closing tag; without one, as far as the next tag
    r"<([a-z][\w-]*)\b[^<>]*>(?:(.*?)</\1\s*>|(.*?)(?=</?[a-z][\w-]*(?:\s[^<>]*)?>|\Z))", re.IGNORECASE | re.DOTALL
)
_TAG = re.compile(r"</?[a-z][\w-]*\s*/?>", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_VERBATIM = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_LABEL = re.compile(r"\s*(?:topic|description|narrative|title)\s*:\s*", re.IGNORECASE)
_HEADER = re.compile(r"_?(q|query|topic|question)?[ _-]?(id|no|number)", re.IGNORECASE)


class Topics(NamedTuple):
    """Queries as they were read.

    Attributes:
        queries: {id: text}, in the order of the file.
        notes: what was passed over: white space around ids, ids that come twice, queries without text.
    """

    queries: dict[str, str]
    notes: tuple[Note, ...] = ()


class _Query(NamedTuple):
    where: str
    identifier: str
    text: str


def read_topics(path: str | Path, field: str = FIELD) -> Topics:
    """Read queries.

    Args:
        path: the file.
        field: which field of TREC's topics is asked: ``title``, ``desc``, ``narr``, or whatever their tags are.

    Raises:
        CollectionError: the file can't be read, is of another format, or has no queries; the sentence has the line.
    """
    path = Path(path)
    lines = list(read_lines(path))
    if not lines:
        raise CollectionError(f"{path} has no queries: expected {_FORMATS}.")
    trim, texts, empty = Trimming(), dict[str, list[str]](), []
    for where, identifier, text in _read(path, lines, field):
        query = trim(identifier)
        if not query:
            raise CollectionError(f"{path}, {where}: the query's id is empty.")
        if text.strip():
            texts.setdefault(query, []).append(text.strip())
        else:
            empty.append(query)
    empty = [query for query in dict.fromkeys(empty) if query not in texts]
    if not texts:
        raise CollectionError(f"{path} has no query with a text: expected {_FORMATS}.")
    notes = [*trim.notes("topics", f"of queries in {path.name}"), *came_twice(texts, path), *_without_text(empty, path)]
    return Topics({query: given[0] for query, given in texts.items()}, tuple(notes))


def came_twice(texts: dict[str, list[str]], path: Path) -> list[Note]:
    """Says which ids came more than once, each with all its texts."""
    twice = {query: given for query, given in texts.items() if len(given) > 1}
    if not twice:
        return []
    differing = [query for query, given in twice.items() if len(set(given)) > 1]
    sentence = f"{counted(len(twice), 'query')} of {path.name} came twice or more {quoted(twice)}"
    sentence += (
        f", {len(differing):,} with different texts {quoted(differing)}: the first text was asked"
        if differing
        else ", with the same text"
    )
    facts = {
        "queries": len(twice),
        "disagreeing": len(differing),
        "taken": "first",
        "examples": examples_of(differing or twice),
    }
    return [Note("queries_twice", facts, f"{sentence}.")]


def _without_text(empty: list[str], path: Path) -> list[Note]:
    if not empty:
        return []
    sentence = f"{counted(len(empty), 'query')} of {path.name} had no text {quoted(empty)}, and were not asked."
    return [Note("queries_without_text", {"queries": len(empty), "examples": examples_of(empty)}, sentence)]


_FORMATS = (
    'lines of id and text apart by a tab, CSV whose first line names its columns, JSON lines such as {"_id": "1", '
    '"text": "…"}, or TREC topics (<top> <num> … <title> …)'
)


def _read(path: Path, lines: list[tuple[int, str]], field: str) -> Iterator[_Query]:
    first = lines[0][1].lstrip()
    if first.startswith("<"):
        return _topics(path, "\n".join(line for _, line in lines), field)
    if first.startswith("["):
        return _array(path, "\n".join(line for _, line in lines))
    if first.startswith("{"):
        return _objects(path, lines)
    return _columns(path, lines)


def _columns(path: Path, lines: Sequence[tuple[int, str]]) -> Iterator[_Query]:
    rows = [(number, line.split("\t")) for number, line in lines]
    if "\t" not in lines[0][1] and _places(lines[0][1].replace('"', "").split(",")):
        rows = list(_quoted(path, lines))
    named = _places(rows[0][1])
    (identifier, text), n = named or (0, 1), len(rows[0][1]) if named else 2
    for place, (number, fields) in enumerate(rows):
        if len(fields) != n:
            raise _no_query(path, number, "\t".join(fields), len(fields))
        if place or not (named or _HEADER.fullmatch(fields[0].strip())):
            yield _Query(f"line {number}", fields[identifier], fields[text])


def _places(names: Sequence[str]) -> tuple[int, int] | None:
    """Where the id and the text stand, if these are names of columns."""
    names = [name.strip().lower() for name in names]
    identifier = next((place for place, name in enumerate(names) if _HEADER.fullmatch(name)), None)
    text = next((names.index(name) for name in TEXTS if name in names), None)
    return None if identifier is None or text is None else (identifier, text)


def _quoted(path: Path, lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows of comma-separated values, each with the number of its last line."""
    rows = csv.reader((f"{line}\n" for _, line in lines), strict=True)
    try:
        for row in rows:
            yield lines[rows.line_num - 1][0], row
    except csv.Error as error:
        raise CollectionError(f"{path}, line {lines[rows.line_num - 1][0]}: no CSV ({error}).") from error


def _no_query(path: Path, number: int, line: str, columns: int) -> CollectionError:
    words = line.split()
    hint = ""
    if (len(words) == 4 and words[3].lstrip("-").isdecimal()) or (len(words) == 6 and words[3].isdecimal()):
        hint = " This looks like a run, or judgements, not queries."
    elif words[:1] == [".I"]:
        hint = " This looks like SMART's layout (.I, .W), in which numbers of queries are not those of its judgements."
    found = f"{columns} columns" if columns > 1 else "no tab"
    return CollectionError(f"{path}, line {number}: {found} in {line[:60]!r}; expected {_FORMATS}.{hint}")


def _objects(path: Path, lines: list[tuple[int, str]]) -> Iterator[_Query]:
    if len(lines) > 1 and not lines[0][1].rstrip().endswith("}"):  # one object over several lines
        yield from _mapping(path, _parsed(path, "\n".join(line for _, line in lines), ""))
        return
    for number, line in lines:
        record = _parsed(path, line, f", line {number}")
        if isinstance(record, dict) and len(lines) == 1 and not set(record) & set(IDS):
            yield from _mapping(path, record)
            return
        yield _of_record(path, f"line {number}", record)


def _array(path: Path, text: str) -> Iterator[_Query]:
    for number, record in enumerate(_parsed(path, text, ""), start=1):
        yield _of_record(path, f"entry {number}", record)


def _mapping(path: Path, record: Any) -> Iterator[_Query]:
    if not isinstance(record, dict) or not all(isinstance(text, str) for text in record.values()):
        raise CollectionError(f'{path}: expected {{"id": "text", …}}, or {_FORMATS}.')
    for identifier, text in record.items():
        yield _Query(f"query {identifier!r}", identifier, storable(text, path, 1))


def _of_record(path: Path, where: str, record: Any) -> _Query:
    if not isinstance(record, dict):
        raise CollectionError(f"{path}, {where}: expected a JSON object with an id and a text, got {record!r:.60}.")
    identifier = next((record[name] for name in IDS if record.get(name) is not None), None)
    text = next((record[name] for name in TEXTS if isinstance(record.get(name), str)), None)
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        identifier = str(identifier)
    if not isinstance(identifier, str) or text is None:
        lacks = "no text" if isinstance(identifier, str) else "no id that is a text or a whole number"
        raise CollectionError(
            f"{path}, {where}: {lacks} in an object with {listed(list(record), 6)}; expected one of {', '.join(IDS)} "
            f"and one of {', '.join(TEXTS)}."
        )
    return _Query(where, identifier, storable(text, path, 1))


def _parsed(path: Path, text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CollectionError(f"{path}{where}: not JSON ({error}); expected {_FORMATS}.") from error


def _topics(path: Path, text: str, field: str) -> Iterator[_Query]:
    text = _VERBATIM.sub(lambda found: html.escape(found[1], quote=False), _COMMENT.sub("", text))
    field = field.lower()
    names = next((alike for alike in _ALIKE if field in alike), ())
    for place, (attributes, body) in enumerate(_TOPIC.findall(text), start=1):
        fields = _fields(body)
        given = next((fields[name] for name in _NUMBERS if name in fields), "")
        number = _NUMBERED.search(attributes) or _NUMBER.match(given)
        if number is None:
            raise CollectionError(f"{path}, topic {place}: no number, neither as <num> nor as <topic number=…>.")
        wanted = next((name for name in (field, *names) if name in fields), None)
        if wanted is None and (fields or not body.strip()):
            raise CollectionError(
                f"{path}, topic {number[1]}: no <{field}>; it has {listed(list(fields), 6) or 'nothing'}. Name the "
                "one that shall be asked."
            )
        asked = _plain(body) if wanted is None else _LABEL.sub("", fields[wanted], count=1)  # the text right inside
        yield _Query(f"topic {place}", number[1], " ".join(asked.split()))


def _fields(topic: str) -> dict[str, str]:
    """{tag: text}; of tags that come again, the first."""
    found: dict[str, str] = {}
    for name, closed, rest in _FIELD.findall(topic):
        found.setdefault(name.lower(), _plain(closed or rest).strip())
    return found


def _plain(content: str) -> str:
    return html.unescape(_TAG.sub(" ", content))
