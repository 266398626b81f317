"""Retrieve with the encoder of a model, rerank with its decoder: one model, one call (Bhat et al. 2025, §4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xtrkit.errors import ModelError
from xtrkit.index import Index
from xtrkit.reranking.base import DEPTH
from xtrkit.retriever import Hit, Retriever
from xtrkit.search.engine import Ranking
from xtrkit.unified.load import load_unified

if TYPE_CHECKING:
    from xtrkit.unified.ur2n import UnifiedModel


class UnifiedRetriever:
    """Searches an index that a UR²N made, and reranks with the same model.

    Attributes:
        model: the UR²N.
    """

    def __init__(self, index: Index, model: UnifiedModel) -> None:
        self.model = model
        self._first_stage = Retriever(index, model.encoder)
        self._both_stages = Retriever(index, model.encoder, reranker=model.reranker)

    def __enter__(self) -> UnifiedRetriever:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the index."""
        self._both_stages.close()

    @classmethod
    def open(cls, path: str | Path, *, model: str | Path | None = None) -> UnifiedRetriever:
        """Open an index and load the UR²N that made it.

        Args:
            path: directory of the index.
            model: where the model lies; by default where it was when the index was made.

        Raises:
            IndexFormatError: there is no index, or it is damaged.
            ModelError: the model can't be loaded, isn't a UR²N, or isn't the one that made the index.
        """
        index = Index.open(path)
        made_with = index.encoder
        if made_with is None:
            if model is None:
                raise ModelError(f"The index at {path} was made of embeddings, without a model: pass the UR²N.")
            return cls(index, load_unified(model))
        unified = load_unified(
            model or made_with.name, query_length=made_with.query_length, document_length=made_with.document_length
        )
        return cls(index, unified)

    def search(self, query: str, k: int = 10, *, rerank_depth: int = DEPTH, **choices: Any) -> list[Hit]:
        """The k best passages for a query.

        Args:
            query: any text but an empty one.
            k: how many passages.
            rerank_depth: how many of the retrieved passages the decoder scores, k at least; 0 for retrieval alone.
            **choices: as in :meth:`xtrkit.Retriever.search`.
        """
        if rerank_depth == 0:
            return self._first_stage.search(query, k, **choices)
        return self._both_stages.search(query, k, rerank_depth=rerank_depth, **choices)

    def search_batch(
        self, queries: Sequence[str], k: int = 10, *, rerank_depth: int = DEPTH, **choices: Any
    ) -> list[Ranking]:
        """The k best passages for each query, as ids and scores; arguments as in :meth:`search`."""
        if rerank_depth == 0:
            return self._first_stage.search_batch(queries, k, **choices)
        return self._both_stages.search_batch(queries, k, rerank_depth=rerank_depth, **choices)
