"""Reranking: a model that reads query and passage together scores the best of a first ranking again.

``load_reranker`` opens a monoT5 (Nogueira et al. 2020) or a cross-encoder of sentence-transformers; whatever has a
``score`` method as :class:`~xtrkit.reranking.base.Reranker` describes can stand in their place.
"""

from typing import TYPE_CHECKING

from xtrkit.lazy import lazy

if TYPE_CHECKING:
    from xtrkit.reranking.base import Reranker, rerank
    from xtrkit.reranking.load import load_reranker

_HOMES = {
    "Reranker": "xtrkit.reranking.base",
    "load_reranker": "xtrkit.reranking.load",
    "rerank": "xtrkit.reranking.base",
}

__all__ = ["Reranker", "load_reranker", "rerank"]

__getattr__, __dir__ = lazy(__name__, _HOMES)
