"""Test collections: queries with what is known of their answers, and the rules by which they are measured.

Who publishes a collection also says how it is measured: which measures, how deep, whether a document with the query's
own id counts. :class:`TestCollection` carries these rules with the data, so that a command without options gives the
figure that papers print. The readers are one module a layout: ``beir.py``, ``msmarco.py``, ``lotte.py``,
``miracl.py``, ``open_qa.py``; ``opening.py`` tells which one a path wants.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from xtrkit.errors import CollectionError
from xtrkit.evaluation.measures import DEFAULT_MEASURES
from xtrkit.evaluation.notes import Note, counted, examples_of, listed
from xtrkit.evaluation.qrels import Judgements, Qrels, note_without_relevant

NAMED = 10
"""How many ids an error names."""


@dataclass(frozen=True)
class Protocol:
    """How a collection is measured.

    Attributes:
        name: whose rules they are, such as "BEIR".
        measures: what is reported unless other measures are asked for.
        drop_identical: whether a document with the query's own id is dropped from its ranking, as the query itself.
            Wrong where ids are numbers of queries and of documents, counted apart.
    """

    name: str
    measures: tuple[str, ...] = DEFAULT_MEASURES
    drop_identical: bool = False


BEIR = Protocol("BEIR", drop_identical=True)


@dataclass(frozen=True)
class TestCollection:
    """Queries with judgements, or with answers that are looked for in texts.

    Attributes:
        path: where it lies.
        queries: {id: text} of the queries that are asked, in the order of their file.
        qrels: their judgements; empty where answers decide.
        notes: what must be known of them to read a figure: ids that were trimmed, what came twice, queries without
            judgements or without a relevant document, negative grades.
        protocol: the rules.
        name: what the set is called, such as "scifact", or "writing search" of LoTTE.
        corpus: where its texts lie, if they lie beside it.
        index_name: what its index is called in a folder of indexes, one for each set.
        group: which of several sets it is averaged with, such as "search" of LoTTE; empty for all.
        answers: {query id: strings}, one of which a passage must have in it to count; where judgements decide, none.
    """

    __test__ = False  # the name is the field's term, not a test for pytest

    path: Path
    queries: dict[str, str]
    qrels: Qrels
    notes: tuple[Note, ...] = ()
    protocol: Protocol = BEIR
    name: str = ""
    corpus: Path | None = None
    index_name: str = ""
    group: str = ""
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def in_files(self) -> str:
        """Its name in names of files."""
        return self.name.replace(" ", ".").replace("/", "-")

    def keeping_identical(self) -> TestCollection:
        """The same, with the documents that bear a query's id kept in its ranking."""
        return replace(self, protocol=replace(self.protocol, drop_identical=False))


def asked(
    queries: Mapping[str, str], judged: Judgements, queries_path: Path, qrels_path: Path
) -> tuple[dict[str, str], list[Note]]:
    """The judged queries, and what must be known of the two files together.

    Raises:
        CollectionError: a judged query has no text.
    """
    qrels = judged.qrels
    without_text = [query for query in qrels if query not in queries]
    if without_text:
        raise CollectionError(
            f"{qrels_path} judges {the_queries(without_text)}, which {queries_path.name} does not have."
        )
    empty = [query for query in qrels if not queries[query].strip()]
    if empty:
        raise CollectionError(
            f"{queries_path}: {the_queries(empty, 'judged ')} {'is' if len(empty) == 1 else 'are'} empty: give each a "
            "text, or no judgements."
        )
    found = {query: text for query, text in queries.items() if query in qrels}
    return found, [*judged.notes, *_not_judged(queries, found, qrels_path), *note_without_relevant(qrels)]


def beside(folder: Path, *names: str) -> Path | None:
    """The first of some files that is there, packed (``.gz``) or not."""
    for name in names:
        for found in (folder / name, folder / f"{name}.gz"):
            if found.is_file():
                return found
    return None


def note_unread(paths: Iterable[Path]) -> list[Note]:
    """Says which packed files lay beside their unpacked twins."""
    zipped = [f"{path.name}.gz" for path in paths if path.with_name(f"{path.name}.gz").is_file()]
    if not zipped:
        return []
    return [Note("unread_files", {"files": zipped}, f"{listed(zipped)} lay beside the file itself, and was not read.")]


def the_queries(names: list[str], which: str = "") -> str:
    """Queries by name: the one, or several with their number."""
    if len(names) == 1:
        return f"the {which}query {names[0]!r}"
    return f"{len(names):,} {which}queries ({listed(sorted(names), NAMED)})"


def _not_judged(texts: Collection[str], judged: Collection[str], path: Path) -> list[Note]:
    n = len(texts) - len(judged)
    if not n:
        return []
    unasked = [query for query in texts if query not in judged]
    sentence = f"{n:,} of {counted(len(texts), 'query')} have no judgements in {path.name}, and were not asked."
    return [Note("unjudged_queries", {"queries": n, "of": len(texts), "examples": examples_of(unasked)}, sentence)]
