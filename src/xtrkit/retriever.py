"""The facade: text in, ranking out. An index, the encoder that made it, and nothing in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xtrkit.encoding.base import Encoder
from xtrkit.encoding.load import load_encoder, load_encoder_of
from xtrkit.errors import InputError, ModelError
from xtrkit.explain import Match, matches
from xtrkit.index import Index, Subset, Where
from xtrkit.progress import progress_bar
from xtrkit.recipes import XTR, Recipe, check_k
from xtrkit.reranking.base import DEPTH, Reranker, check_depth, rerank
from xtrkit.reranking.load import load_reranker
from xtrkit.search.engine import Found, Ranking
from xtrkit.stopwatch import Stopwatch
from xtrkit.storage.passages import Part
from xtrkit.storage.passages import Passage as StoredPassage
from xtrkit.values import FloatArray, Ragged


@dataclass(frozen=True)
class Hit:
    """One found passage.

    Attributes:
        id: the caller's id.
        score: higher is better; only scores of one query compare. The reranker's, where there is one.
        text: the passage; None where the index has no texts.
        rank: 1 for the best.
        matches: why it was found, one entry for each query token; None unless asked for.
        part: (document, first, last) where the passage was cut out of a longer document: its id, and the characters.
    """

    id: str
    score: float
    text: str | None
    rank: int
    matches: Sequence[Match] | None = None
    part: Part | None = None


class Retriever:
    """Searches an index with text.

    ``Retriever.open("idx")`` loads the encoder that the index was made with; ``Retriever(index, encoder)`` takes
    both as they are, after checking that they belong together.

    Attributes:
        index: what is searched.
        encoder: what made its vectors.
        reranker: scores the best of each ranking anew, from the passages' texts; None leaves rankings as they are.
    """

    def __init__(self, index: Index, encoder: Encoder, *, reranker: Reranker | None = None) -> None:
        _check_same_encoder(index, encoder)
        self.index = index
        self.encoder = encoder
        self.reranker = reranker

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        model: str | None = None,
        reranker: Reranker | str | Path | None = None,
        device: str | None = None,
    ) -> Retriever:
        """Open an index and load its encoder, and a reranker where one is named.

        Args:
            path: directory of the index.
            model: where to find the encoder; by default under the name that it had when the index was made.
            reranker: what scores the best passages anew: a name or a directory, as
                :func:`~xtrkit.reranking.load_reranker` takes them, or a loaded one.
            device: where a compressed index is searched, as in :meth:`xtrkit.Index.open`.

        Raises:
            IndexFormatError: there is no index, or it is damaged.
            ModelError: a model can't be loaded, or isn't the one that made the index.
        """
        if isinstance(reranker, str | Path):
            reranker = load_reranker(reranker)
        index = Index.open(path, device=device)
        made_with = index.encoder
        if made_with is not None:
            return cls(index, load_encoder_of(made_with, model), reranker=reranker)
        if model is None:
            raise ModelError(
                f"The index at {path} was made of embeddings, without an encoder: pass the model that made them."
            )
        return cls(index, load_encoder(model), reranker=reranker)

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
        seconds: dict[str, float] | None = None,
        rerank_depth: int = DEPTH,
        group_by_document: bool = False,
        **choices: Any,
    ) -> list[Hit]:
        """The k best passages for a query.

        Args:
            query: any text but an empty one.
            k: how many passages; fewer come back only where the index, or the subset, has fewer.
            subset: which passages may be found, as in :meth:`xtrkit.Index.search`.
            where: a condition on the passages' metadata, as in :meth:`xtrkit.Index.search`.
            recipe: how to score.
            explain: also tell for each passage which of its tokens matched in the retrieval.
            threads: as in :meth:`xtrkit.Index.search_batch`.
            seconds: receives what each stage took: "encode", the stages of the search (:mod:`xtrkit.stopwatch`),
                "rerank_texts" where there is a reranker, and "passages" for texts and explanations.
            rerank_depth: with a reranker, how many of the retrieved passages it scores; k at least.
            group_by_document: of passages that were cut out of one document, return the best alone, and k documents.
            **choices: fields of :class:`~xtrkit.recipes.Recipe` that shall differ: ``scoring``, ``k_prime``,
                ``imputation``, ``reduction``, ``nprobe``, ``candidates``.

        Raises:
            InputError: the query is empty, or k or a choice can't be used.
        """
        recipe = recipe.but(**choices)
        check_k(k)
        watch = Stopwatch()
        embeddings = self.encode_queries([query])
        watch.lap("encode")
        depth = self._depth(k, rerank_depth)
        index = self.index.snapshot()
        while True:
            (found,) = index._found(embeddings, depth, subset=subset, where=where, recipe=recipe, threads=threads)
            watch.skip(found.seconds)
            passages = [index.stored(number) for number in found.documents.tolist()]
            watch.lap("passages")
            if not group_by_document or len(passages) < depth or len(set(map(_document_of, passages))) >= k:
                break
            depth *= 2
        best = list(enumerate(found.scores.tolist()))
        if self.reranker is not None:
            best = rerank(self.reranker, query, _texts([passage.text for passage in passages]))
            watch.lap("rerank_texts")
        if group_by_document:
            firsts: dict[str, tuple[int, float]] = {}
            for place, score in best:
                firsts.setdefault(_document_of(passages[place]), (place, score))
            best = list(firsts.values())
        hits = []
        for rank, (place, score) in enumerate(best[:k], 1):
            number, passage = int(found.documents[place]), passages[place]
            matches = None
            if explain:
                matches = _matches(index, self.encoder, query, embeddings[0], number, passage.text, found, recipe)
            hits.append(Hit(passage.id, score, passage.text, rank, matches, passage.part))
        watch.lap("passages")
        if seconds is not None:
            seconds |= watch.seconds
        return hits

    def search_batch(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        subset: Subset | None = None,
        where: Where | None = None,
        recipe: Recipe = XTR,
        threads: int | None = None,
        progress: bool = False,
        rerank_depth: int = DEPTH,
        **choices: Any,
    ) -> list[Ranking]:
        """The k best passages for each query, as ids and scores; much faster than one query after the other.

        Args:
            queries: texts, none empty.
            k: as in :meth:`search`.
            subset: as in :meth:`search`.
            where: as in :meth:`search`.
            recipe: as in :meth:`search`.
            threads: as in :meth:`xtrkit.Index.search_batch`.
            progress: show progress bars.
            rerank_depth: as in :meth:`search`.
            **choices: as in :meth:`search`.
        """
        embeddings, depth = self.encode_queries(queries, progress=progress), self._depth(k, rerank_depth)
        index = self.index.snapshot()
        with progress_bar("Searching", len(queries), shown=progress, unit="queries") as advance:
            rankings = index.search_batch(
                embeddings,
                depth,
                subset=subset,
                where=where,
                recipe=recipe,
                threads=threads,
                advance=advance,
                **choices,
            )
        if self.reranker is None:
            return rankings
        with progress_bar("Reranking", len(queries), shown=progress, unit="queries") as advance:
            reranked = []
            for query, ranking in zip(queries, rankings, strict=True):
                reranked.append(_reranked(index, self.reranker, query, ranking, k))
                advance(1)
        return reranked

    def _depth(self, k: int, rerank_depth: int) -> int:
        """How many passages to retrieve: with a reranker, no passage is returned that it did not score."""
        check_depth(rerank_depth)
        return k if self.reranker is None else max(k, rerank_depth)

    def encode_queries(self, queries: Sequence[str], *, progress: bool = False) -> Ragged:
        """Token embeddings of queries.

        Raises:
            InputError: a query isn't a text, or is empty.
        """
        for query in queries:
            check_query(query)
        return self.encoder.encode_queries(queries, progress=progress)


def _reranked(index: Index, reranker: Reranker, query: str, ranking: Ranking, k: int) -> Ranking:
    texts = [index.passage(number)[1] for number in ranking.documents.tolist()]
    best = rerank(reranker, query, _texts(texts))[:k]
    places = [place for place, _ in best]
    return Ranking(
        documents=ranking.documents[places],
        scores=np.array([score for _, score in best], dtype=np.float64),
        ids=[ranking.ids[place] for place in places],
        k_prime=ranking.k_prime,
    )


def _matches(
    index: Index,
    encoder: Encoder,
    query: str,
    embeddings: FloatArray,
    number: int,
    text: str | None,
    found: Found,
    recipe: Recipe,
) -> list[Match]:
    if text is None:
        raise InputError("This index has no texts, so there is nothing to explain with: build it with texts.")
    (contribution,) = index.explain(embeddings, found, [number])
    return matches(contribution, encoder.query_tokens(query), encoder.document_tokens(text))


def _texts(texts: Sequence[str | None]) -> list[str]:
    """The texts of an index, which a reranker can't do without.

    Raises:
        InputError: the index has none.
    """
    if any(text is None for text in texts):
        raise InputError("This index has no texts, so nothing can be reranked: build it with texts.")
    return [text for text in texts if text is not None]


def check_query(query: str) -> None:
    """Refuse a query that asks nothing.

    Raises:
        InputError: it isn't a text, or has nothing in it.
    """
    if not isinstance(query, str) or not query.strip():
        raise InputError(f"A query must be a text with something in it, got {query!r}.")
    try:
        query.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError("The query is not UTF-8: write it in UTF-8.") from error


def _document_of(passage: StoredPassage) -> str:
    return passage.id if passage.part is None else passage.part.document


def _check_same_encoder(index: Index, encoder: Encoder) -> None:
    """Refuse an encoder whose vectors do not compare with those of the index."""
    made_with, given = index.encoder, encoder.identity
    if made_with is not None and made_with.fingerprint != given.fingerprint:
        raise ModelError(
            f"The index at {index.path} was made with the model {made_with.name!r} "
            f"({made_with.layout}, {made_with.fingerprint[:12]}), not with {given.name!r} "
            f"({given.layout}, {given.fingerprint[:12]}): search it with the former, or build it anew with the latter."
        )
    if index.dim != given.dim:
        raise ModelError(
            f"The index at {index.path} has vectors of {index.dim} dimensions, the model {given.name!r} makes "
            f"{given.dim}: use the model that made the index."
        )
