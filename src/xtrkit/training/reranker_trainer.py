"""Trainers of rerankers: transformers' for a monoT5, sentence-transformers' for a cross-encoder; one loss for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from datasets import Dataset
from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from torch import nn
from transformers import Trainer, TrainingArguments

from xtrkit.training.careful import Careful, Report, arguments_of, watched
from xtrkit.training.data import TrainingData
from xtrkit.training.reranker_dev import RerankingEvaluator
from xtrkit.training.reranker_models import TrainableReranker
from xtrkit.training.reranker_recipes import RerankerRecipe


class RerankingLoss(nn.Module):
    """The loss of a batch of queries with equally many documents each, the positive first.

    Documents go through the model ``rows_per_forward`` at a time, the longest together, so that little is padding.
    """

    def __init__(self, trainable: TrainableReranker, recipe: RerankerRecipe) -> None:
        super().__init__()
        self._scores, self._length, self._recipe = trainable.scores, trainable.length, recipe

    def forward(self, inputs: Sequence[Any], labels: torch.Tensor | None = None, **_: Any) -> torch.Tensor:
        """A number.

        Args:
            inputs: one list for each query: it with each of its documents, prepared.
            labels: (queries, documents) the teacher's scores; None without a teacher.
        """
        (lists,) = inputs
        rows = [one for prepared in lists for one in prepared]
        scores = self._scored(rows).view(len(lists), -1)
        return ranking_loss(scores, labels, self._recipe)

    def _scored(self, rows: Sequence[Any]) -> torch.Tensor:
        order = sorted(range(len(rows)), key=lambda place: -self._length(rows[place]))
        step = self._recipe.rows_per_forward
        pieces = [[rows[place] for place in order[first : first + step]] for first in range(0, len(order), step)]
        scores = torch.cat([self._scores(piece) for piece in pieces])
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return scores[back.to(scores.device)]


def ranking_loss(scores: torch.Tensor, teacher: torch.Tensor | None, recipe: RerankerRecipe) -> torch.Tensor:
    """The loss of (queries, documents) scores, the first document of each row being the positive.

    Args:
        scores: log-odds of relevance, or any other score.
        teacher: of the same shape; for "kl" alone.
        recipe: which loss, and its temperature.
    """
    scores = scores / recipe.temperature
    if recipe.loss == "pairs":
        wanted = torch.zeros_like(scores)
        wanted[:, 0] = 1
        return F.binary_cross_entropy_with_logits(scores, wanted)
    if recipe.loss == "kl" and teacher is not None:
        target = F.log_softmax(teacher.to(scores) * recipe.teacher_weight, dim=1)
        return F.kl_div(F.log_softmax(scores, dim=1), target, reduction="batchmean", log_target=True)
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


class RerankingBatches:
    """The collator: numbers of examples -> each query with its documents, prepared."""

    valid_label_columns = ("label",)

    def __init__(self, data: TrainingData, trainable: TrainableReranker) -> None:
        self._data, self._trainable = data, trainable

    def __call__(self, rows: Sequence[dict[str, int]]) -> dict[str, Any]:
        """The features of a batch."""
        data, examples = self._data, [self._data.examples[row["example"]] for row in rows]
        batch: dict[str, Any] = {
            "lists": [
                self._trainable.prepared(data.queries[query], [data.documents[place] for place in documents])
                for query, documents, _ in examples
            ]
        }
        if examples[0].scores is not None:
            batch["label"] = torch.tensor([example.scores for example in examples], dtype=torch.float32)
        return batch


class CrossTrainer(Careful, CrossEncoderTrainer):  # type: ignore[misc]
    """sentence-transformers' trainer, with xtrkit's loss and collator."""


class MonoT5Trainer(Careful, Trainer):  # type: ignore[misc]
    """transformers' trainer, with a loss and a dev figure that are not the model's own."""

    control: Any

    def __init__(self, loss: RerankingLoss, evaluator: RerankingEvaluator | None, **options: Any) -> None:
        super().__init__(**options)
        self._loss, self._evaluator = loss, evaluator
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The loss of a batch."""
        return self._loss([inputs["lists"]], inputs.get("label"))  # type: ignore[no-any-return]

    def evaluate(self, *arguments: Any, **options: Any) -> dict[str, float]:
        """The dev figures, logged and told as transformers' own."""
        if self._evaluator is None:
            return {}
        found = {f"eval_{name}": value for name, value in self._evaluator(self.model).items()}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found


def make_reranker_trainer(
    trainable: TrainableReranker,
    data: TrainingData,
    evaluator: RerankingEvaluator | None,
    recipe: RerankerRecipe,
    folder: Path,
    report: Callable[[Report], None],
) -> Any:
    """The trainer of a run, whose checkpoints go to ``folder``."""
    n_examples, model = len(data.examples), trainable.model
    arguments = arguments_of(recipe, n_examples, folder, dev=evaluator is not None, device=model.device)
    loss = RerankingLoss(trainable, recipe)
    options = {
        "model": model,
        "train_dataset": Dataset.from_dict({"example": list(range(n_examples))}),
        "data_collator": RerankingBatches(data, trainable),
    }
    if isinstance(model, CrossEncoder):
        trainer = CrossTrainer(
            args=CrossEncoderTrainingArguments(**arguments), loss=loss, evaluator=evaluator, **options
        )
    else:
        # Its rows are numbers of examples, which no model takes; transformers wants a dev set that nothing looks at.
        own = TrainingArguments(**arguments, remove_unused_columns=False)
        trainer = MonoT5Trainer(loss, evaluator, args=own, eval_dataset=options["train_dataset"], **options)
    return watched(trainer, recipe, report)
