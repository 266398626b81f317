"""All that a command measures at once: an index in several ways, runs, and BM25, on one collection or several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from xtrkit.errors import InputError
from xtrkit.evaluating.measuring import (
    BASELINE,
    IndexedDocuments,
    Row,
    build_bm25,
    check_searchable,
    measure,
    measure_bm25,
    measure_run,
    measure_words,
    names_with_words,
    notes_of,
)
from xtrkit.evaluation.bm25 import BM25, libraries
from xtrkit.evaluation.collection import TestCollection
from xtrkit.evaluation.measures import parse_measures
from xtrkit.evaluation.notes import Note, counted, listed
from xtrkit.evaluation.open_qa import tokeniser
from xtrkit.evaluation.run_files import any_ids, check_run, read_run
from xtrkit.fusion import ALPHA, FUSIONS
from xtrkit.recipes import Recipe
from xtrkit.retriever import Retriever
from xtrkit.storage.shards import is_cluster

SET = "{set}"
"""Stands in the names of runs for the name of a set."""
Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(what is done, of how many) -> what tells how many more are done."""


@dataclass(frozen=True)
class Systems:
    """What is measured.

    Attributes:
        recipes: names and recipes, of an index.
        fused: the name and the recipe that is fused with words; None where none is.
        alpha: the share of the token vectors in that.
        runs: files of runs; with :data:`SET` in the name one for each set.
        baseline: whether BM25 is measured, where a corpus lies beside the queries.
        threads: as in :meth:`xtrkit.Index.search_batch`.
    """

    recipes: Sequence[tuple[str, Recipe]] = ()
    fused: tuple[str, Recipe] | None = None
    alpha: float = ALPHA
    runs: Sequence[str] = ()
    baseline: bool = True
    threads: int | None = None

    def names(self, tests: Sequence[TestCollection], *, indexed: bool) -> list[str]:
        """What its rows can be called; those of words are left out where an index has none, BM25 where a set has none.

        Args:
            tests: what is asked.
            indexed: whether an index is searched.

        Raises:
            InputError: a run is given twice.
        """
        of_index = self._of_index() if indexed else []
        return [*of_index, *self.named_runs(), *[BASELINE] * self.with_baseline(tests)]

    def with_baseline(self, tests: Sequence[TestCollection]) -> bool:
        """Whether BM25 is measured on a set."""
        return self.baseline and any(test.corpus is not None for test in tests)

    def named_runs(self) -> dict[str, str]:
        """{what a run is called: its file}: the file's name without suffixes, or its path, where another is called so.

        Raises:
            InputError: a run is given twice.
        """
        short = [Path(run).name.removesuffix(".gz").rsplit(".", 1)[0] for run in self.runs]
        taken = [*short, *self._of_index(), BASELINE, SET]
        found: dict[str, str] = {}
        for name, run in zip(short, self.runs, strict=True):
            if run in found.values():
                raise InputError(f"The run {run} is given twice: leave one out.")
            found[name if taken.count(name) == 1 else run] = run
        return found

    def files(self, test: TestCollection) -> dict[str, Path]:
        """{what a run is called: its file for a set}."""
        return {name: Path(run.replace(SET, test.in_files)) for name, run in self.named_runs().items()}

    def _of_index(self) -> list[str]:
        fused = [] if self.fused is None else names_with_words(self.fused[0])
        return [*(name for name, _ in self.recipes), *fused]


@dataclass(frozen=True)
class Measured:
    """One collection with its rows.

    Attributes:
        test: the collection.
        measures: what was measured.
        rows: a row for each system.
        notes: what must be known to read them.
        encoding: seconds that a query took to encode; None where no index was searched.
        retriever: the index that was searched, if one was.
    """

    test: TestCollection
    measures: list[str]
    rows: list[Row]
    notes: list[Note]
    encoding: float | None = None
    retriever: Retriever | None = None

    @property
    def depth(self) -> int:
        """How deep was searched."""
        return max(row.depth for row in self.rows)


class Means(NamedTuple):
    """Means over sets.

    Attributes:
        group: what the sets have in common, such as "search"; empty for all.
        sets: which sets they are of.
        systems: {system: {measure: mean}}, of the systems and measures that all of them have.
    """

    group: str
    sets: list[str]
    systems: dict[str, dict[str, float]]


@dataclass
class Bench:
    """Measures collections; indexes, and BM25 over a corpus, are opened once for all that share them.

    Attributes:
        systems: what is measured.
        index: an index, or a folder of indexes that are called as the sets are; None for runs and BM25 alone.
        measures: names of measures; None for those of each collection's protocol.
        opened: opens an index.
        bar: shows how far things are.
        check_ids: refuses ids that can't be written, before anything is searched for.
    """

    systems: Systems
    index: Path | None
    measures: Sequence[str] | None
    opened: Callable[[Path], Retriever]
    bar: Bar
    check_ids: Callable[[Iterable[str]], None] = any_ids
    _opened: dict[Path, tuple[Retriever, IndexedDocuments]] = field(default_factory=dict)
    _bm25: dict[Path, BM25] = field(default_factory=dict)

    def prepare(self, tests: Sequence[TestCollection]) -> None:
        """Find what can't be measured before hours are spent on the first set.

        Raises:
            InputError: some sets have no index, or the id of a query can't be written.
            CollectionError: a file is no run, or not there.
            MissingExtraError: BM25, or what looks for answers, isn't installed.
        """
        if self.systems.with_baseline(tests):
            libraries()
        if any(test.answers for test in tests):
            tokeniser()
        self.check_ids(query for test in tests for query in test.queries)
        if self.index is not None and len(tests) > 1:
            places = {test.index_name: self._place(test, self.index) for test in tests}
            without = [name for name, place in places.items() if not is_index(place)]
            if without:
                raise InputError(
                    f"{self.index} is no index, and has none for {counted(len(without), 'set')} ({listed(without)}): "
                    f"expected {self.index / without[0]}."
                )
        for test in tests:
            for file in self.systems.files(test).values():
                check_run(file)

    def measured(self, test: TestCollection) -> Measured:
        """Measure one collection.

        Raises:
            InputError: there is nothing to measure; an index or a run is of another collection; or the id of a document
                can't be written.
        """
        measures = parse_measures(" ".join(test.protocol.measures)) if self.measures is None else list(self.measures)
        retriever = documents = encoding = None
        if self.index is not None:
            retriever, documents = self._open(test, self.index)
            check_searchable(retriever, test, documents)
        rows = self._runs(test, measures, retriever)  # first: an index is not searched for runs of something else
        bm25, notes = self._baseline(test)
        if retriever is not None and documents is not None:
            encoding, of_index = self._of_index(test, measures, retriever, documents)
            rows = [*of_index, *rows]
        if bm25 is not None:
            rows.append(measure_bm25(bm25, test, measures))
        if not rows:
            raise InputError(f"There is nothing to measure on {test.name}: give an index, or runs (--run).")
        told = notes_of(test, measures, rows, retriever=retriever, documents=documents, bm25=bm25)
        return Measured(test, measures, rows, [*told, *notes], encoding, retriever)

    def _of_index(
        self, test: TestCollection, measures: Sequence[str], retriever: Retriever, documents: IndexedDocuments
    ) -> tuple[float, list[Row]]:
        """Seconds that a query took to encode, and the rows of an index."""
        begin = time.perf_counter()
        embeddings = retriever.encode_queries(list(test.queries.values()))
        encoding = (time.perf_counter() - begin) / len(test.queries)
        fusing = self.systems.fused if retriever.index.has_words else None
        total = (len(self.systems.recipes) + (1 + len(FUSIONS)) * (fusing is not None)) * len(test.queries)
        with self.bar(f"Searching {test.name}", total) as advance:
            rows = list(
                measure(
                    retriever, test, self.systems.recipes, measures, embeddings=embeddings,
                    threads=self.systems.threads, advance=advance, documents=documents,
                )
            )  # fmt: skip
            if fusing is not None:
                rows += measure_words(
                    retriever, test, fusing, measures, embeddings=embeddings, advance=advance,
                    documents=documents, alpha=self.systems.alpha,
                )  # fmt: skip
        return encoding, rows

    def _place(self, test: TestCollection, index: Path) -> Path:
        return index if is_index(index) or not (index / test.index_name).is_dir() else index / test.index_name

    def _open(self, test: TestCollection, index: Path) -> tuple[Retriever, IndexedDocuments]:
        path = self._place(test, index)
        if path not in self._opened:
            retriever = self.opened(path)
            documents = IndexedDocuments.of(retriever.index)
            self.check_ids(documents.ids)
            self._opened[path] = retriever, documents
        return self._opened[path]

    def _baseline(self, test: TestCollection) -> tuple[BM25 | None, list[Note]]:
        if not self.systems.baseline:
            return None, []
        if test.corpus is None:
            return None, [Note("no_baseline", {}, "BM25 was left out: no corpus lies beside the queries.")]
        if test.corpus not in self._bm25:
            self._bm25[test.corpus] = build_bm25(test)
        return self._bm25[test.corpus], []

    def _runs(self, test: TestCollection, measures: Sequence[str], retriever: Retriever | None) -> list[Row]:
        index = None if retriever is None else retriever.index
        files = self.systems.files(test)
        return [measure_run(name, read_run(file), test, measures, index) for name, file in files.items()]


def is_index(path: Path) -> bool:
    """Whether a folder is an index, of any version, or a cluster of shards."""
    return any(path.glob("manifest-*.json")) or is_cluster(path)


def means_over(sets: Sequence[Measured]) -> list[Means]:
    """Means over sets, each counting alike; LoTTE's search and forum queries apart, as papers have them."""
    groups: dict[str, list[Measured]] = {}
    for one in sets:
        groups.setdefault(one.test.group, []).append(one)
    return [_means(group, members) for group, members in groups.items()]


def _means(group: str, sets: Sequence[Measured]) -> Means:
    of_sets: list[Mapping[str, Mapping[str, float]]] = [{row.system: row.measures for row in one.rows} for one in sets]
    measures = [name for name in sets[0].measures if all(name in one.measures for one in sets)]
    systems = [name for name in of_sets[0] if all(name in rows for rows in of_sets)]
    found = {
        system: {name: sum(rows[system][name] for rows in of_sets) / len(sets) for name in measures}
        for system in systems
    }
    return Means(group, [one.test.name for one in sets], found)
