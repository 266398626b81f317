"""The losses, as modules for sentence-transformers' ``MultiVectorEncoderTrainer``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from sentence_transformers.util import all_gather, all_gather_padded, cat_padded_token_embeddings, get_rank
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xtrkit.errors import InputError
from xtrkit.training.recipes import TrainingRecipe
from xtrkit.training.scores import maxsim_scores, xtr_scores

Features = dict[str, Any]
Embedded = tuple[Tensor, Tensor]
"""(texts, tokens, d) token embeddings, and (texts, tokens) which of them are real."""


class LateInteractionLoss(nn.Module):
    """The loss of a recipe: cross-entropy over the documents of a batch, distillation from a teacher, or both.

    What it is given are the features of one batch: those of B queries first, then those of their documents, either in
    one entry with the N documents of each query after one another (B · N rows), the positive first, or in N entries of
    B rows, as sentence-transformers' own collator makes them of N text columns.

    ============  ====================  ===============  ==============
    ``scores``    ``contrast``          ``distillation``  what it is
    ============  ====================  ===============  ==============
    ``xtr``       ``all``               ``none``          XTR
    ``maxsim``    ``all``               ``none``          ColBERT
    ``maxsim``    ``others``            ``kl``            ColBERTv2
    ``xtr``       ``all``               ``kl``            XTR + KL
    either        ``none``              ``margin_mse``    margin-MSE
    ============  ====================  ===============  ==============

    Args:
        model: a ``MultiVectorEncoder``, or another module that makes ``token_embeddings`` of features.
        recipe: what to compute; the fields about data and optimisation are not looked at.
    """

    def __init__(self, model: nn.Module, recipe: TrainingRecipe) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe

    def forward(self, features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """The loss of a batch.

        Args:
            features: of queries and documents, as above. Queries may have ``positives``, (B, P) numbers of documents
                that are relevant to them, filled up with -1, and documents ``number``: documents that are known to be
                relevant are then no negatives.
            labels: (B, N) the teacher's scores of each query's own documents.

        Raises:
            InputError: the teacher's scores are of another shape.
        """
        query_features, *document_features = list(features)
        queries, query_mask = self._embed(query_features, "query")
        documents, document_mask, numbers = self._documents(document_features, len(queries))
        n_own = len(documents) // len(queries)
        first = 0
        if self.recipe.gather and torch.distributed.is_initialized():
            first = get_rank() * len(documents)
            documents, document_mask = all_gather_padded(documents, document_mask, with_grad=True)
            numbers = None if numbers is None else all_gather(numbers)
        scores = self._scores(queries, documents, query_mask, document_mask)
        own = first + torch.arange(len(queries) * n_own, device=scores.device).view(-1, n_own)
        losses = []
        if self.recipe.contrast != "none":
            losses.append(self._contrast(scores, own, query_features.get("positives"), numbers))
        if self.recipe.needs_teacher:
            losses.append(self.recipe.distillation_weight * self._distillation(scores.gather(1, own), labels))
        return torch.stack(losses).sum()

    def _scores(self, queries: Tensor, documents: Tensor, query_mask: Tensor, document_mask: Tensor) -> Tensor:
        recipe = self.recipe
        if recipe.scores == "maxsim":
            return maxsim_scores(queries, documents, query_mask, document_mask, mean=recipe.mean)
        return xtr_scores(queries, documents, query_mask, document_mask, recipe.k_train, negative=recipe.negative)

    def _contrast(self, scores: Tensor, own: Tensor, positives: Tensor | None, numbers: Tensor | None) -> Tensor:
        """-log P(D+ | Q, documents), where P is the softmax over the documents that may be negatives, and D+."""
        excluded = torch.zeros_like(scores, dtype=torch.bool)
        if self.recipe.contrast == "others":
            excluded.scatter_(1, own[:, 1:], True)
        if self.recipe.mask_false_negatives and positives is not None and numbers is not None:
            for column in positives.T:
                excluded |= numbers[None, :] == column[:, None]
            excluded |= numbers[None, :] == numbers[own[:, 0]][:, None]
        excluded.scatter_(1, own[:, :1], False)
        logits = (scores / self.recipe.temperature).masked_fill(excluded, -torch.inf)
        return F.cross_entropy(logits, own[:, 0])

    def _distillation(self, scores: Tensor, teacher: Tensor | None) -> Tensor:
        if teacher is None or teacher.shape != scores.shape:
            got = "none" if teacher is None else f"shape {tuple(teacher.shape)}"
            raise InputError(f"Distillation needs teacher scores of shape {tuple(scores.shape)}, got {got}.")
        teacher = teacher.to(scores.dtype) * self.recipe.distillation_alpha
        scores = scores / self.recipe.temperature
        if self.recipe.distillation == "margin_mse":
            return F.mse_loss(scores[:, :1] - scores[:, 1:], teacher[:, :1] - teacher[:, 1:])
        student, expected = scores.log_softmax(dim=1), teacher.log_softmax(dim=1)
        return F.kl_div(student, expected, reduction="batchmean", log_target=True)

    def _documents(self, columns: list[Features], n_queries: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """The documents of all queries, each query's after one another."""
        embedded = [self._embed(column, "document") for column in columns]
        if len(columns) == 1:
            return *embedded[0], columns[0].get("number")
        documents, mask = cat_padded_token_embeddings(*map(list, zip(*embedded, strict=True)))
        by_query = torch.arange(len(documents), device=documents.device).view(len(columns), n_queries).T.flatten()
        return documents[by_query], mask[by_query], None

    def _embed(self, features: Features, task: str) -> Embedded:
        """Token embeddings of texts, some texts at a time: of like lengths, so that little of it is padding."""
        mask = features["attention_mask"]
        lengths = (mask.long() * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1)
        if "query_expansion_positions" in features:
            lengths = torch.full_like(lengths, mask.shape[1])  # [MASK]s lie beyond the attention mask
        order = torch.argsort(lengths, descending=True, stable=True)
        # The first of each part is its longest; asked for once, as a GPU has to catch up to answer.
        widths = lengths[order[:: self.recipe.rows_per_forward]].tolist()
        parts = [
            self._embed_part(_rows(features, part, width), task)
            for part, width in zip(torch.split(order, self.recipe.rows_per_forward), widths, strict=True)
        ]
        embeddings, kept = cat_padded_token_embeddings(*map(list, zip(*parts, strict=True)))
        back = torch.argsort(order)
        return embeddings[back], kept[back]

    def _embed_part(self, features: Features, task: str) -> Embedded:
        if self.recipe.recompute and torch.is_grad_enabled():
            embedded: Embedded = checkpoint(self._run, features, task, use_reentrant=False)
            return embedded
        return self._run(features, task)

    def _run(self, features: Features, task: str) -> Embedded:
        tokens = features["attention_mask"].bool()
        outputs = self.model(dict(features), task=task)
        kept = outputs["attention_mask"].bool()
        # As in indexing: a document of punctuation alone keeps it, so that no document is without a vector.
        return outputs["token_embeddings"], torch.where(kept.any(dim=1, keepdim=True), kept, tokens)


def _rows(features: Features, rows: Tensor, width: int) -> Features:
    """Some of the texts, cut to ``width`` tokens."""
    full = features["attention_mask"].shape[1]
    chosen: Features = {}
    for key, value in features.items():
        if not isinstance(value, Tensor):
            chosen[key] = value
        elif key not in ("number", "positives"):
            part = value[rows]
            chosen[key] = part[:, :width] if part.ndim > 1 and part.shape[1] == full else part
    return chosen
