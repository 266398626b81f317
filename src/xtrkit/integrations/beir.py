"""xtrkit under BEIR's ``EvaluateRetrieval``: a class with the ``search`` that it calls. beir need not be installed.

::

    results = EvaluateRetrieval(XtrkitSearch(nbits=4)).retrieve(corpus, queries)

As BEIR's own searches do, a document that bears the id of the query is left out. Scores fall strictly within a query,
as 32-bit floats: BEIR ranks by them, and would put equals in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xtrkit.encoding.base import Encoder
from xtrkit.errors import InputError
from xtrkit.indexing.store import DEFAULT_BITS
from xtrkit.integrations.answering import check_choices, rankings
from xtrkit.integrations.corpus_index import CorpusIndex
from xtrkit.recipes import check_k
from xtrkit.retriever import Retriever

SCORE_FUNCTIONS = ("cos_sim", "dot", None)
"""What BEIR may ask for: of token vectors, which are 1 long, both are the same."""


class XtrkitSearch:
    """Indexes the corpus that BEIR gives, and searches it."""

    def __init__(
        self,
        model: str | Path | Encoder = "default",
        *,
        folder: str | Path | None = None,
        nbits: int = DEFAULT_BITS,
        codec: str = "grid",
        split: bool = True,
        **choices: Any,
    ) -> None:
        """Say how corpora are indexed and searched.

        Args:
            model: the encoder, as in :meth:`xtrkit.Retriever.create`.
            folder: where indexes are kept for the next time; without it each is removed when the next one comes.
            nbits: as in :meth:`xtrkit.Retriever.create`.
            codec: as there.
            split: as there; BEIR's own models cut long documents off instead.
            **choices: keyword arguments of :meth:`xtrkit.Retriever.search`: ``recipe``, ``scoring``, ``fusion``, …

        Raises:
            InputError: a choice can't be used.
            ModelError: the model can't be loaded.
        """
        check_choices(choices)
        self._corpus = CorpusIndex(model, folder=folder, nbits=nbits, codec=codec, split=split)
        self._choices = choices

    @classmethod
    def of(cls, index: str | Path | Retriever, **choices: Any) -> XtrkitSearch:
        """Search an index that is there already; another corpus is refused.

        Args:
            index: its path, or a retriever.
            **choices: as where indexes are made.
        """
        check_choices(choices)
        made = object.__new__(cls)
        made._corpus, made._choices = CorpusIndex.of(index), choices
        return made

    def search(
        self,
        corpus: Mapping[str, Mapping[str, str]],
        queries: Mapping[str, str],
        top_k: int,
        score_function: str | None = None,
        **unknown: Any,
    ) -> dict[str, dict[str, float]]:
        """Index a corpus and search it.

        Args:
            corpus: {id: {"title", "text"}}.
            queries: {id: text}.
            top_k: how many documents for each query.
            score_function: "cos_sim" or "dot", which are the same here.
            **unknown: nothing.

        Returns:
            {query: {document: score}}.

        Raises:
            InputError: an argument, a document or a query can't be used.
        """
        check_k(top_k)
        if unknown:
            raise InputError(f"Unknown argument {min(unknown)!r}: say how to search when XtrkitSearch is made.")
        if score_function not in SCORE_FUNCTIONS:
            raise InputError(f"Unknown score function {score_function!r}: use 'cos_sim' or 'dot', which are one here.")
        retriever = self._corpus.take(_Corpus(corpus), "corpus")
        found = rankings(retriever, list(queries.items()), top_k + 1, self._choices)
        return {
            query: dict([(document, score) for document, score in ranking if document != query][:top_k])
            for query, ranking in zip(queries, found, strict=True)
        }

    def close(self) -> None:
        """Close the index, and remove it where it is a temporary one."""
        self._corpus.close()


class _Corpus:
    """A corpus as records, as often as it is gone through."""

    def __init__(self, corpus: Mapping[str, Mapping[str, str]]) -> None:
        self._corpus = corpus

    def __iter__(self) -> Any:
        return ({"id": name, **document} for name, document in self._corpus.items())
