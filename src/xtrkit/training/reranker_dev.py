"""A reranker's dev figure: BM25's best documents of held-out queries, in the order that the reranker gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sentence_transformers.base.evaluation import BaseEvaluator

from xtrkit.evaluation.bm25 import BM25
from xtrkit.evaluation.measures import evaluate
from xtrkit.passage import Passage
from xtrkit.reranking.base import Reranker, rerank
from xtrkit.training.card import MEASURE, SECOND
from xtrkit.training.dev import DevSet


class RerankingEvaluator(BaseEvaluator):  # type: ignore[misc]
    """nDCG@10 and the reciprocal rank of a reranker in training, over BM25's best.

    What BM25 does not find, no reranker can bring up: the figure has a ceiling, which is that of reranking in use.

    Attributes:
        baseline: the same measures of BM25's own order.

    Args:
        dev: the dev set.
        reranker: what is in training.
        depth: how many of BM25's best are reranked.
    """

    def __init__(self, dev: DevSet, reranker: Reranker, depth: int) -> None:
        super().__init__()
        self.primary_metric = MEASURE
        self._dev, self._reranker = dev, reranker
        passages = [Passage(str(n), text) for n, text in enumerate(dev.documents)]
        found = BM25(passages).search({str(n): query for n, query in enumerate(dev.queries)}, depth)
        self._candidates = [[int(document) for document, _ in found[str(n)]] for n in range(len(dev.queries))]
        self.baseline = self._measured([list(range(len(places))) for places in self._candidates])

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Rerank and measure."""
        training = model.training
        model.eval()
        try:
            orders = [self._order(n) for n in range(len(self._dev.queries))]
        finally:
            model.train(training)
        return self._measured(orders)

    def _order(self, number: int) -> list[int]:
        texts = [self._dev.documents[place] for place in self._candidates[number]]
        ranking = rerank(self._reranker, self._dev.queries[number], texts)
        if not all(np.isfinite(score) for _, score in ranking):
            return []  # the next step's loss says it
        return [place for place, _ in ranking]

    def _measured(self, orders: Sequence[Sequence[int]]) -> dict[str, float]:
        """Measures of rankings, each an order of its query's candidates."""
        run = {
            str(n): [(str(candidates[place]), -float(rank)) for rank, place in enumerate(order)]
            for n, (candidates, order) in enumerate(zip(self._candidates, orders, strict=True))
        }
        qrels = {str(n): {str(d): r for d, r in found.items()} for n, found in self._dev.relevant.items()}
        measures = evaluate(run, qrels, [MEASURE, SECOND])
        return {name: measures[name] for name in (MEASURE, SECOND)}
