"""Test collections in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv``, gzipped or not."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from xtrkit.errors import CollectionError
from xtrkit.evaluation.ids import Trimming
from xtrkit.evaluation.notes import Note, counted, examples_of, listed
from xtrkit.evaluation.qrels import Qrels, note_without_relevant, read_judgements
from xtrkit.evaluation.topics import came_twice
from xtrkit.passage import Passage
from xtrkit.texts.reading import id_and_text, open_source, read_json_objects
from xtrkit.texts.whole import whole_passages

NAMED = 10
"""How many ids an error names."""


@dataclass(frozen=True)
class TestCollection:
    """Queries with judgements.

    Attributes:
        path: the folder.
        queries: {id: text} of the judged queries, in the order of ``queries.jsonl``.
        qrels: their judgements.
        notes: what must be known of them to read a figure: ids that were trimmed, what came twice, queries without
            judgements or without a relevant document, negative grades.
    """

    __test__ = False  # the name is the field's term, not a test for pytest

    path: Path
    queries: dict[str, str]
    qrels: Qrels
    notes: tuple[Note, ...] = ()


def read_test_collection(path: str | Path, split: str = "test") -> TestCollection:
    """Read queries and judgements of a BEIR folder.

    Raises:
        CollectionError: a file is missing or can't be read, or a judged query has no text.
    """
    path = Path(path)
    queries_path, qrels_path = _found(path / "queries.jsonl"), _found(path / "qrels" / f"{split}.tsv")
    for needed in (queries_path, qrels_path):
        if not needed.is_file():
            there = ", ".join(sorted({file.name.split(".tsv")[0] for file in path.glob("qrels/*.tsv*")})) or "none"
            raise CollectionError(
                f"There is no {needed}: expected a BEIR folder with queries.jsonl and qrels/{split}.tsv "
                f"(splits found: {there})."
            )
    (qrels, notes), (texts, notes_on_queries) = _judged(qrels_path), _read_queries(queries_path)
    without_text = [query for query in qrels if query not in texts]
    if without_text:
        raise CollectionError(
            f"{qrels_path} judges {_the_queries(without_text)}, which {queries_path.name} does not have."
        )
    empty = [query for query in qrels if not texts[query].strip()]
    if empty:
        raise CollectionError(
            f"{queries_path}: {_the_queries(empty, 'judged ')} {'is' if len(empty) == 1 else 'are'} empty: give each a "
            "text, or no judgements."
        )
    queries = {query: text for query, text in texts.items() if query in qrels}
    notes += [
        *_unread((queries_path, qrels_path)),
        *notes_on_queries,
        *_not_judged(texts, queries, qrels_path),
        *note_without_relevant(qrels),
    ]
    return TestCollection(path, queries, qrels, tuple(notes))


def read_queries(path: Path) -> dict[str, str]:
    """The queries of a BEIR folder: {id: text}; of a query that comes twice, the first text.

    Raises:
        CollectionError: they can't be read.
    """
    return _read_queries(_found(path / "queries.jsonl"))[0]


def read_qrels(path: Path) -> Qrels:
    """Judgements, as :func:`xtrkit.evaluation.qrels.read_judgements` reads them, without the notes on them.

    Raises:
        CollectionError: a line is no judgement, or there is none at all.
    """
    return read_judgements(path).qrels


def open_corpus(path: Path) -> Iterable[Passage]:
    """The passages of a BEIR folder.

    Raises:
        CollectionError: it has no corpus.
    """
    if not any(path.glob("corpus*")):
        raise CollectionError(
            f"There is no {path / 'corpus.jsonl'}, the corpus of a BEIR folder. Without BM25 (--baseline none), "
            "xtrkit evaluate needs none."
        )
    return whole_passages(open_source(path))


def _found(path: Path) -> Path:
    """A file, or its gzipped twin where that alone is there."""
    zipped = path.with_name(f"{path.name}.gz")
    return zipped if zipped.is_file() and not path.exists() else path


def _judged(path: Path) -> tuple[Qrels, list[Note]]:
    judgements = read_judgements(path)
    return judgements.qrels, list(judgements.notes)


def _read_queries(path: Path) -> tuple[dict[str, str], list[Note]]:
    trim, texts = Trimming(), dict[str, list[str]]()
    for number, record in read_json_objects(path):
        identifier, text = id_and_text(path, number, record)
        query = trim(identifier)
        if not query:
            raise CollectionError(f"{path}, line {number}: the query's id is white space alone.")
        texts.setdefault(query, []).append(text)
    notes = [*trim.notes("queries", f"of queries in {path.name}"), *came_twice(texts, path)]
    return {query: given[0] for query, given in texts.items()}, notes


def _not_judged(texts: Collection[str], judged: Collection[str], path: Path) -> list[Note]:
    n = len(texts) - len(judged)
    if not n:
        return []
    unasked = [query for query in texts if query not in judged]
    sentence = f"{n:,} of {counted(len(texts), 'query')} have no judgements in {path.name}, and were not asked."
    return [Note("unjudged_queries", {"queries": n, "of": len(texts), "examples": examples_of(unasked)}, sentence)]


def _the_queries(names: list[str], which: str = "") -> str:
    """Queries by name: the one, or several with their number."""
    if len(names) == 1:
        return f"the {which}query {names[0]!r}"
    return f"{len(names):,} {which}queries ({listed(sorted(names), NAMED)})"


def _unread(paths: Iterable[Path]) -> list[Note]:
    zipped = [f"{path.name}.gz" for path in paths if path.with_name(f"{path.name}.gz").is_file()]
    if not zipped:
        return []
    return [Note("unread_files", {"files": zipped}, f"{listed(zipped)} lay beside the file itself, and was not read.")]
