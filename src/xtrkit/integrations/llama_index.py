"""LlamaIndex: an index as a retriever, and MaxSim or a reranker as a node postprocessor.

>>> from xtrkit.integrations.llama_index import XtrkitRetriever
>>> nodes = XtrkitRetriever("idx", similarity_top_k=5).retrieve("who wrote it?")  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from xtrkit.errors import InputError, missing_extra
from xtrkit.hits import Hit
from xtrkit.index import Where
from xtrkit.integrations.opening import Model, Source, TextRanker, choices_of, chosen_filter, opened, text_of
from xtrkit.recipes import check_k
from xtrkit.reranking.base import Reranker

try:
    from llama_index.core.bridge.pydantic import ConfigDict, PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import (
        MetadataMode,
        NodeRelationship,
        NodeWithScore,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )
    from llama_index.core.vector_stores import (
        FilterCondition,
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
    )
except ImportError as error:
    raise missing_extra("The adapter for LlamaIndex", "llama-index") from error

RANK = "$rank"
"""The metadata that a node has beside those of its passage; language models are not shown it."""

COMPARED = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.ANY: "$in",
    FilterOperator.CONTAINS: "$contains",
    FilterOperator.TEXT_MATCH: "$contains",
}


class XtrkitRetriever(BaseRetriever):
    """The passages of an index as LlamaIndex's nodes, best first.

    A node has the passage's id, text and metadata, with "$rank" among these; the score stands beside it. Its source is
    the document that the passage is part of, ``start_char_idx`` and ``end_char_idx`` where it begins and ends there.

    Attributes:
        index: the opened retriever, or the client.
        similarity_top_k: how many nodes.
        where: a condition on metadata, as in :meth:`xtrkit.Retriever.search`.
        search_kwargs: other arguments of :meth:`xtrkit.Retriever.search`.
    """

    def __init__(
        self,
        index: Source,
        similarity_top_k: int = 10,
        *,
        where: Where | None = None,
        filters: MetadataFilters | None = None,
        search_kwargs: dict[str, Any] | None = None,
        **of_retriever: Any,
    ) -> None:
        """Open an index.

        Args:
            index: its path, a server's address, an opened retriever, or a server's client.
            similarity_top_k: how many nodes.
            where: a condition on metadata.
            filters: the same as LlamaIndex writes it (:func:`where_of`).
            search_kwargs: other arguments of :meth:`xtrkit.Retriever.search`, such as ``{"fusion": "rrf"}``.
            **of_retriever: arguments of every retriever of LlamaIndex.

        Raises:
            InputError: similarity_top_k is not a positive whole number, a choice can't be used, or the filters can't be
                translated.
            IndexFormatError: there is no index at the path, or it is damaged.
        """
        check_k(similarity_top_k)
        self.similarity_top_k = similarity_top_k
        self.search_kwargs = choices_of(search_kwargs, k="similarity_top_k", where="where", filters="filters")
        self.where = chosen_filter(where, None if filters is None else where_of(filters), "filters")
        self.index = opened(index)
        super().__init__(**of_retriever)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self.index.search(query_bundle.query_str, self.similarity_top_k, where=self.where, **self.search_kwargs)
        return [NodeWithScore(node=_node(hit), score=hit.score) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


class XtrkitPostprocessor(BaseNodePostprocessor):
    """Reranks nodes by MaxSim with the query, or by a reranker, and keeps the best.

    Their scores are the new ones: MaxSim is a sum over the query's tokens. Nodes with nothing in them are left out,
    with a warning.

    Attributes:
        model: whose MaxSim ranks: an encoder's, by name, by path or loaded; that of an index, by its path, opened, or
            on a server. The default model's where neither this nor ``reranker`` is given.
        reranker: ranks instead: a name or a path, as :func:`xtrkit.reranking.load_reranker` takes them, or a loaded
            one.
        top_n: how many nodes are kept; all where it is None.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: Any = None
    reranker: Any = None
    top_n: int | None = None
    _ranker: TextRanker = PrivateAttr()

    def __init__(
        self,
        model: Model | None = None,
        *,
        reranker: str | Path | Reranker | None = None,
        top_n: int | None = None,
        **of_postprocessor: Any,
    ) -> None:
        """Open what ranks; the attributes tell what that may be.

        Args:
            model: as above.
            reranker: as above.
            top_n: as above.
            **of_postprocessor: arguments of every postprocessor of LlamaIndex.

        Raises:
            InputError: top_n is not a positive whole number, or model and reranker are both given.
            ModelError: the model can't be loaded.
        """
        if top_n is not None:
            check_k(top_n)
        ranker = TextRanker.of(model, reranker)
        super().__init__(model=model, reranker=reranker, top_n=top_n, **of_postprocessor)
        self._ranker = ranker

    @classmethod
    def class_name(cls) -> str:
        """What LlamaIndex calls it."""
        return "XtrkitPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("Nodes are ranked for a query: give query_str or query_bundle.")
        texts = [one.node.get_content(metadata_mode=MetadataMode.NONE) for one in nodes]
        ranked = self._ranker.ranked(query_bundle.query_str, texts, self.top_n)
        return [NodeWithScore(node=nodes[place].node, score=score) for place, score in ranked]


def where_of(filters: MetadataFilters) -> Where:
    """LlamaIndex's filters as a condition of xtrkit's.

    A field of a list meets a comparison where one of its values does, as everywhere in xtrkit.

    Raises:
        InputError: these are no filters, or an operator has no counterpart (``text_match_insensitive``).
    """
    if not isinstance(filters, MetadataFilters):
        raise InputError(f"Filters are LlamaIndex's MetadataFilters, got {filters!r:.60}: give a condition as where=.")
    parts = [where_of(one) if isinstance(one, MetadataFilters) else _compared(one) for one in filters.filters]
    if not parts:
        return {}
    if filters.condition == FilterCondition.OR:
        return {"$or": parts}
    every: Where = {"$and": parts}
    return {"$not": every} if filters.condition == FilterCondition.NOT else every


def _compared(one: MetadataFilter) -> Where:
    if one.operator == FilterOperator.IS_EMPTY:
        return {one.key: {"$exists": False}}
    if one.operator == FilterOperator.ALL:
        values = one.value if isinstance(one.value, list) else [one.value]
        return {"$and": [{one.key: {"$contains": value}} for value in values]}
    if one.operator not in COMPARED:
        raise InputError(
            f"LlamaIndex's operator {one.operator.value!r} (on {one.key!r}) has no counterpart here: there are "
            f"{', '.join(operator.value for operator in (*COMPARED, FilterOperator.ALL, FilterOperator.IS_EMPTY))}."
        )
    return {one.key: {COMPARED[one.operator]: one.value}}


def _node(hit: Hit) -> TextNode:
    part = {} if hit.part is None else {"start_char_idx": hit.part.first, "end_char_idx": hit.part.last}
    return TextNode(
        id_=hit.id,
        text=text_of(hit),
        metadata={**hit.metadata, RANK: hit.rank},
        excluded_llm_metadata_keys=[RANK],
        excluded_embed_metadata_keys=[RANK],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.document)},
        **part,
    )
