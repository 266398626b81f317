"""xtrkit under BEIR's ``EvaluateRetrieval``: a class with the ``search`` that it calls. beir need not be installed.

::

    results = EvaluateRetrieval(XtrkitSearch(nbits=4)).retrieve(corpus, queries)

As BEIR's own searches do, a document that bears the id of the query is left out. Scores fall strictly within a query,
as 32-bit floats: BEIR ranks by them, and would put equals in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xtrkit.errors import InputError
from xtrkit.integrations.answering import rankings
from xtrkit.integrations.corpus_index import CorpusSearch
from xtrkit.recipes import check_k

SCORE_FUNCTIONS = ("cos_sim", "dot", None)
"""What BEIR may ask for: of token vectors, which are 1 long, both are the same."""


class XtrkitSearch(CorpusSearch):
    """Indexes the corpus that BEIR gives, and searches it."""

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
        for name, given in (("corpus", corpus), ("queries", queries)):
            if not isinstance(given, Mapping):
                raise InputError(
                    f"BEIR's {name} come as a dict by id, got {given!r:.60} of type {type(given).__name__}."
                )
        retriever = self._corpus.take(_Corpus(corpus), "corpus")
        found = rankings(retriever, list(queries.items()), top_k + 1, self._choices)
        return {
            query: dict([(document, score) for document, score in ranking if document != query][:top_k])
            for query, ranking in zip(queries, found, strict=True)
        }


class _Corpus:
    """A corpus as records, as often as it is gone through."""

    def __init__(self, corpus: Mapping[str, Mapping[str, str]]) -> None:
        self._corpus = corpus

    def __iter__(self) -> Any:
        for name, document in self._corpus.items():
            yield {"id": name, **document} if isinstance(document, Mapping) else document
