"""A late-interaction encoder as what is trained: its model, its trainer, its directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xtrkit.encoding.modules import quiet
from xtrkit.training.activations import CachedInputs
from xtrkit.training.base import fit_projection, load_base
from xtrkit.training.branch import is_branch, save_branch
from xtrkit.training.careful import Report
from xtrkit.training.data import TrainingData
from xtrkit.training.dev import DevEvaluator, DevSet
from xtrkit.training.inputs import Batches, Inputs, TextInputs
from xtrkit.training.plan import TrainingPlan
from xtrkit.training.recipes import TrainingRecipe
from xtrkit.training.top_layers import UpperLayers, freeze_below, learns_every_layer
from xtrkit.training.trainer import Parts, make_trainer
from xtrkit.training.workplace import Workplace

if TYPE_CHECKING:
    from torch import nn

    from xtrkit.training.run import Bar


class EncoderInTraining:
    """A model that learns to retrieve.

    Attributes:
        about: what the card calls it.
        dim: dimensions of a token vector.
        baseline: dev figures of something else to compare with: none.
    """

    about = "late-interaction encoder"

    def __init__(self, plan: TrainingPlan, recipe: TrainingRecipe) -> None:
        self._plan, self._recipe = plan, recipe
        self._model, self._is_new = load_base(plan.model, recipe, plan.device)
        self.dim, self.baseline = int(self._model.get_embedding_dimension()), dict[str, float]()
        if recipe.top_layers:
            freeze_below(self._model, recipe.top_layers)

    def trainer(
        self, examples: TrainingData, dev: DevSet | None, place: Workplace, report: Callable[[Report], None], bar: Bar
    ) -> Any:
        """The trainer of a run: the projection fitted, activations computed."""
        model, recipe, init = self._model, self._recipe, self._recipe.projection_init
        if self._is_new and place.last_checkpoint() is None and init != "random":
            fit_projection(model, examples.documents, recipe.seed, balanced=init == "balanced")
        # Below the lowest layer there are embeddings alone: looking them up again is quicker than keeping them.
        is_kept = bool(recipe.top_layers) and not learns_every_layer(model, recipe.top_layers)
        embedder: nn.Module = UpperLayers(model, recipe.top_layers) if is_kept else model
        cache = self._plan.cache or place.cache

        def inputs(task: str, texts: Sequence[str]) -> Inputs:
            if not is_kept:
                return TextInputs(model, texts)
            with bar(f"Activations ({task})", len(texts)) as advance:
                return CachedInputs.open(cache, model, recipe.top_layers, task, texts, advance, recipe.bf16)

        batches = Batches(examples, inputs("query", examples.queries), inputs("document", examples.documents))
        evaluator = None
        if dev is not None:
            queries, documents = inputs("query", dev.queries), inputs("document", dev.documents)
            evaluator = DevEvaluator(
                dev, embedder, queries, documents, scores=recipe.scores, nbits=self._plan.dev_nbits
            )
        return make_trainer(Parts(model, embedder, batches, evaluator), recipe, place.folder, report)

    def save(self, path: Path) -> None:
        """A ``MultiVectorEncoder`` directory; of a monoT5 that learnt to retrieve, it with its branch beside it."""
        with quiet():
            if is_branch(self._plan.model, self._recipe):
                save_branch(self._model, self._plan.model, self._recipe, path)
            else:
                self._model.save_pretrained(str(path), create_model_card=False)
