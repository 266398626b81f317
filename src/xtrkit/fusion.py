"""One ranking of two: what token vectors found, and what words did (BM25).

A document's score is α · t + (1 − α) · w, where t and w stand for its place in each of the two:

============  =================================================================================================
"rrf"         1 / (60 + rank): reciprocal rank fusion (Cormack et al., 2009), which looks at no score
"relative"    (score − lowest) / (highest − lowest) of those that were found: 1 for the best, 0 for the last
============  =================================================================================================

and 0 in the one that did not find it. Each is looked at to a depth (:data:`DEPTH`, or as many as are asked for), so
scores of searches of different depths do not compare.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError

FUSIONS = ("rrf", "relative")
RANK_CONSTANT = 60
"""What ranks are counted from: the larger, the less the first places stand out."""

ALPHA = 0.75
"""The share of the token vectors."""

DEPTH = 100
"""How many documents of each ranking are looked at, at least."""


class Ranked(Protocol):
    """Some documents, the best first."""

    @property
    def documents(self) -> npt.NDArray[np.int64]:
        """(k,) document numbers."""

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """(k,) their scores, descending."""


class Fused(NamedTuple):
    """A document of a fused ranking.

    Attributes:
        document: its number.
        score: what it is ranked by.
        tokens: its score by token vectors; None where they did not find it.
        words: its score by words; None where they did not find it.
    """

    document: int
    score: float
    tokens: float | None
    words: float | None


def check_fusion(fusion: str | None, alpha: float | None) -> None:
    """Refuse a fusion that there is not, or weights that are none.

    Raises:
        InputError: it is unknown, or alpha is no number from 0 to 1, or weighs nothing.
    """
    if fusion is None:
        if alpha is not None:
            raise InputError(f"alpha={alpha!r} weighs token vectors and words: choose a fusion, 'rrf' or 'relative'.")
        return
    if fusion not in FUSIONS:
        raise InputError(f"The fusion must be 'rrf', 'relative' or None, got {fusion!r}.")
    if alpha is None:
        return
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise InputError(f"alpha must be a number from 0 (words alone) to 1 (token vectors alone), got {alpha!r}.")


def fused(tokens: Ranked, words: Ranked, fusion: str, alpha: float = ALPHA) -> list[Fused]:
    """All documents of two rankings, the best first; of equals those that were indexed first come first.

    Args:
        tokens: what token vectors found.
        words: what words found.
        fusion: "rrf" or "relative".
        alpha: the share of the token vectors.
    """
    of_tokens, of_words = (
        dict(zip(one.documents.tolist(), one.scores.tolist(), strict=True)) for one in (tokens, words)
    )
    share = _reciprocal_ranks if fusion == "rrf" else _normalised
    tokens_share, words_share = share(of_tokens), share(of_words)
    found = [
        Fused(
            document,
            alpha * tokens_share.get(document, 0.0) + (1 - alpha) * words_share.get(document, 0.0),
            of_tokens.get(document),
            of_words.get(document),
        )
        for document in of_tokens.keys() | of_words.keys()
    ]
    return sorted(found, key=lambda one: (-one.score, one.document))


def _reciprocal_ranks(scores: dict[int, float]) -> dict[int, float]:
    return {document: 1 / (RANK_CONSTANT + rank) for rank, document in enumerate(scores, 1)}


def _normalised(scores: dict[int, float]) -> dict[int, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high == low:
        return dict.fromkeys(scores, 1.0)
    return {document: (score - low) / (high - low) for document, score in scores.items()}
