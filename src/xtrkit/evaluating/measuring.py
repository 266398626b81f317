"""Measuring an index on a test collection: a row for each way of scoring, for words, for both together, and for BM25.

Runs that other programs made give rows of the same kind (:func:`measure_run`).

What a figure's name does not say (documents that the index lacks, ids that come twice, how BM25 makes words) is told in
notes (:func:`notes_of`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xtrkit.asking import is_truncated
from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluation.beir import open_corpus
from xtrkit.evaluation.bm25 import BM25
from xtrkit.evaluation.collection import TestCollection
from xtrkit.evaluation.coverage import differing_collections, dropped_identical, fewer_than_depth, missing_documents
from xtrkit.evaluation.ids import Trimming
from xtrkit.evaluation.measures import depth_of, means_of, notes_on_judgements, notes_on_run, of_each_query
from xtrkit.evaluation.notes import Note, counted, examples_of, quoted
from xtrkit.evaluation.open_qa import judged_by_answers
from xtrkit.evaluation.qrels import Qrels
from xtrkit.evaluation.run_files import FileRun
from xtrkit.evaluation.runs import Run, identical_ids, without_identical_ids
from xtrkit.fusion import ALPHA, DEPTH, FUSIONS, fused
from xtrkit.index import Index
from xtrkit.recipes import Recipe
from xtrkit.retriever import Retriever
from xtrkit.search.engine import Ranking
from xtrkit.values import Ragged

BASELINE = "BM25"
"""The baseline's row."""
WORDS = "BM25 (index)"
"""The row of the index's own words."""
TITLE = "title"
"""The metadata field that has a passage's title, where it was named with ``--metadata-fields``."""

Search = Callable[[Sequence[int], int], Sequence[Iterable[tuple[str, float]]]]
"""(numbers of queries, how many passages) -> (id, score) of the passages of each, best first."""
TextsOf = Callable[[Collection[str]], Mapping[str, str]]
"""ids -> {id: text}"""


@dataclass(frozen=True)
class Row:
    """How one way of scoring did.

    Attributes:
        system: what was measured, such as "XTR k'=1000".
        measures: {measure: mean over judged queries}.
        seconds_per_query: of searching alone, all queries in one batch; encoding is told apart. None of a run that was
            read.
        run: the rankings.
        depth: how many documents of each query were looked for.
        dropped: queries from whose ranking a document with their own id was dropped.
        kept: queries whose ranking kept it, since it is judged relevant.
        of_each: {measure: {query: value}}, what the means are of.
        qrels: the judgements that counted; where answers decide, those of what was found.
        notes: what must be known of this row alone.
    """

    system: str
    measures: dict[str, float]
    seconds_per_query: float | None
    run: Run
    depth: int
    dropped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    of_each: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    qrels: Qrels = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class IndexedDocuments:
    """Which documents an index has, by the ids that judgements name.

    Attributes:
        document_of: {passage: document} where the two are not the same: of passages that were cut out of documents, and
            of ids with white space around them.
        ids: of the documents.
        notes: what must be known of them.
        titled: whether passages have their titles as metadata, which are then no part of their texts.
    """

    document_of: Mapping[str, str]
    ids: frozenset[str]
    notes: tuple[Note, ...]
    titled: bool = False

    @classmethod
    def of(cls, index: Index) -> IndexedDocuments:
        """Go through an index's passages."""
        trim, document_of, titled = Trimming(), dict[str, str](), False
        for passage in index.passages():
            document = trim(passage.document)
            if document != passage.id:
                document_of[passage.id] = document
            titled = titled or TITLE in (passage.metadata or ())
        notes = trim.notes("index", "of documents in the index")
        return cls(document_of, frozenset(trim.plain.union(trim.changed.values())), tuple(notes), titled)


def measure(
    retriever: Retriever,
    test: TestCollection,
    systems: Sequence[tuple[str, Recipe]],
    measures: Sequence[str],
    *,
    embeddings: Ragged,
    threads: int | None = None,
    advance: Callable[[int], None],
    documents: IndexedDocuments | None = None,
) -> Iterator[Row]:
    """Search all queries in each way and measure the rankings, as deep as the measures ask.

    Passages that were cut out of one document count as that document, at the place of the best of them, since it is
    documents that are judged.

    Args:
        retriever: an index with its encoder.
        test: queries and judgements.
        systems: names and recipes.
        measures: names of measures.
        embeddings: of the queries, in their order.
        threads: as in :meth:`xtrkit.Index.search_batch`.
        advance: called with the number of queries that have been answered.
        documents: those of the index, if they are known already.
    """
    index, documents = retriever.index, documents or IndexedDocuments.of(retriever.index)
    depth = depth_of(measures)
    for name, recipe in systems:
        index.search(embeddings[0], recipe=recipe)  # loads kernels, which is no part of a query's time

        def search(numbers: Sequence[int], k: int, recipe: Recipe = recipe) -> list[Ranking]:
            told = advance if k == depth + 1 else lambda amount: None  # those that are asked again are counted already
            return index.search_batch([embeddings[n] for n in numbers], k, recipe=recipe, threads=threads, advance=told)

        begin = time.perf_counter()
        rankings = rankings_of(search, len(embeddings), depth + 1, index, documents)
        seconds = time.perf_counter() - begin
        yield row_of_index(name, dict(zip(test.queries, rankings, strict=True)), test, measures, seconds, index)


def measure_words(
    retriever: Retriever,
    test: TestCollection,
    system: tuple[str, Recipe],
    measures: Sequence[str],
    *,
    embeddings: Ragged,
    advance: Callable[[int], None],
    documents: IndexedDocuments,
    alpha: float = ALPHA,
) -> Iterator[Row]:
    """Measure the words of an index, and one system and words together, in each way that there is.

    Args:
        retriever: an index with texts, and its encoder.
        test: as in :func:`measure`.
        system: name and recipe of what is fused with words.
        measures: as in :func:`measure`.
        embeddings: as in :func:`measure`.
        advance: as in :func:`measure`.
        documents: those of the index.
        alpha: as in :meth:`xtrkit.Retriever.search`.
    """
    index, queries, depth = retriever.index, list(test.queries.values()), depth_of(measures)
    name, recipe = system

    def words(numbers: Sequence[int], k: int) -> list[list[tuple[str, float]]]:
        return [index.search_words(queries[n], k) for n in numbers]

    def both(numbers: Sequence[int], k: int, fusion: str) -> Iterator[list[tuple[str, float]]]:
        deep = max(k, DEPTH)
        for n, found in zip(numbers, index._found([embeddings[n] for n in numbers], deep, recipe=recipe), strict=True):
            ranked = fused(found, index._words_found(queries[n], deep, None, None), fusion, alpha)[:k]
            ids = index.ids_of([one.document for one in ranked])
            yield list(zip(ids, (one.score for one in ranked), strict=True))

    ways: list[Search] = [words]
    for fusion in FUSIONS:
        ways.append(lambda numbers, k, fusion=fusion: list(both(numbers, k, fusion)))  # type: ignore[misc]
    for way, search in zip(names_with_words(name), ways, strict=True):
        search([0], 1)  # loads kernels
        begin = time.perf_counter()
        rankings = rankings_of(search, len(queries), depth + 1, index, documents)
        seconds = time.perf_counter() - begin
        advance(len(queries))
        yield row_of_index(way, dict(zip(test.queries, rankings, strict=True)), test, measures, seconds, index)


def names_with_words(name: str) -> list[str]:
    """The rows of :func:`measure_words`: an index's words alone, and fused with a system in each way."""
    return [WORDS, *(f"{name} + BM25, {fusion}" for fusion in FUSIONS)]


def build_bm25(test: TestCollection) -> BM25:
    """BM25 over the corpus of a test collection.

    Raises:
        CollectionError: the folder has no corpus, or one without a single judged document.
    """
    bm25 = BM25(open_corpus(test.corpus or test.path))
    if test.qrels and _judged(test.qrels).isdisjoint(bm25.ids):
        raise CollectionError(
            f"The corpus in {test.path} has no document that its judgements name: BM25 can find nothing there. "
            "Mend the ids, or leave BM25 out with --baseline none."
        )
    return bm25


def measure_run(name: str, run: FileRun, test: TestCollection, measures: Sequence[str], index: Index | None) -> Row:
    """Measure a run from wherever, by the rules of the collection, as far as the measures look.

    Args:
        name: the row's.
        run: as it was read.
        test: what it answers.
        measures: names of measures.
        index: has the texts, where answers decide.

    Raises:
        InputError: it has none of the queries, or none of the documents that are judged; or texts are needed, and there
            is no index.
    """
    if test.queries.keys().isdisjoint(run):
        raise InputError(
            f"The run {name} has none of the {len(test.queries):,} queries of {test.name or test.path} "
            f"{quoted(test.queries)}, but {quoted(run)}: give the run of this collection."
        )
    found = {document for query in test.queries for document, _ in run.get(query, ())}
    if test.qrels and _judged(test.qrels).isdisjoint(found):
        raise InputError(
            f"The run {name} has no document that the judgements of {test.name or test.path} name, but "
            f"{quoted(found)}: give the run of this collection."
        )
    row = _row(name, run, test, measures, None, None if index is None else _texts_in(index))
    judged = [note._replace(kind=f"{note.kind} {name}", sentence=f"{name}: {note.sentence}")
              for note in (*run.notes, *notes_on_run(run, row.qrels, measures))]  # fmt: skip
    return replace(row, notes=tuple(judged))


def measure_bm25(bm25: BM25, test: TestCollection, measures: Sequence[str]) -> Row:
    """Measure BM25 on a test collection, as deep as the measures ask."""
    begin = time.perf_counter()
    run = bm25.search(test.queries, depth_of(measures) + 1)
    seconds = time.perf_counter() - begin
    found = {query: _by_document(ranking, {}) for query, ranking in run.items()}
    return _row(BASELINE, found, test, measures, seconds, bm25.texts_of)


def check_searchable(retriever: Retriever, test: TestCollection, documents: IndexedDocuments) -> None:
    """Refuse an index in which not one judged document can be found, and queries without texts.

    Raises:
        InputError: the index has no document that the judgements name: it is of another collection; or there are
            judgements alone.
    """
    if not any(test.queries.values()):
        raise InputError(f"{test.path} has judgements alone: name the file of the queries with --topics.")
    if test.qrels and _judged(test.qrels).isdisjoint(documents.ids):
        raise InputError(
            f"The index at {retriever.index.path} has no document that the judgements of {test.path} name: "
            "evaluate the collection that was indexed."
        )


def notes_of(
    test: TestCollection,
    measures: Sequence[str],
    rows: Sequence[Row],
    *,
    retriever: Retriever | None = None,
    documents: IndexedDocuments | None = None,
    bm25: BM25 | None = None,
) -> list[Note]:
    """What must be known to read the figures, one note of each kind.

    Args:
        test: what was asked.
        measures: what was measured.
        rows: what came out.
        retriever: the index that was measured, if one was.
        documents: those of the index.
        bm25: the baseline, if it was measured.
    """
    notes = [*test.notes, *notes_on_judgements(test.qrels, measures)]
    if retriever is not None and documents is not None:
        notes += [
            *missing_documents(test.qrels, documents.ids, kind="missing_documents", place="the index"),
            *documents.notes,
            *note_truncated(retriever, test.queries),
            *fewer_than_depth(len(documents.ids), measures),
            *_titles(test, documents),
        ]
    notes += _identical(rows)
    notes += [note for row in rows for note in row.notes]
    if bm25:
        corpus = frozenset(bm25.ids)
        notes += missing_documents(test.qrels, corpus, kind="missing_in_corpus", place="the corpus that BM25 searches")
        notes += [] if documents is None else differing_collections(documents.ids, corpus)
        notes += [*bm25.notes, *_unanswered([row for row in rows if row.system == BASELINE])]
    return list({note.kind: note for note in notes}.values())


def rankings_of(
    search: Search, queries: int, wanted: int, index: Index, documents: IndexedDocuments
) -> list[list[tuple[str, float]]]:
    """Some documents for each query; where many passages are of one document, more passages are looked for."""
    asked, enough = wanted, min(wanted, len(documents.ids))
    found: dict[int, list[tuple[str, float]]] = {}
    left = list(range(queries))
    while left:
        short = []
        for n, ranking in zip(left, search(left, asked), strict=True):
            passages = list(ranking)
            found[n] = _by_document(passages, documents.document_of)
            if len(found[n]) < enough and len(passages) == asked < len(index):
                short.append(n)
        left, asked = short, min(2 * asked, len(index))
    return [found[n] for n in range(queries)]


def _by_document(ranking: Iterable[tuple[str, float]], document_of: Mapping[str, str]) -> list[tuple[str, float]]:
    """Each document once, with its best passage's score."""
    best: dict[str, float] = {}
    for passage, score in ranking:
        best.setdefault(document_of.get(passage, passage), score)
    return list(best.items())


def row_of_index(
    name: str, run: Run, test: TestCollection, measures: Sequence[str], seconds: float, index: Index
) -> Row:
    """The row of rankings of an index's documents.

    Args:
        name: the row's.
        run: documents, best first, one deeper than the measures look.
        test: what was asked.
        measures: names of measures.
        seconds: what all queries took.
        index: has the texts, where answers decide.
    """
    return _row(name, run, test, measures, seconds, _texts_in(index))


def _row(
    name: str,
    run: Run,
    test: TestCollection,
    measures: Sequence[str],
    seconds: float | None,
    texts_of: TextsOf | None,
) -> Row:
    depth, dropping = depth_of(measures), test.protocol.drop_identical
    kept = (
        without_identical_ids(run, test.qrels, depth)
        if dropping
        else {query: list(ranking[:depth]) for query, ranking in run.items()}
    )
    qrels = test.qrels
    if test.answers:
        if texts_of is None:
            raise InputError(f"{test.name} is judged by answers in texts: give the index that {name} was made of.")
        qrels = judged_by_answers(kept, test.answers, texts_of)
    of_each = of_each_query(kept, qrels, measures)
    dropped, stayed = identical_ids(run, qrels) if dropping else ((), ())
    a_query = None if seconds is None else seconds / max(1, len(test.queries))
    return Row(
        name, means_of(of_each), a_query, kept, depth, tuple(dropped), tuple(stayed), of_each=of_each, qrels=qrels
    )


def _texts_in(index: Index) -> TextsOf:
    """The texts of documents of an index, without titles that are known; of one that was cut, all its passages."""

    def texts_of(documents: Collection[str]) -> dict[str, str]:
        found: dict[str, list[str]] = {}
        try:
            passages = index.get(documents=documents)
        except InputError as error:
            raise InputError(f"{error} Answers are looked for in texts: give the index that the run is of.") from error
        for passage in passages:
            title = (passage.metadata or {}).get(TITLE)
            text = (passage.text or "").removeprefix(f"{title} " if title else "")
            found.setdefault(passage.document, []).append(text)
        return {document: "\n".join(texts) for document, texts in found.items()}

    return texts_of


def _judged(qrels: Qrels) -> set[str]:
    return {document for judgements in qrels.values() for document in judgements}


def _identical(rows: Sequence[Row]) -> list[Note]:
    dropped = dict.fromkeys(query for row in rows for query in row.dropped)
    return dropped_identical(dropped, dict.fromkeys(query for row in rows for query in row.kept))


def _titles(test: TestCollection, documents: IndexedDocuments) -> list[Note]:
    if not test.answers or documents.titled:
        return []
    sentence = (
        "An answer in a passage's title counts, where titles stand before the texts, which DPR does not count: index "
        "the passages with --metadata-fields title, and titles are left out."
    )
    return [Note("answers_in_titles", {}, sentence)]


def note_truncated(retriever: Retriever, queries: Mapping[str, str]) -> list[Note]:
    """Says which queries are longer than the model's window."""
    long = [query for query, text in queries.items() if is_truncated(retriever.encoder, text)]
    if not long:
        return []
    are = "is" if len(long) == 1 else "are"
    sentence = f"{counted(len(long), 'query')} {are} longer than the model's window and cut off there {quoted(long)}."
    return [Note("truncated_queries", {"queries": len(long), "examples": examples_of(long)}, sentence)]


def _unanswered(rows: Sequence[Row]) -> list[Note]:
    without = [query for row in rows for query, ranking in row.run.items() if not ranking and query not in row.dropped]
    if not without:
        return []
    sentence = f"BM25 found nothing for {counted(len(without), 'query')} {quoted(without)}: counted as 0."
    return [Note("unanswered_by_bm25", {"queries": len(without), "examples": examples_of(without)}, sentence)]
