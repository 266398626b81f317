"""A reranker as what is trained: its model, its trainer, its directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xtrkit.encoding.modules import quiet
from xtrkit.training.careful import Report
from xtrkit.training.data import TrainingData
from xtrkit.training.dev import DevSet
from xtrkit.training.plan import TrainingPlan
from xtrkit.training.reranker_dev import RerankingEvaluator
from xtrkit.training.reranker_models import load_trainable
from xtrkit.training.reranker_recipes import RerankerRecipe
from xtrkit.training.reranker_trainer import make_reranker_trainer
from xtrkit.training.workplace import Workplace

if TYPE_CHECKING:
    from xtrkit.training.run import Bar


class RerankerInTraining:
    """A model that learns to rerank.

    Attributes:
        about: what the card calls it.
        dim: None: it has no token vectors.
        baseline: dev figures of BM25, whose best are reranked; known once there is a trainer.
    """

    about, dim = "reranker", None

    def __init__(self, plan: TrainingPlan, recipe: RerankerRecipe) -> None:
        self._plan, self._recipe = plan, recipe
        self._trainable = load_trainable(plan.model, recipe, plan.device)
        self.baseline = dict[str, float]()

    def trainer(
        self, examples: TrainingData, dev: DevSet | None, place: Workplace, report: Callable[[Report], None], bar: Bar
    ) -> Any:
        """The trainer of a run."""
        evaluator = None
        if dev is not None:
            evaluator = RerankingEvaluator(dev, self._trainable.reranker, self._plan.dev_depth)
            self.baseline = evaluator.baseline
        return make_reranker_trainer(self._trainable, examples, evaluator, self._recipe, place.folder, report)

    def save(self, path: Path) -> None:
        """A directory that ``load_reranker`` opens."""
        with quiet():
            self._trainable.save(path)
