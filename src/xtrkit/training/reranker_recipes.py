"""How rerankers are trained, as frozen values. Knows no torch.

=================  ============================================  =====================================================
recipe             what scores                                   source
=================  ============================================  =====================================================
``monot5``         "true" against "false", one decoder step      Nogueira et al. 2020: Adafactor, 3e-4, weights decay
                                                                 by 5e-5, as its public fine-tuning has it
``cross-encoder``  one output over the first token               sentence-transformers' trainer; Nogueira & Cho 2019
=================  ============================================  =====================================================

The paper makes 10,000 to 100,000 steps of 128 pairs; steps and batch here are for fine-tuning a small model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xtrkit.errors import InputError
from xtrkit.training.optimisation import Optimisation

Architecture = Literal["monot5", "cross-encoder"]
RerankerLoss = Literal["pairs", "list", "kl"]


@dataclass(frozen=True)
class RerankerRecipe(Optimisation):
    """Everything that decides what a reranker learns, beside the base model and the data.

    The fields of :class:`~xtrkit.training.optimisation.Optimisation` come first. A query's score of a document is
    logit(true) - logit(false) of a monoT5, the one output of a cross-encoder.

    Attributes:
        architecture: "monot5" or "cross-encoder".
        loss: "pairs" asks of every pair by itself whether it is relevant (binary cross-entropy, the paper's); "list"
            is the cross-entropy of a softmax over a query's own documents, the positive to be first; "kl" the
            divergence of that softmax from a teacher's.
        teacher_weight: what the teacher's scores are multiplied with before their softmax.
        max_length: most tokens of query and document together. Of a monoT5's prompt only the document is cut.
        dropout: share of activations that are left out while it learns.
        false_token: monoT5 only: the piece for what is irrelevant; by default as for reranking.
        true_token: monoT5 only: the piece for what is relevant.
    """

    architecture: Architecture = "monot5"
    loss: RerankerLoss = "pairs"
    teacher_weight: float = 1.0
    max_length: int = 512
    dropout: float = 0.1
    false_token: str = ""
    true_token: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is a share, from 0 to below 1, got {self.dropout!r}.")
        if bool(self.false_token) != bool(self.true_token):
            raise InputError("false_token and true_token go together: say both, or neither.")
        if self.negatives < 1:
            raise InputError("A reranker learns nothing of positives alone: negatives must be at least 1.")
        if self.top_layers and self.architecture != "monot5":
            raise InputError("top_layers is for monot5 and for encoders: a cross-encoder learns all its layers.")

    @property
    def needs_teacher(self) -> bool:
        """Whether the data must have scores of a teacher."""
        return self.loss == "kl"

    @property
    def tokens(self) -> tuple[str, str] | None:
        """The two pieces that a monoT5 answers with, irrelevant first; None leaves them to its name."""
        return (self.false_token, self.true_token) if self.true_token else None


MONOT5_TRAINING = RerankerRecipe(
    name="monot5", batch_size=16, learning_rate=3e-4, optimizer="adafactor", weight_decay=5e-5
)
CROSS_ENCODER_TRAINING = RerankerRecipe(
    name="cross-encoder", architecture="cross-encoder", batch_size=16, learning_rate=2e-5
)
