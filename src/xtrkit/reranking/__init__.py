"""Reranking: a model that reads the query and a passage together scores the best of a first ranking anew.

``load_reranker`` opens a monoT5 (Nogueira et al. 2020) or a cross-encoder of sentence-transformers; whatever has a
``score`` method as :class:`~xtrkit.reranking.base.Reranker` describes can stand in their place.
"""

from xtrkit.reranking.base import Reranker, rerank
from xtrkit.reranking.load import load_reranker

__all__ = ["Reranker", "load_reranker", "rerank"]
