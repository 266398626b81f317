"""The facade: text in, hits out. An index, the encoder that made it, and nothing in between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from xtrkit.asking import Request, check_query, heard, maxsim_order, request_of, texts_of
from xtrkit.encoding.base import Encoder, markers_before
from xtrkit.encoding.load import load_encoder, load_encoder_of, loaded_encoder
from xtrkit.encoding.worker_pool import check_workers, in_processes
from xtrkit.errors import InputError, ModelError
from xtrkit.explain import Match, PooledText, matches, pooled_texts
from xtrkit.fusion import Fused, fused
from xtrkit.hits import Hits, Scores, facets_of, hit_of
from xtrkit.index import Index, Where
from xtrkit.indexing.changing import WriteSummary
from xtrkit.indexing.creating import Making, check_free
from xtrkit.indexing.index_checking import Report
from xtrkit.indexing.pooling import pooling_of
from xtrkit.indexing.store import DEFAULT_BITS
from xtrkit.passage import Passage
from xtrkit.progress import progress_bar
from xtrkit.recipes import XTR, Recipe, check_k, chosen
from xtrkit.reranking.base import DEPTH, Reranker, rerank
from xtrkit.reranking.load import load_reranker
from xtrkit.search.engine import Contribution, Found
from xtrkit.stopwatch import Stopwatch
from xtrkit.subsets import Subset
from xtrkit.texts.building import IndexingSummary, index_texts
from xtrkit.texts.changes import folder_source
from xtrkit.texts.document import PLAIN_FIELDS, Fields
from xtrkit.texts.encoding import suited_model
from xtrkit.texts.given import Given, source_of
from xtrkit.texts.syncing import SyncSummary, sync_folder
from xtrkit.texts.updating import AddingSummary, add_texts
from xtrkit.values import FloatArray, Pooling, Ragged

FREE_IDS = 256
"""Numbers that are looked up at a time, to find ids that no passage has yet."""


class Retriever:
    """Indexes texts, searches them, and keeps them up to date.

    ``Retriever.create("idx", passages)`` makes an index, ``Retriever.open("idx")`` opens one with the encoder that it
    was made with; ``Retriever(index, encoder)`` takes both as they are, after checking that they belong together. It
    may be used from several threads, and pickled: another process opens it by path.

    Attributes:
        index: what is searched.
        encoder: what made its vectors.
        reranker: scores the best of each ranking again, from the passages' texts; None leaves rankings as they are.
        indexed: what :meth:`create` did; None where the index was opened.
    """

    indexed: IndexingSummary | None = None

    def __init__(self, index: Index, encoder: Encoder, *, reranker: Reranker | None = None) -> None:
        _check_same_encoder(index, encoder)
        self.index = index
        self.encoder = encoder
        self.reranker = reranker

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of living passages."""
        return len(self.index)

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    @classmethod
    def create(
        cls,
        path: str | Path,
        passages: Given,
        *,
        model: str | Path | Encoder = "default",
        nbits: int = DEFAULT_BITS,
        codec: str = "grid",
        pool_factor: int = 1,
        dim: int | None = None,
        split: bool = True,
        fields: Fields = PLAIN_FIELDS,
        skip_bad: bool = False,
        overwrite: bool = False,
        batch_size: int = 32,
        device: str | None = None,
        runtime: str | None = None,
        workers: int = 1,
        progress: bool = False,
    ) -> Retriever:
        """Encode passages, index them, and open the index.

        Everything that can be checked is checked before the first passage is encoded. A run that is stopped leaves what
        it has encoded beside ``path``, and the same call goes on from there.

        Args:
            path: directory to make; it appears when the index is complete.
            passages: texts, dicts, pairs (id, text), Passages, a table, or where they lie on disk, as
                :func:`xtrkit.texts.given.source_of` takes them. They are gone through once.
            model: the encoder, as :func:`xtrkit.load_encoder` takes it, or a loaded one. "default" is xtrkit-mini, or
                xtrkit-multi where files are mostly not English and it is installed; a warning says so.
            nbits: 1, 2, 4 or 8 compress vectors to so many bits a dimension; 16 keeps every vector as float16 and
                searches exactly, some fifty times slower.
            codec: how vectors are compressed: "grid", or "buckets" as ColBERTv2 and PLAID do.
            pool_factor: keep one vector for so many of a passage, the mean of some that are alike, as
                :meth:`xtrkit.Index.create` does; what the model puts before a text ([CLS]) keeps its own.
            dim: keep so many dimensions of the vectors, as :meth:`xtrkit.Index.create` does.
            split: cut documents into passages: at headings and pages where they have some, and where they are longer
                than the model's window. The index remembers it, and searches show each document once. Without it texts
                are cut off at the window's end; a warning, and ``indexed.truncated``, say how many.
            fields: where records keep id, text, title and metadata.
            skip_bad: leave out what can't be read instead of refusing all of it; ``indexed.report`` has the list.
            overwrite: replace an index that is there already, once the new one is complete.
            batch_size: texts encoded together.
            device: "cuda" or another device of torch's that encodes the documents and finds their clusters; by default
                the model's own choice and the CPU. Where a loaded model encodes was said when it was loaded.
            runtime: what encodes the documents, as :func:`xtrkit.load_encoder` takes it.
            workers: how many processes encode; they share the cores, and each loads the model. The index is the same.
            progress: show on standard error what the index will take, and how each phase goes on.

        Raises:
            InputError: something is no passage, or can't be stored; nothing is left behind.
            IndexExistsError: something is at ``path`` already.
            ModelError: the model can't be loaded.
            WorkerError: a process that encoded ended before it was done.
        """
        path = Path(path).absolute()  # what gives the passages may change the folder
        check_free(path, overwrite=overwrite)
        check_workers(workers)
        finds_clusters = None if device == "cpu" else device  # the CPU does so without torch
        source, making = source_of(passages, fields), Making(nbits, codec, overwrite, finds_clusters, dim=dim)
        pooling = pooling_of(pool_factor)
        encoder = loaded_encoder(suited_model(source, model), device=device, runtime=runtime)
        if pooling is not None:
            making = replace(making, pooling=replace(pooling, protected=markers_before(encoder)))
        with in_processes(encoder, workers) as working:
            summary = index_texts(
                source,
                path,
                working,
                making,
                batch_size=batch_size,
                split=split,
                skip_bad=skip_bad,
                progress=progress,
            )
        made = cls(Index.open(path), encoder)
        made.indexed = summary
        return made

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        model: str | None = None,
        reranker: Reranker | str | Path | None = None,
        device: str | None = None,
        encoder_threads: int | None = None,
        encoder_device: str | None = None,
        encoder_runtime: str | None = None,
    ) -> Retriever:
        """Open an index and load its encoder, and a reranker where one is named.

        Args:
            path: directory of the index.
            model: where to find the encoder; by default under the name that it had when the index was made.
            reranker: what scores the best passages again: a name or a directory, as
                :func:`~xtrkit.reranking.load_reranker` takes them, or a loaded one.
            device: where a compressed index is searched, as in :meth:`xtrkit.Index.open`.
            encoder_threads: how many threads the encoder computes on, as in :func:`xtrkit.load_encoder`. Queries are
                short: where several are encoded side by side, one is best.
            encoder_device: what documents that are added are encoded on, as in :func:`xtrkit.load_encoder`.
            encoder_runtime: what encodes them, as there.

        Raises:
            IndexFormatError: there is no index, or it is damaged.
            ModelError: a model can't be loaded, or isn't the one that made the index.
        """
        if isinstance(reranker, str | Path):
            reranker = load_reranker(reranker)
        index = Index.open(path, device=device)
        opening: dict[str, Any] = {"device": encoder_device, "threads": encoder_threads, "runtime": encoder_runtime}
        if index.encoder is not None:
            return cls(index, load_encoder_of(index.encoder, model, **opening), reranker=reranker)
        if model is None:
            raise ModelError(
                f"The index at {path} was made of embeddings, without an encoder: pass the model that made them."
            )
        return cls(index, load_encoder(model, **opening), reranker=reranker)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        subset: Subset | None = None,
        where: Where | None = None,
        recipe: Recipe = XTR,
        explain: bool = False,
        threads: int | None = None,
        rerank_depth: int = DEPTH,
        group_by_document: bool | None = None,
        fusion: str | None = None,
        alpha: float | None = None,
        facets: Sequence[str] = (),
        **choices: Any,
    ) -> Hits:
        """The k best passages for a query.

        Args:
            query: any text but an empty one.
            k: how many passages; fewer come back only where the index, or the subset, has fewer.
            subset: which passages may be found, as in :meth:`xtrkit.Index.search`.
            where: a condition on the passages' metadata, as in :meth:`xtrkit.Index.search`.
            recipe: how to score.
            explain: also tell for each passage which of its tokens matched in the retrieval.
            threads: as in :meth:`xtrkit.Index.search_batch`.
            rerank_depth: with a reranker, how many of the retrieved passages it scores, k at least; 0 for retrieval
                alone.
            group_by_document: of passages that were cut out of one document, return the best alone, and k documents; by
                default where the index cuts its documents.
            fusion: "rrf" or "relative" rank by token vectors and words (BM25) together (:mod:`xtrkit.fusion`); None by
                token vectors alone.
            alpha: with a fusion, the share of the token vectors, 0 to 1; .75 where it is left out.
            facets: metadata fields whose values are counted over the hits.
            **choices: fields of :class:`~xtrkit.recipes.Recipe` that shall differ: ``scoring``, ``k_prime``,
                ``imputation``, ``reduction``, ``nprobe``, ``candidates``.

        Raises:
            InputError: the query is empty, or k or a choice can't be used; the index has no texts, and so no words to
                fuse with; no passage has a field that facets name.
        """
        request = Request(
            subset, where, chosen(recipe, choices), explain, threads, rerank_depth, group_by_document,
            fusion, alpha, facets,
        )  # fmt: skip
        return self._answers([query], k, request, progress=False)[0]

    def search_batch(
        self, queries: Sequence[str], k: int = 10, *, progress: bool = False, **as_in_search: Any
    ) -> list[Hits]:
        """The k best passages for each query; much faster than one query after the other.

        Args:
            queries: texts, none empty.
            k: as in :meth:`search`.
            progress: show progress bars.
            **as_in_search: the other arguments of :meth:`search`.
        """
        if isinstance(queries, str):
            raise InputError(f"Queries come as a list, got the text {queries!r:.40}: use search, or put it in a list.")
        if not isinstance(queries, Iterable):
            raise InputError(f"Queries come as a list, got {queries!r:.40} of type {type(queries).__name__}.")
        return self._answers(list(queries), k, request_of(as_in_search), progress=progress)

    def rerank(self, query: str, passages: Given, k: int | None = None) -> Hits:
        """Given texts in the order of their MaxSim with a query (ColBERT's eq. 3); they need not be in the index.

        Args:
            query: any text but an empty one.
            passages: as in :meth:`create`; texts without an id get their places as ids.
            k: how many are wanted; all where it is left out.
        """
        return maxsim_order(self.encoder, query, passages, k)

    def get(self, ids: Iterable[str] = (), *, documents: Iterable[str] = ()) -> list[Passage]:
        """Passages by id, or by the document that they were cut out of, as in :meth:`xtrkit.Index.get`."""
        return self.index.get(ids, documents=documents)

    def add(
        self,
        passages: Given,
        *,
        fields: Fields = PLAIN_FIELDS,
        skip_bad: bool = False,
        batch_size: int = 32,
        workers: int = 1,
        progress: bool = False,
    ) -> AddingSummary:
        """Encode passages and add them in one commit; those whose ids are there already are replaced.

        They are cut as those of the index were, and all passages of a document whose id comes again are replaced.
        Searches see the old index until the commit, and a run that is stopped changes nothing.

        Args:
            passages: as in :meth:`create`; texts without an id get numbers that no passage has.
            fields: as in :meth:`create`.
            skip_bad: as in :meth:`create`.
            batch_size: texts encoded together.
            workers: how many processes encode, as in :meth:`create`.
            progress: show how each phase goes on.

        Raises:
            InputError: something is no passage, or can't be stored; nothing was added.
            IndexLockedError: another writer is at work.
        """
        source = source_of(passages, fields, partial(free_numbers, self.index))
        with in_processes(self.encoder, workers) as encoder:
            return add_texts(source, self.index, encoder, batch_size=batch_size, skip_bad=skip_bad, progress=progress)

    def sync(
        self,
        folder: str | Path,
        *,
        fields: Fields = PLAIN_FIELDS,
        skip_bad: bool = False,
        batch_size: int = 32,
        workers: int = 1,
        progress: bool = False,
    ) -> SyncSummary:
        """Bring the index up to a folder in one commit: add what is new, encode what changed, delete what is gone.

        Documents that came otherwise, or from another folder, are left alone; one that came otherwise and whose id the
        folder has is replaced, which the report notes. Where nothing changed, nothing is done.

        Args:
            folder: the folder, or a glob, under the name that it was indexed or synced by before.
            fields: as in :meth:`create`.
            skip_bad: leave out what can't be read; what the index has of such a file stays as it is.
            batch_size: texts encoded together.
            workers: how many processes encode, as in :meth:`create`.
            progress: show how each phase goes on.

        Raises:
            InputError: something can't be read; nothing was changed.
            IndexLockedError: another writer is at work.
        """
        source = folder_source(folder, fields)
        with ExitStack() as stack:
            return sync_folder(
                source,
                self.index,
                lambda: stack.enter_context(in_processes(self.encoder, workers)),
                batch_size=batch_size,
                skip_bad=skip_bad,
                progress=progress,
            )

    def delete(
        self, ids: Iterable[str] = (), *, documents: Iterable[str] = (), missing_ok: bool = False
    ) -> WriteSummary:
        """Delete passages by id, or all those of some documents, in one commit.

        Args:
            ids: ids of passages.
            documents: ids of documents, such as the names of files that were cut into passages.
            missing_ok: pass over ids that are not there.

        Raises:
            InputError: an id is not there, or none was given; nothing was deleted.
            IndexLockedError: another writer is at work.
        """
        return self.index.delete(ids, documents=documents, missing_ok=missing_ok)

    def refresh(self) -> bool:
        """Move to the newest generation, as :meth:`xtrkit.Index.refresh`; return whether there was a newer one."""
        return self.index.refresh()

    def compact(self, *, retrain: bool | None = None, progress: bool = False) -> WriteSummary:
        """Make one segment of all, without what was deleted, as :meth:`xtrkit.Index.compact`."""
        return self.index.compact(retrain=retrain, progress=progress)

    def verify(self, *, full: bool = False) -> Report:
        """Look whether the index is what was written, as :meth:`xtrkit.Index.verify`."""
        return self.index.verify(full=full)

    def backup(self, target: str | Path) -> int:
        """Copy this generation into a new directory, as :meth:`xtrkit.Index.backup`."""
        return self.index.backup(target)

    def export_vectors(self, target: str | Path) -> tuple[int, int]:
        """Write the token vectors for other programs, as :meth:`xtrkit.Index.export_vectors`."""
        return self.index.export_vectors(target)

    def encode_queries(self, queries: Sequence[str], *, progress: bool = False) -> Ragged:
        """Token embeddings of queries.

        Raises:
            InputError: a query isn't a text, or is empty.
        """
        for query in queries:
            check_query(query)
        return self.encoder.encode_queries(queries, progress=progress)

    def _answers(self, queries: list[str], k: int, request: Request, *, progress: bool) -> list[Hits]:
        check_k(k)
        watch, index = Stopwatch(), self.index.snapshot()
        index.check_fields(request.facets)
        embeddings = self.encode_queries(queries, progress=progress)
        watch.lap("encode")
        share = watch.seconds["encode"] / max(1, len(queries))
        depth = request.retrieved(self._depth(k, request))
        with progress_bar("Searching", len(queries), shown=progress, unit="queries") as advance:
            all_found = list(index._found(embeddings, depth, advance=advance, **request.of_index))
        answers = []
        bar = progress_bar("Reranking", len(queries), shown=progress and self._reranks(request), unit="queries")
        with bar as advance:
            for query, embedding, found in zip(queries, embeddings, all_found, strict=True):
                answers.append(self._answer(index, query, embedding, found, k, request, share))
                advance(1)
        return answers

    def _depth(self, k: int, request: Request) -> int:
        """How many passages to retrieve: with a reranker, no passage is returned that it did not score."""
        return k if self.reranker is None else max(k, request.rerank_depth)

    def _reranks(self, request: Request) -> bool:
        return self.reranker is not None and request.rerank_depth > 0

    def _answer(
        self, index: Index, query: str, embedding: FloatArray, found: Found, k: int, request: Request, encode: float
    ) -> Hits:
        """What was found of one query, as hits."""
        watch = Stopwatch()
        watch.skip({"encode": encode, **found.seconds})
        depth, grouped = self._depth(k, request), _grouped(request, index)
        ranked = _ranked(index, query, found, depth, request, watch)
        passages = index.passages_of([one.document for one in ranked])
        watch.lap("passages")
        while grouped and len(passages) == depth and _n_documents(passages) < k:
            depth *= 2
            (found,) = index._found([embedding], request.retrieved(depth), **request.of_index)
            watch.skip(found.seconds)
            ranked = _ranked(index, query, found, depth, request, watch)
            passages = index.passages_of([one.document for one in ranked])
            watch.lap("passages")
        best = [(place, one.score) for place, one in enumerate(ranked)]
        if self.reranker is not None and self._reranks(request):
            best = rerank(self.reranker, query, texts_of(passages))
            watch.lap("rerank_texts")
        if grouped:
            firsts: dict[str, tuple[int, float]] = {}
            for place, score in best:
                firsts.setdefault(passages[place].document, (place, score))
            best = list(firsts.values())
        best = best[:k]
        reasons: list[Contribution | None] = [None] * len(best)
        if request.explain:
            texts_of(passages)
            reasons = [*index.explain(embedding, found, [ranked[place].document for place, _ in best])]
        told = self._matches(query, embedding, [passages[place] for place, _ in best], reasons, index.pooling)
        scores = [Scores(one.tokens, one.words) if request.fusion else None for one in ranked]
        hits = tuple(
            hit_of(passages[place], score, rank, of_hit, scores[place])
            for rank, ((place, score), of_hit) in enumerate(zip(best, told, strict=True), 1)
        )
        watch.lap("passages")
        return Hits(
            hits,
            query,
            found.k_prime,
            seconds=watch.seconds,
            generation=index.generation,
            fusion=request.fusion,
            facets=facets_of(hits, request.facets) if request.facets else None,
            **heard(self.encoder, query),
        )

    def _matches(
        self,
        query: str,
        embedding: FloatArray,
        passages: Sequence[Passage],
        reasons: Sequence[Contribution | None],
        pooling: Pooling | None,
    ) -> list[list[Match] | None]:
        """Why each passage was found, where there is a reason; of pooled vectors the texts tell what they stand for."""
        given = [passage.text or "" for passage, reason in zip(passages, reasons, strict=True) if reason is not None]
        texts: list[PooledText | None] = [None] * len(given)
        if pooling is not None and given:
            texts = [*pooled_texts(self.encoder.encode_documents(given), embedding, pooling)]
        query_tokens = self.encoder.query_tokens(query) if given else []
        known = zip(given, texts, strict=True)
        told = list[list[Match] | None]()
        for reason in reasons:
            if reason is None:
                told.append(None)
                continue
            text, pooled = next(known)
            told.append(matches(reason, query_tokens, self.encoder.document_tokens(text), pooled))
        return told


def _ranked(index: Index, query: str, found: Found, depth: int, request: Request, watch: Stopwatch) -> list[Fused]:
    """What is ranked of one query, ``depth`` passages at most: what was found, or that and words, fused."""
    if request.fusion is None:
        return [Fused(*one, None, None) for one in zip(found.documents.tolist(), found.scores.tolist(), strict=True)]
    words = index._words_found(query, request.retrieved(depth), request.subset, request.where)
    watch.lap("words")
    ranked = fused(found, words, request.fusion, request.share_of_tokens)[:depth]
    watch.lap("fusion")
    return ranked


def _grouped(request: Request, index: Index) -> bool:
    """Whether each document is shown once."""
    asked = request.group_by_document
    return index.splitting is not None if asked is None else asked


def _n_documents(passages: Sequence[Passage]) -> int:
    return len({passage.document for passage in passages})


def free_numbers(index: Index) -> Iterator[int]:
    """Numbers that are no passage's id, from the number of passages up."""
    for first in count(len(index.document_offsets) - 1, FREE_IDS):
        taken = index.numbers([str(number) for number in range(first, first + FREE_IDS)])
        yield from (number for number in range(first, first + FREE_IDS) if str(number) not in taken)


def _check_same_encoder(index: Index, encoder: Encoder) -> None:
    """Refuse an encoder whose vectors do not compare with those of the index."""
    made_with, given = index.encoder, encoder.identity
    if made_with is not None and made_with.fingerprint != given.fingerprint:
        raise ModelError(
            f"The index at {index.path} was made with the model {made_with.name!r} "
            f"({made_with.layout}, {made_with.fingerprint[:12]}), not with {given.name!r} "
            f"({given.layout}, {given.fingerprint[:12]}): search it with the former, or build it again with the latter."
        )
    if index.dim != given.dim:
        raise ModelError(
            f"The index at {index.path} has vectors of {index.dim} dimensions, the model {given.name!r} makes "
            f"{given.dim}: use the model that made the index."
        )
