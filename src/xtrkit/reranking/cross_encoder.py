"""A cross-encoder of sentence-transformers: query and document in one sequence, a score out of one output."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import CrossEncoder

from xtrkit.encoding.checkpoints import Layout, check_not_pickled
from xtrkit.encoding.modules import (
    check_all_weights_read,
    check_device_survived,
    check_tokenizer,
    quiet,
    said_in_a_sentence,
)
from xtrkit.encoding.spans import cleaned
from xtrkit.encoding.t5 import FULL_PRECISION, LOCAL
from xtrkit.encoding.users_text import reading_text
from xtrkit.errors import InputError, ModelError
from xtrkit.progress import progress_bar
from xtrkit.reranking.load import pickled

_UNLIMITED = 100_000
"""Tokens, where a tokenizer has no limit: it says so with an astronomic number."""


class CrossEncoderReranker:
    """A :class:`~xtrkit.reranking.base.Reranker` over ``sentence_transformers.CrossEncoder``; scores are its logits.

    Pickled, it is its name and device: the other process loads it again.

    Attributes:
        name: what the user called the model.
        model: the ``CrossEncoder``.
    """

    def __init__(self, name: str, model: CrossEncoder, *, device: str | None = None) -> None:
        self.name, self.model, self._device, self._process = name, model, device, os.getpid()
        self._users_text = reading_text(model.tokenizer)

    @classmethod
    def load(cls, name: str, directory: Path, layout: Layout, *, device: str | None = None) -> CrossEncoderReranker:
        """Read a checkpoint in full precision.

        Raises:
            ModelError: something is missing, or it has not exactly one output.
        """
        with said_in_a_sentence(directory, layout):
            check_not_pickled(directory)
            model = CrossEncoder(str(directory), device=device, model_kwargs=dict(FULL_PRECISION), **LOCAL)
            check_all_weights_read(directory, model.model)
            check_tokenizer(directory, model.tokenizer, model.model)
        outputs = model.model.config.num_labels
        if outputs != 1:
            raise ModelError(
                f"{directory} gives {outputs} numbers for each text instead of one score, and nothing says which "
                "of them ranks: use a cross-encoder with one output (num_labels 1)."
            )
        return cls(name, model, device=device)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(self.name, self._device)

    def score(
        self, query: str, texts: Sequence[str], *, batch_size: int = 32, progress: bool = False
    ) -> npt.NDArray[np.float32]:
        """(N,) logits of the texts for the query."""
        if isinstance(texts, str):
            raise InputError("Expected several texts, got one string: pass a list, such as [text].")
        check_device_survived(self.name, self.model.device, self._process)
        if not texts:
            return np.zeros(0, dtype=np.float32)
        pairs = self.pairs(query, texts)
        with quiet(), progress_bar("Reranking", len(pairs), shown=progress, unit="passages") as advance:
            scores: npt.NDArray[np.float32] = self.model.predict(
                pairs, batch_size=batch_size, activation_fn=torch.nn.Identity(), show_progress_bar=False
            )
            advance(len(pairs))
        return scores

    def pairs(self, query: str, texts: Sequence[str]) -> list[tuple[str, str]]:
        """The query with each text, as the model is given them."""
        with quiet():
            query = cleaned(self._beginning(query))
            return [(query, cleaned(self._beginning(text))) for text in texts]

    def _beginning(self, text: str) -> str:
        """As much of a text as certainly does not fit, or all of it."""
        tokenizer, limit = self.model.tokenizer, min(self.model.tokenizer.model_max_length, _UNLIMITED)
        return self._users_text.beginning(
            text, limit, lambda part: len(tokenizer(cleaned(part), verbose=False)["input_ids"])
        )
