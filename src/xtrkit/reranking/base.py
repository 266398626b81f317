"""What a reranker is to the rest of xtrkit: a contract, without torch; and the order that its scores make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError

DEPTH = 100
"""How many passages of a first ranking are reranked, as in Bhat et al. 2025."""


@runtime_checkable
class Reranker(Protocol):
    """Scores a query with each of some texts. The score of a text never depends on the texts beside it."""

    @property
    def name(self) -> str:
        """What the user called the model."""

    def score(
        self, query: str, texts: Sequence[str], *, batch_size: int = 32, progress: bool = False
    ) -> npt.NDArray[np.float32]:
        """(N,) scores of the texts for the query, higher is better; only scores of one query compare."""


def rerank(reranker: Reranker, query: str, texts: Sequence[str], *, batch_size: int = 32) -> list[tuple[int, float]]:
    """The texts in descending order of the reranker's score; equal scores keep the order that they had.

    Args:
        reranker: what scores them.
        query: the query.
        texts: passages, in the order of the first ranking.
        batch_size: pairs scored together.

    Returns:
        (place in ``texts``, score), best first.
    """
    scores = reranker.score(query, texts, batch_size=batch_size)
    return [(int(place), float(scores[place])) for place in np.argsort(-scores, kind="stable")]


def check_depth(depth: int) -> None:
    """Refuse a number of passages that can't be reranked.

    Raises:
        InputError: it isn't a whole number of at least 1.
    """
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer) or depth < 1:
        raise InputError(f"rerank_depth must be a whole number of at least 1, got {depth!r}.")
