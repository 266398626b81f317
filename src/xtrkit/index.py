"""The index as users meet it: embeddings in, rankings out, without any encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.indexing.changing import Writer, WriteSummary, checked_ids
from xtrkit.indexing.checking import verify
from xtrkit.indexing.cluster_writer import collect_compacted_any, compact_any, writer_of
from xtrkit.indexing.creating import Making, write_store
from xtrkit.indexing.documents import Batches, joined
from xtrkit.indexing.exporting import write_vectors
from xtrkit.indexing.importing import write_stanford
from xtrkit.indexing.index_checking import Report
from xtrkit.indexing.pooling import pooling_of
from xtrkit.indexing.stanford import StanfordIndex
from xtrkit.indexing.store import DEFAULT_BITS
from xtrkit.opened import OpenedIndex
from xtrkit.passage import Metadata, Part, Passage
from xtrkit.progress import Advance, Reporter
from xtrkit.recipes import XTR, Recipe, check_k, check_threads, chosen
from xtrkit.scoring.ranking import best_first
from xtrkit.search.engine import Contribution, Evidence, Found, Ranked, Ranking, contributions
from xtrkit.storage.generations import back_up
from xtrkit.storage.shards import back_up_cluster, is_cluster
from xtrkit.subsets import Subset, mask_of
from xtrkit.values import EncoderIdentity, FloatArray, Mask, Ragged, as_floats

QUERIES_AT_A_TIME = 64
Where = Mapping[str, Any]
"""A condition on metadata."""

LARGEST = float(np.finfo(np.float16).max)
"""The largest number that documents may have, and so queries."""

SMALLEST = 1e-34
"""The smallest that the largest number of a query's token vector may be: float32 ends at 1e-38."""


class Index(OpenedIndex):
    """Token vectors of documents on disk, memory-mapped; searched exactly, or compressed and searched approximately.

    Make one with :meth:`create`, open it with :meth:`open`. It may be used from several threads, and as a context
    manager that closes its files.
    """

    @classmethod
    def create(
        cls,
        path: str | Path,
        batches: Batches,
        *,
        ids: Iterable[str] | None = None,
        texts: Iterable[str] | None = None,
        metadata: Iterable[Metadata | None] | None = None,
        parts: Iterable[Part | None] | None = None,
        encoder: EncoderIdentity | None = None,
        nbits: int = DEFAULT_BITS,
        codec: str = "grid",
        overwrite: bool = False,
        progress: bool = False,
        n_documents: int | None = None,
        device: str | None = None,
        threads: int | None = None,
        pool_factor: int = 1,
        protected_tokens: int = 0,
        dim: int | None = None,
    ) -> Index:
        """Write an index and open it. One batch is in memory at a time, so the corpus may be of any size.

        Args:
            path: directory to make; it appears when the index is complete.
            batches: the documents' token vectors, some documents at a time: an iterator of lists of (m, d) arrays.
                A :class:`Ragged` is such a list. Or a function that is given the number of a document and returns
                such an iterator from there on: then a build that was stopped, killed even, goes on where it was when
                it is called again. What is on disk of it is used as far as ``encoder`` and the first ``ids`` and
                ``texts`` are the same; it lies in ``.NAME.building`` beside ``path``. With an iterator nothing is
                left of a build that was stopped.
            ids: the documents' ids, unique strings; "0", "1", … where they are left out.
            texts: the documents' texts, to be shown with results.
            metadata: the documents' metadata: names to texts, numbers, booleans or None, to filter by.
            parts: which parts of which longer documents they are: (id, first character, last) or None.
            encoder: which encoder made the vectors; a :class:`xtrkit.Retriever` checks it.
            nbits: 1, 2, 4 or 8 compress the vectors to so many bits a dimension, in clusters of which a search opens
                some; 16 keeps them as float16 and searches exactly.
            codec: how vectors are compressed: "grid", or "buckets" as ColBERTv2 and PLAID do.
            overwrite: replace an index that is there already, once the new one is complete.
            progress: show on standard error how each phase goes on.
            n_documents: how many documents there will be, if that is known, to tell the time left.
            device: "cuda" or another device of torch's that finds clusters; by default the CPU, without torch.
            threads: how many compute clusters and codes; as many as there are cores to use by default. The index is the
                same for any number.
            pool_factor: keep one vector for so many of a document, the mean of some that are alike; the index
                remembers it, and pools what is added. 1 keeps all.
            protected_tokens: how many of the first vectors of a document are not pooled.
            dim: keep so many dimensions of the vectors, a multiple of 8: the directions in which those that are
                indexed first are longest. Queries keep all of theirs, and the index turns them. None keeps all.

        Raises:
            IndexExistsError: something is at ``path`` already.
            IndexLockedError: another process is building an index at ``path``.
            InputError: vectors, ids or texts can't be used; nothing is left behind.
        """
        target = Path(path).absolute()  # what gives the batches may change the folder
        write_store(
            target,
            batches,
            joined(ids, texts, metadata, parts),
            encoder=encoder,
            making=Making(
                nbits,
                codec,
                overwrite,
                device,
                n_documents,
                threads=threads,
                pooling=pooling_of(pool_factor, protected_tokens),
                dim=dim,
            ),
            reporter=Reporter(progress),
        )
        return cls.open(target)

    @classmethod
    def from_stanford(
        cls,
        path: str | Path,
        source: str | Path,
        *,
        passages: Iterable[Passage] | None = None,
        overwrite: bool = False,
        progress: bool = False,
    ) -> Index:
        """Make an index of one that Stanford's ColBERT made (ColBERTv2, PLAID), and open it.

        Centroids, buckets and codes are taken over as they are; torch is not needed, and no code in the files is run.

        Args:
            path: directory to make.
            source: directory of the other index, with ``metadata.json`` in it.
            passages: the passages in the order of the other index, ids unique; "0", "1", … and no texts where they are
                left out.
            overwrite: replace an index that is there already, once the new one is complete.
            progress: show on standard error how it goes on.

        Raises:
            IndexExistsError: something is at ``path`` already.
            IndexFormatError: there is no such index at ``source``, or it is damaged.
            InputError: it has more passages than were given, or fewer.
        """
        target = Path(path).absolute()
        other = StanfordIndex.open(Path(source).absolute())
        write_stanford(target, other, passages=passages, overwrite=overwrite, reporter=Reporter(progress))
        return cls.open(target)

    def writer(self, *, progress: bool = False) -> Writer:
        """Change the index: ``with index.writer() as w: w.add(ids, embeddings)`` makes one generation of all changes.

        Of a cluster, too: each document goes to one shard (:mod:`xtrkit.indexing.cluster_writer`).

        Call :meth:`refresh` to see them in this object.

        Args:
            progress: show on standard error how each phase goes on.

        Raises:
            IndexLockedError: another writer is at work.
        """
        return writer_of(self.path, Reporter(progress))

    def delete(
        self, ids: Iterable[str] = (), *, documents: Iterable[str] = (), missing_ok: bool = False
    ) -> WriteSummary:
        """Delete passages in one commit, and move to it; :meth:`xtrkit.indexing.changing.Writer.delete` tells more.

        Raises:
            InputError: an id is not there, or none was given; nothing was deleted.
            IndexLockedError: another writer is at work.
        """
        names, wholes = checked_ids(ids), checked_ids(documents)
        if not names and not wholes:
            raise InputError("There are no ids to delete: name some passages, or documents.")
        with self.writer() as writer:
            writer.delete(names, documents=wholes, missing_ok=missing_ok)
            summary = writer.commit()
        self.refresh()
        return summary

    def compact(self, *, retrain: bool | None = None, progress: bool = False) -> WriteSummary:
        """Make one segment of all, without what was deleted, and move to it.

        The files of older generations are removed, those that another reader or a :meth:`snapshot` holds once they are
        closed; :func:`xtrkit.indexing.writer.compact` tells more.
        """
        summary = compact_any(self.path, retrain=retrain, reporter=Reporter(progress))
        if self.refresh():  # which lets go of what this object kept on disk until now
            collect_compacted_any(self.path, summary.generation)
        return summary

    def verify(self, *, full: bool = False) -> Report:
        """Look whether the newest generation is what was written; :func:`xtrkit.indexing.checking.verify` tells more.

        Args:
            full: read every file and compare its sha256, and every passage with its checksum. Without it: sizes,
                headers, counts, and SQLite's own check.
        """
        return verify(self.path, full=full)

    def backup(self, target: str | Path) -> int:
        """Copy this generation into a new directory, an index of its own, while writers work; return its number.

        Raises:
            StorageError: the copy could not be written.
        """
        copy = back_up_cluster if is_cluster(self.path) else back_up
        return copy(self.path, Path(target), self.generation)

    def export_vectors(self, target: str | Path) -> tuple[int, int]:
        """Write the token vectors of living documents for other programs, their lengths and their ids.

        Args:
            target: a ``.safetensors`` file ("vectors" (M, d) float16 and "lengths" (N,) int32), or a ``.npy`` file of
                the vectors, with the lengths in ``NAME.lengths.npy``. ``NAME.ids.txt`` gets one id a line, as JSON
                strings.

        Returns:
            how many documents, and how many vectors.

        Raises:
            InputError: the file's name ends otherwise.
            StorageError: a file is there already, or can't be written.
        """
        return write_vectors(Path(target), self.living_rows(), self.ids())

    def similarity_error_bounds(self, query: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) how far the similarities of each query token can be from those with the vectors that were indexed.

        Zeros for an exact index; see :func:`xtrkit.token_retrieval.error.similarity_error_bounds` for compressed ones.
        """
        return self._engine.similarity_error_bounds(self._checked_query(query))

    def evidence(self, query: FloatArray, found: Found) -> Evidence:
        """The token hits and imputed similarities behind the XTR scores of what a search of ``query`` found.

        Args:
            query: the query's (n, d) token embeddings.
            found: the :class:`~xtrkit.Ranking` of that search.
        """
        return self._engine.evidence(self._checked_query(query), found)

    def explain(self, query: FloatArray, found: Found, documents: Sequence[int] | None = None) -> list[Contribution]:
        """What each query token added to the scores of documents that a search of ``query`` found.

        Args:
            query: the query's (n, d) token embeddings.
            found: the :class:`~xtrkit.Ranking` of that search.
            documents: numbers of documents in it; all of them where they are left out.
        """
        wanted = found.documents.tolist() if documents is None else documents
        return list(contributions(self._engine, self._checked_query(query), found, wanted))

    def search(
        self,
        query: FloatArray,
        k: int = 10,
        *,
        subset: Subset | None = None,
        where: Where | None = None,
        recipe: Recipe = XTR,
        threads: int | None = None,
        **choices: Any,
    ) -> Ranking:
        """The k best documents of one query.

        Args:
            query: (n, d) token embeddings of the query, floating point.
            k: how many documents; fewer come back only where the index, or the subset, has fewer.
            subset: which documents may be found: their ids, an (N,) boolean array that marks them, or an array of
                their numbers. The id of a document that was cut into passages stands for all of them. It is a filter:
                scores are those that the documents have without it, and documents that the query would not have
                reached come after those that it would.
            where: a condition on the documents' metadata, such as ``{"year": {"$gte": 2020}, "lang": "en"}``
                (:mod:`xtrkit.indexing.filters`); a filter like ``subset``, and both hold where both are given.
            recipe: how to score.
            threads: pieces of an exact index that are looked at at a time, as many as there are cores by default.
            **choices: fields of :class:`~xtrkit.recipes.Recipe` that shall differ from ``recipe``: ``scoring``,
                ``k_prime``, ``imputation``, ``reduction``, ``nprobe``, ``candidates``.

        Raises:
            InputError: the query has no tokens, another dimension than the index or numbers that are not finite, k
                is not a positive whole number, a choice is unknown, the subset names what isn't there, or ``where`` is
                no condition, or names a field that no document has.
        """
        (ranking,) = self.search_batch(
            [query], k, subset=subset, where=where, recipe=recipe, threads=threads, **choices
        )
        return ranking

    def search_batch(
        self,
        queries: Sequence[FloatArray] | Ragged,
        k: int = 10,
        *,
        subset: Subset | None = None,
        where: Where | None = None,
        recipe: Recipe = XTR,
        threads: int | None = None,
        advance: Advance = lambda amount: None,
        **choices: Any,
    ) -> list[Ranking]:
        """The k best documents of each query; an exact index is read once for every 64 of them.

        Args:
            queries: the queries' (n, d) token embeddings.
            k: as in :meth:`search`.
            subset: as in :meth:`search`.
            where: as in :meth:`search`.
            recipe: as in :meth:`search`.
            threads: how many queries a compressed index answers at a time, 1 unless said otherwise; how many pieces
                of an exact one are looked at at a time, as many as there are cores. The results are the same for every
                number of threads.
            advance: called with the number of queries that have been answered.
            **choices: as in :meth:`search`.

        Raises:
            InputError: as in :meth:`search`.
        """
        rankings, index = [], self.snapshot()
        for found in index._found(
            queries, k, subset=subset, where=where, recipe=recipe, threads=threads, advance=advance, **choices
        ):
            ids = index.ids_of(found.documents.tolist())
            rankings.append(Ranking(**vars(found), ids=ids))
        return rankings

    def _found(
        self,
        queries: Sequence[FloatArray] | Ragged,
        k: int = 10,
        *,
        subset: Subset | None = None,
        where: Where | None = None,
        recipe: Recipe = XTR,
        threads: int | None = None,
        advance: Advance = lambda amount: None,
        **choices: Any,
    ) -> Iterator[Found]:
        """As :meth:`search_batch`, as document numbers instead of ids."""
        check_k(k)
        check_threads(threads)
        recipe = chosen(recipe, choices)
        checked = [self._checked_query(query) for query in queries]
        index = self.snapshot()
        recipe = recipe.at(index.pooling, index.nprobe)
        return index._searched(checked, k, recipe, index._mask(subset, where), threads, advance)

    def search_words(
        self, query: str, k: int = 10, *, subset: Subset | None = None, where: Where | None = None
    ) -> list[tuple[str, float]]:
        """Ids and scores of the best documents by their words alone (BM25), k at most: those with a word of the query.

        Args:
            query: a text.
            k: how many documents.
            subset: as in :meth:`search`; words are weighed by all documents.
            where: as in :meth:`search`.

        Raises:
            InputError: the index has no texts, or an argument can't be used.
            IndexFormatError: its words were found in another way than this xtrkit's.
        """
        check_k(k)
        index = self.snapshot()
        found = index._words_found(query, k, subset, where)
        ids = index.ids_of(found.documents.tolist())
        return list(zip(ids, found.scores.tolist(), strict=True))

    def _words_found(self, query: str, k: int, subset: Subset | None, where: Where | None) -> Ranked:
        """As :meth:`search_words`, as document numbers; of equals those that were indexed first come first."""
        scores, mask = self._store.words.scores(query), self._mask(subset, where)
        having = scores > 0
        documents = np.flatnonzero(having if mask is None else having & mask)
        return Ranked(*best_first(documents, scores[documents].astype(np.float64), k))

    def _mask(self, subset: Subset | None, where: Where | None) -> Mask | None:
        """(N,) which documents may be found; None where all may."""
        passages = self._store.passages
        mask = None if subset is None else mask_of(subset, len(self.document_offsets) - 1, passages.numbers_named)
        if where is None:
            return mask
        matching = passages.matching(where)
        return matching if mask is None else mask & matching

    def _searched(
        self,
        queries: list[FloatArray],
        k: int,
        recipe: Recipe,
        subset: Mask | None,
        threads: int | None,
        advance: Advance,
    ) -> Iterator[Found]:
        for first in range(0, len(queries), QUERIES_AT_A_TIME):
            part = Ragged.from_arrays(queries[first : first + QUERIES_AT_A_TIME])
            yield from self._engine.search(part, k, recipe, subset, threads)
            advance(len(part))

    def _checked_query(self, query: Any) -> FloatArray:
        if isinstance(query, list | tuple):
            query = _array_of(query)
        query = as_floats(query, "The query")
        if query.ndim != 2:
            raise InputError(
                f"A query must be token embeddings of shape (tokens, dimensions), got shape {query.shape}."
            )
        if query.shape[1] != self.dim:
            raise InputError(
                f"The query has {query.shape[1]} dimensions, the index {self.dim}: "
                "encode queries with the model that encoded the documents."
            )
        if not len(query):
            raise InputError("The query has no tokens: a query needs at least one token embedding.")
        lengths = np.abs(query).max(axis=1)
        if not lengths.max() <= LARGEST:  # NaN isn't, either
            raise InputError(
                "The query has NaN, infinity or a number beyond ±65504 among its embeddings: "
                "check the encoder that made it."
            )
        if not lengths.all():
            raise InputError(
                f"The query has a token vector of zeros (token {int(lengths.argmin())}): leave padding out, it would "
                "count as a token."
            )
        if lengths.min() < SMALLEST:
            raise InputError(
                f"The query has a token vector whose largest number is {lengths.min():.2g} (token "
                f"{int(lengths.argmin())}), too small to reckon with: multiply the query by one number, so that its "
                "token vectors are about 1 long; scores scale with it, the ranking stays."
            )
        return np.asarray(query, dtype=np.float32)


def _array_of(query: list[Any] | tuple[Any, ...]) -> npt.NDArray[Any]:
    """A query that was given as lists of numbers."""
    try:
        return np.asarray(query)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"The query is a {type(query).__name__} that makes no array ({error}).") from error
