"""Missing-similarity imputation: what m_i of eq. 4 is where query token i retrieved no token of a document.

Table 5 of the XTR paper compares three answers, each a function here. The choice moves rankings more than any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.values import TokenHits

Imputation = Callable[[TokenHits], npt.NDArray[np.float64] | None]
"""(token hits) -> (n,) missing similarity m_i of each query token; None where nothing stands in for it."""


def lowest_retrieved(hits: TokenHits) -> npt.NDArray[np.float64]:
    """The paper's default: m_i is the top-k' score, the lowest similarity that query token i retrieved.

    With exact retrieval it bounds what was missed from above: a token that was not retrieved can't be more similar.
    A query token without any hit tells nothing about any document: its m_i is 0 for all alike.
    """
    return np.array([_lowest(hits.scores[hits.of(i)]) for i in range(hits.n_query_tokens)], dtype=np.float64)


def constant(hits: TokenHits, value: float) -> npt.NDArray[np.float64]:
    """The same m_i for every query token; the paper tries 0 and 0.2."""
    return np.full(hits.n_query_tokens, value, dtype=np.float64)


def none(hits: TokenHits) -> None:
    """Nothing stands in: a document's score is the mean (or sum) over the query tokens that retrieved it, eq. 2."""


def imputation_named(name: str) -> Imputation:
    """The policy for a name: ``"min"`` or ``"retrieved"``, ``"none"``, or a finite number such as ``"0.2"``.

    Raises:
        InputError: the name is none of these.
    """
    if name in ("min", "retrieved"):  # which differ where only some clusters were opened
        return lowest_retrieved
    if name == "none":
        return none
    try:
        value = float(name)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"Unknown imputation {name!r}: use 'min' (the top-k' score), 'retrieved', 'none', or a number such as 0.2."
        )
    return partial(constant, value=value)


def _lowest(scores: npt.NDArray[np.float32]) -> float:
    return float(scores.min()) if len(scores) else 0.0
