"""``indexes.PLAID`` and ``indexes.Voyager``: both are one index of xtrkit's, below ``index_folder/index_name``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xtrkit.compat.pylate.rank import RerankResult
from xtrkit.compat.saying import all_without_meaning, say_once
from xtrkit.compat.vectors import Embeddings, each_text
from xtrkit.errors import IndexExistsError, InputError
from xtrkit.index import Index
from xtrkit.indexing.creating import check_free
from xtrkit.indexing.store import DEFAULT_BITS
from xtrkit.recipes import COLBERT, Recipe, check_k
from xtrkit.storage.generations import generations
from xtrkit.values import FloatArray

Subset = Sequence[str] | Sequence[Sequence[str]]
"""Ids of documents that alone may be found: the same for all queries, or a list for each."""

_CLUSTERS = "xtrkit finds clusters in its own way"
_BATCHES = "one query is looked up after the other"
OF_INDEXES: dict[str, tuple[Any, str]] = {
    "use_fast": (True, "there is one engine"),
    **dict.fromkeys(("kmeans_niters", "max_points_per_centroid", "n_samples_kmeans"), (None, _CLUSTERS)),
    **dict.fromkeys(("batch_size", "search_batch_size", "index_bsize"), (None, _BATCHES)),
    **dict.fromkeys(("M", "ef_construction", "ef_search"), (None, "there is no graph of neighbours")),
    "use_triton": (None, "clusters are found without it"),
    "embedding_size": (None, "the vectors that are added have it"),
    "nranks": (1, "one process builds the index"),
    "centroid_score_threshold": (None, "no cluster is left out for its score"),
    **dict.fromkeys(("num_leaves", "num_leaves_to_search", "store_embeddings"), (None, _CLUSTERS)),
}


class PLAID:
    """An index of token vectors on disk, by string ids; it appears with the first documents.

    Attributes:
        path: its directory.
        recipe: how it is searched: MaxSim, as ColBERT, in sums.
    """

    is_end_to_end_index = True

    def __init__(
        self,
        index_folder: str | Path = "indexes",
        index_name: str = "colbert",
        override: bool = False,
        *,
        nbits: int = DEFAULT_BITS,
        n_ivf_probe: int | None = None,
        n_full_scores: int | None = None,
        device: str | None = None,
        **more: Any,
    ) -> None:
        """Open an index, or say where one goes.

        Args:
            index_folder: the folder of indexes.
            index_name: the index's name.
            override: replace an index of that name, once documents are added.
            nbits: bits a dimension, as in :meth:`xtrkit.Index.create`.
            n_ivf_probe: clusters that are opened a query token, ``nprobe`` of xtrkit's; its default where left out.
            n_full_scores: documents whose MaxSim is computed, ``candidates`` of xtrkit's; likewise.
            device: "cuda" searches there; "cpu" and None on the CPU, without torch.
            **more: PyLate's other arguments, which have no meaning here.

        Raises:
            IndexExistsError: something is there that is no index of xtrkit's.
            InputError: an argument is unknown, or can't be used.
        """
        self._progress = bool(more.pop("show_progress", False))
        n_ivf_probe, n_full_scores = more.pop("ncells", n_ivf_probe), more.pop("ndocs", n_full_scores)
        all_without_meaning(more, OF_INDEXES, f"{type(self).__name__}(…)")
        self.path = Path(index_folder, index_name).absolute()
        self.recipe = COLBERT if n_ivf_probe is None else COLBERT.but(nprobe=n_ivf_probe)
        self.recipe = self.recipe if n_full_scores is None else self.recipe.but(candidates=n_full_scores)
        self._nbits, self._override = nbits, override
        self._device = None if device in (None, "cpu") else device
        self._index: Index | None = None
        if self.path.exists() and not generations(self.path):
            raise IndexExistsError(f"{self.path} exists and is no index of xtrkit's: name another, or make it again.")
        if self.path.exists() and not override:
            self._index = Index.open(self.path, device=self._device)

    def add_documents(self, documents_ids: str | Sequence[str], documents_embeddings: Embeddings, **more: Any) -> PLAID:
        """Add documents in one commit; those whose ids are there already are replaced.

        Args:
            documents_ids: an id, or one a document; whole numbers become texts.
            documents_embeddings: token vectors of each.
            **more: ``batch_size``, which has no meaning here.

        Raises:
            InputError: there are other numbers of ids and documents, or something can't be stored; nothing was added.
        """
        all_without_meaning(more, OF_INDEXES, "add_documents(…)")
        ids, embeddings = _ids(documents_ids), each_text(documents_embeddings)
        if len(ids) != len(embeddings):
            raise InputError(f"There are {len(ids)} ids for {len(embeddings)} documents: give one for each.")
        if not ids:
            raise InputError("There are no documents to add: give ids and token vectors of some.")
        if self._index is None:
            check_free(self.path, overwrite=self._override)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._index = Index.create(
                self.path, [embeddings], ids=ids, nbits=self._nbits, overwrite=self._override, progress=self._progress
            )
            if self._device is not None:
                self._index = Index.open(self.path, device=self._device)
            return self
        with self._index.writer(progress=self._progress) as writer:
            writer.add(ids, embeddings)
        self._index.refresh()
        return self

    def remove_documents(self, documents_ids: str | Sequence[str]) -> PLAID:
        """Remove documents in one commit.

        Raises:
            InputError: one is not there; nothing was removed.
        """
        self._opened().delete(_ids(documents_ids))
        return self

    def __call__(
        self, queries_embeddings: Embeddings, k: int = 10, subset: Subset | None = None, recipe: Recipe | None = None
    ) -> list[list[RerankResult]]:
        """The k best documents of each query.

        Args:
            queries_embeddings: token vectors of each query.
            k: how many; fewer come back only where there are fewer.
            subset: ids of the documents that may be found, or a list of ids for each query.
            recipe: how to score, instead of MaxSim.

        Raises:
            InputError: the index is empty, k or a query can't be used, or the subset names what is not there.
        """
        check_k(k)
        index, queries = self._opened(), each_text(queries_embeddings)
        recipe = recipe or self.recipe
        if subset is None:
            rankings = [list(ranking) for ranking in index.search_batch(queries, k, recipe=recipe)]
        else:
            subsets = _of_each(subset, len(queries))
            rankings = [
                list(index.search(query, k, subset=among, recipe=recipe)) if among else []
                for query, among in zip(queries, subsets, strict=True)
            ]
        return [[{"id": name, "score": score} for name, score in ranking] for ranking in rankings]

    def get_documents_embeddings(self, document_ids: Sequence[Sequence[str]]) -> list[list[FloatArray]]:
        """Token vectors of documents, a list for each list of ids; decompressed where they are compressed.

        Raises:
            InputError: one is not there.
        """
        index = self._opened()
        return [[index.vectors(index.number(name)) for name in _ids(names)] for names in document_ids]

    def _opened(self) -> Index:
        if self._index is None:
            raise InputError("The index is empty: add documents before it is searched.")
        return self._index


class Voyager(PLAID):
    """As :class:`PLAID`: the same index, under the name that code for PyLate may have."""


class ScaNN(PLAID):
    """As :class:`PLAID`: the same index, under the name that code for PyLate may have."""


def _ids(given: Any) -> list[str]:
    """Ids as texts."""
    if not isinstance(given, Iterable):
        raise InputError(f"Ids come as a list, got {given!r:.40} of type {type(given).__name__}.")
    names = [given] if isinstance(given, str) else list(given)
    if any(isinstance(name, int) and not isinstance(name, bool) for name in names):
        say_once("Ids are texts in xtrkit: whole numbers were made texts, and come back as texts.")
        names = [str(name) if isinstance(name, int) else name for name in names]
    return names


def _of_each(subset: Subset, queries: int) -> list[list[str]]:
    """The ids that each query may find."""
    given = list(subset)
    if not any(isinstance(one, list | tuple | set | frozenset) for one in given):
        return [_ids(given)] * queries
    if len(given) != queries:
        raise InputError(f"A subset for each query must have {queries} lists of ids, got {len(given)}.")
    return [_ids(one) for one in given]
