"""LangChain: an index as a retriever, and MaxSim or a reranker as a document compressor.

>>> from xtrkit.integrations.langchain import XtrkitRetriever
>>> retriever = XtrkitRetriever("idx", k=5)  # doctest: +SKIP
>>> documents = retriever.invoke("who wrote it?", where={"lang": "en"})  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xtrkit.client import Client
from xtrkit.errors import missing_extra
from xtrkit.hits import Hit
from xtrkit.integrations.opening import (
    Model,
    Source,
    TextRanker,
    choices_of,
    chosen_filter,
    opened,
    text_of,
    told_of,
)
from xtrkit.recipes import check_k
from xtrkit.reranking.base import Reranker
from xtrkit.retriever import Retriever

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict, Field, PrivateAttr
except ImportError as error:
    raise missing_extra("The adapter for LangChain", "langchain") from error


class XtrkitRetriever(BaseRetriever):
    """The passages of an index as LangChain's documents, best first.

    A document's metadata are the passage's, and "$score", "$rank", "$document", and where it was cut out of a longer
    document "$first" and "$last" (:func:`xtrkit.integrations.opening.told_of`). What is said at a call stands in the
    place of what was said here. It may be used from several threads, and pickled where it has no client.

    Attributes:
        index: the opened retriever, or the client.
        k: how many documents.
        where: a condition on metadata, as in :meth:`xtrkit.Retriever.search`.
        search_kwargs: other arguments of :meth:`xtrkit.Retriever.search`, such as ``{"fusion": "rrf"}``.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    index: Retriever | Client
    k: int = 10
    where: dict[str, Any] | None = None
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    def __init__(self, index: Source, *, filter: dict[str, Any] | None = None, **named: Any) -> None:  # noqa: A002
        """Open an index.

        Args:
            index: its path, a server's address, an opened retriever, or a server's client.
            filter: another name for ``where``, as vector stores of LangChain have it.
            **named: the other attributes, and those of every retriever of LangChain. "k" and "filter" may also be in
                ``search_kwargs``, as LangChain's ``as_retriever`` has them.

        Raises:
            InputError: k is not a positive whole number, a choice can't be used, or where and filter are both given.
            IndexFormatError: there is no index at the path, or it is damaged.
        """
        given = choices_of(named.pop("search_kwargs", None), query="the query", own=("k", "where", "filter"))
        named = {name: given.pop(name) for name in ("k", "where", "filter") if name in given} | named
        also = named.pop("filter", None)
        check_k(named.get("k", 10))
        where = chosen_filter(named.pop("where", None), also if filter is None else filter)
        super().__init__(index=opened(index), where=where, search_kwargs=given, **named)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun | None = None, **as_in_search: Any
    ) -> list[Document]:
        return self._found(query, **as_in_search)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun | None = None, **as_in_search: Any
    ) -> list[Document]:
        return await asyncio.to_thread(self._found, query, **as_in_search)

    def _found(
        self,
        query: str,
        *,
        k: int | None = None,
        where: dict[str, Any] | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
        **more: Any,
    ) -> list[Document]:
        condition = chosen_filter(where, filter)
        hits = self.index.search(
            query,
            self.k if k is None else k,
            **{**self.search_kwargs, "where": self.where if condition is None else condition, **more},
        )
        return [_document(hit) for hit in hits]


class XtrkitCompressor(BaseDocumentCompressor):
    """Reranks documents by MaxSim with the query, or by a reranker, and keeps the k best.

    Of each it gives a copy, with the score as "relevance_score" in its metadata: MaxSim is a sum over the query's
    tokens. Documents with nothing in them are left out, with a warning.

    Attributes:
        model: whose MaxSim ranks: an encoder's, by name, by path or loaded; that of an index, by its path, opened, or
            on a server. The default model's where neither this nor ``reranker`` is given.
        reranker: ranks instead: a name or a path, as :func:`xtrkit.reranking.load_reranker` takes them, or a loaded
            one.
        k: how many are kept; all where it is None.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    model: Any = None
    reranker: Any = None
    k: int | None = None
    _ranker: TextRanker = PrivateAttr()

    def __init__(
        self,
        model: Model | None = None,
        *,
        reranker: str | Path | Reranker | None = None,
        k: int | None = None,
    ) -> None:
        """Open what ranks; the attributes tell what that may be.

        Raises:
            InputError: k is not a positive whole number, or model and reranker are both given.
            ModelError: the model can't be loaded.
        """
        if k is not None:
            check_k(k)
        ranker = TextRanker.of(model, reranker)
        super().__init__(model=model, reranker=reranker, k=k)
        self._ranker = ranker

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The k best documents for a query, best first."""
        ranked = self._ranker.ranked(query, [document.page_content for document in documents], self.k)
        return [_scored(documents[place], score) for place, score in ranked]


def _document(hit: Hit) -> Document:
    return Document(id=hit.id, page_content=text_of(hit), metadata=told_of(hit))


def _scored(document: Document, score: float) -> Document:
    return document.model_copy(update={"metadata": {**document.metadata, "relevance_score": score}})
