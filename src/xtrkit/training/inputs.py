"""Numbers of texts -> the features of a batch: by tokenizing the texts, or from activations that were kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import MultiVectorEncoder

from xtrkit.encoding.modules import quiet
from xtrkit.encoding.spans import cleaned
from xtrkit.training.data import TrainingData

Features = dict[str, Any]


class Inputs(Protocol):
    """A collection of texts, ready for a model."""

    def features(self, task: str, numbers: Sequence[int]) -> Features:
        """The features of some texts, padded to the longest of them."""


class TextInputs:
    """Texts, prepared as :class:`~xtrkit.encoding.torch_encoder.TorchEncoder` prepares them, and tokenized."""

    def __init__(self, model: MultiVectorEncoder, texts: Sequence[str]) -> None:
        self._model, self._texts = model, texts

    def features(self, task: str, numbers: Sequence[int]) -> Features:
        """The features of some texts, padded to the longest of them."""
        prompt = self._model.prompts.get(task) or None
        with quiet():
            features: Features = self._model.preprocess([self._prepared(n) for n in numbers], prompt=prompt, task=task)
        return {key: value for key, value in features.items() if isinstance(value, torch.Tensor)}

    @property
    def device(self) -> torch.device:
        """Where the model is; features are made in main memory."""
        found: torch.device = self._model.device
        return found

    def lengths(self, task: str) -> npt.NDArray[np.int64]:
        """(texts,) how many tokens each has, markers and [MASK]s included, once what is too long is cut off."""
        found: list[int] = []
        for first in range(0, len(self._texts), 512):
            features = self.features(task, range(first, min(first + 512, len(self._texts))))
            mask = features["attention_mask"].bool()
            if (positions := features.get("query_expansion_positions")) is not None:
                mask = mask | positions.bool()
            found += mask.sum(dim=1).tolist()
        return np.array(found, dtype=np.int64)

    def _prepared(self, number: int) -> str:
        text = cleaned(self._texts[number])
        return (text.lower() if self._model[0].do_lower_case else text) or "."


@dataclass
class Batches:
    """The collator: numbers of examples -> features as ``BaseTrainer`` wants them, queries first, then documents.

    Attributes:
        data: examples, each with equally many documents.
        queries: what makes features of queries.
        documents: what makes features of documents.
    """

    data: TrainingData
    queries: Inputs
    documents: Inputs

    valid_label_columns = ("label",)

    def __call__(self, rows: Sequence[dict[str, int]]) -> Features:
        """The features of a batch."""
        examples = [self.data.examples[row["example"]] for row in rows]
        numbers = [document for example in examples for document in example.documents]
        queries = self.queries.features("query", [example.query for example in examples])
        documents = self.documents.features("document", numbers)
        queries["positives"] = _padded([sorted(self.data.positives[example.query]) for example in examples])
        documents["number"] = torch.tensor(numbers)
        batch: Features = {"return_loss": True}
        batch |= {f"query_{key}": value for key, value in queries.items()}
        batch |= {f"document_{key}": value for key, value in documents.items()}
        if examples[0].scores is not None:
            batch["label"] = torch.tensor([example.scores for example in examples], dtype=torch.float32)
        return batch


def _padded(lists: Sequence[Sequence[int]]) -> torch.Tensor:
    longest = max(map(len, lists))
    return torch.tensor([[*numbers, *[-1] * (longest - len(numbers))] for numbers in lists])
