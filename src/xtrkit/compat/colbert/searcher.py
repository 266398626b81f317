"""``Searcher``: an index by its name, and the k best passages of queries as (pids, ranks, scores)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.compat.colbert.data import Collection, Queries, Ranking
from xtrkit.compat.colbert.infra import ColBERTConfig, Run
from xtrkit.compat.saying import say_once, without_meaning
from xtrkit.compat.vectors import each_text
from xtrkit.errors import InputError
from xtrkit.recipes import COLBERT, Recipe, check_k
from xtrkit.retriever import Retriever
from xtrkit.search.engine import Ranking as Found
from xtrkit.values import FloatArray, Ragged

Pids = npt.NDArray[np.int64]
Filter = Callable[[Pids], Any]
"""Numbers of passages → those of them that may be found, as an array, a tensor or a list."""

Results = tuple[list[int], list[int], list[float]]


class Searcher:
    """Searches one index.

    Attributes:
        collection: its passages, by number.
        config: settings; ``ncells`` and ``ndocs`` may be changed between searches.
    """

    def __init__(
        self,
        index: str,
        checkpoint: str | None = None,
        collection: Any = None,
        config: ColBERTConfig | None = None,
        index_root: str | None = None,
        verbose: int = 3,
        recipe: Recipe = COLBERT,
    ) -> None:
        """Open an index.

        Args:
            index: its name below the folder of indexes, or its path.
            checkpoint: where its model is, if that has moved.
            collection: its passages; by default those that it stores.
            config: settings.
            index_root: the folder of indexes, instead of the run's.
            verbose: has no meaning here.
            recipe: how to score, which ColBERT has not: ``xtrkit.recipes.XTR`` scores by retrieved tokens alone.

        Raises:
            IndexFormatError: there is no index, or it is damaged.
            ModelError: its model can't be loaded.
        """
        self.config = ColBERTConfig.from_existing(config, Run().config)
        if not isinstance(index, str | Path):
            raise InputError(f"An index is named, or given as its path, got {index!r:.60}.")
        self.index = str(Path(index_root or self.config.index_root_, index).absolute())
        self.retriever = Retriever.open(self.index, model=checkpoint)
        self.collection = _Stored(self.retriever) if collection is None else Collection.cast(collection)
        self.recipe = recipe if recipe.reduction is not None else recipe.but(reduction="sum")
        self._check_lengths()

    def configure(self, **settings: Any) -> None:
        """Set settings, as :meth:`xtrkit.compat.colbert.infra.RunConfig.configure`."""
        self.config.configure(**settings)

    def encode(self, text: Any, full_length_search: bool = False) -> Ragged:
        """Token vectors of a query, or of several.

        Args:
            text: a text, a list of texts, or :class:`Queries`.
            full_length_search: has no meaning here.

        Raises:
            InputError: a query is no text, or has nothing in it.
        """
        without_meaning("full_length_search", full_length_search, False, "a query is as long as its text and the model")
        given = list(text.values()) if isinstance(text, Queries | Mapping) else text
        several = isinstance(given, Iterable) and not isinstance(given, str)
        queries: list[Any] = list(given) if several else [given]
        return self.retriever.encode_queries(queries)

    def search(
        self,
        text: str,
        k: int = 10,
        filter_fn: Filter | None = None,
        full_length_search: bool = False,
        pids: Sequence[int] | None = None,
    ) -> Results:
        """The k best passages of a query: their numbers, their ranks from 1, and their scores.

        Args:
            text: the query.
            k: how many; fewer come back only where there are fewer.
            filter_fn: called with the numbers of all passages (of ``pids``, if these are given); gives those that may
                be found.
            full_length_search: has no meaning here.
            pids: the passages that alone may be found.

        Raises:
            InputError: the query is empty, k can't be used, or a passage is not there.
        """
        return self.dense_search(self.encode(text, full_length_search), k, filter_fn, pids)

    def dense_search(
        self,
        Q: Any,  # noqa: N803  # ColBERT's name
        k: int = 10,
        filter_fn: Filter | None = None,
        pids: Sequence[int] | None = None,
    ) -> Results:
        """As :meth:`search`, of a query's token vectors: what :meth:`encode` gives, an array or a tensor.

        Raises:
            InputError: as :meth:`search`; or they are of several queries.
        """
        check_k(k)
        queries = list(Q) if isinstance(Q, Ragged) else each_text(Q)
        if len(queries) != 1:
            raise InputError(f"dense_search takes the token vectors of one query, got those of {len(queries)}.")
        return self._found(queries[0], k, self._subset(filter_fn, pids))

    def search_all(
        self,
        queries: Any,
        k: int = 10,
        filter_fn: Filter | None = None,
        full_length_search: bool = False,
        qid_to_pids: Mapping[Any, Sequence[int] | None] | None = None,
    ) -> Ranking:
        """The k best passages of each query.

        Args:
            queries: :class:`Queries`, a dict {qid: text}, a list, or the path of a file.
            k: as in :meth:`search`.
            filter_fn: as in :meth:`search`.
            full_length_search: has no meaning here.
            qid_to_pids: {qid: passages that alone may be found}; None for all.

        Raises:
            InputError: a query is empty, k can't be used, or a passage is not there.
        """
        check_k(k)
        asked = Queries.cast(queries)
        embeddings = list(self.encode(asked, full_length_search))
        if filter_fn is None and qid_to_pids is None:
            rankings = [_results(one) for one in self.retriever.index.search_batch(embeddings, k, recipe=self._recipe)]
        else:
            among = [None if qid_to_pids is None else qid_to_pids.get(qid) for qid in asked.data]
            rankings = [
                self._found(query, k, self._subset(filter_fn, pids))
                for query, pids in zip(embeddings, among, strict=True)
            ]
        data = {qid: list(zip(*found, strict=True)) for qid, found in zip(asked.data, rankings, strict=True)}
        provenance = {
            "source": "Searcher.search_all", "index": self.index, "k": k, "queries": asked.provenance(),
            "config": self.config.assigned,
        }  # fmt: skip
        return Ranking(data=data, provenance=provenance)

    @property
    def _recipe(self) -> Recipe:
        """How it is searched, with the effort that the settings ask for."""
        effort = {"nprobe": self.config.ncells, "candidates": self.config.ndocs}
        return self.recipe.but(**{name: value for name, value in effort.items() if value is not None})

    def _found(self, query: FloatArray, k: int, subset: list[str] | None) -> Results:
        if subset is not None and not subset:
            return [], [], []
        return _results(self.retriever.index.search(query, k, subset=subset, recipe=self._recipe))

    def _subset(self, filter_fn: Filter | None, pids: Sequence[int] | None) -> list[str] | None:
        """The ids of the passages that may be found; None where all may."""
        if filter_fn is None and pids is None:
            return None
        given = np.array(_numbers(self.retriever.index.ids() if pids is None else pids), dtype=np.int64)
        return [str(pid) for pid in (given if filter_fn is None else _numbers(_kept(filter_fn, given)))]

    def _check_lengths(self) -> None:
        """Say that lengths are settled when an index is made."""
        identity = self.retriever.encoder.identity
        for name, length in (("query_maxlen", identity.query_length), ("doc_maxlen", identity.document_length)):
            if getattr(self.config, name) not in (None, length):
                say_once(f"{name} was settled when the index was made, as {length}: give it to the Indexer.")


class _Stored:
    """The passages that an index stores, by number."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever

    def __getitem__(self, pid: int) -> str:
        return self._retriever.get([str(pid)])[0].text or ""

    def __len__(self) -> int:
        return len(self._retriever)

    def __iter__(self) -> Iterator[str]:
        return (self[int(name)] for name in self._retriever.index.ids())


def _kept(filter_fn: Filter, given: Pids) -> Any:
    """What a filter of the user's keeps.

    Raises:
        InputError: it gives something else than numbers of passages.
    """
    kept = filter_fn(given)
    if not isinstance(kept, Iterable) or str(getattr(kept, "dtype", "")).endswith("bool"):
        raise InputError(f"filter_fn gives those of the numbers that may be found, got {kept!r:.40}: pids[mask]?")
    return kept


def _results(found: Found) -> Results:
    return _numbers(found.ids), list(range(1, len(found) + 1)), [float(score) for score in found.scores]


def _numbers(ids: Any) -> list[int]:
    """Ids as numbers.

    Raises:
        InputError: one is none.
    """
    try:
        return [int(one) if isinstance(one, str) else operator.index(one) for one in ids]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Passages are numbers here, and some are called otherwise ({error}): use xtrkit.Retriever for those."
        ) from error
