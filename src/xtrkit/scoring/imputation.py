"""Missing-similarity imputation: what m_i of eq. 4 is where query token i retrieved no token of a document.

Table 5 of the XTR paper compares three answers; approximate token retrieval asks for more, since where only some
clusters were opened the similarities that were found do not bound the others. The choice moves rankings more than any
other.

Each policy is a function here, of what a search saw of the similarities (:class:`Similarities`), and says two things of
every query token: m_i, and from which similarity up a token counts as retrieved. Another policy is another function,
with a name in ``POLICIES``. Every engine imputes by these functions alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError
from xtrkit.values import Mask

Floats = npt.NDArray[np.float32]


class Similarities(Protocol):
    """What a search saw of the similarities of n query tokens with the tokens of an index.

    An exact search is one in which each token is a cluster of its own and the k' best clusters were opened.
    """

    @property
    def complete(self) -> Mask:
        """(n,) whether every token of the index was compared with the query token."""

    def kth_seen(self) -> Floats:
        """(n,) the k'-th best similarity among those seen, the lowest where there are fewer, 0 where there are none."""

    def kth_expected(self) -> Floats:
        """(n,) the k'-th best similarity of all tokens: the actual one where ``complete``, else as it must be expected.

        The expectation is :func:`xtrkit.kernels.expectation.expected_kth_scores`.
        """

    def last_opened(self) -> Floats:
        """(n,) the score of the last centroid whose cluster was opened."""

    def at_tokens(self, tokens: float) -> Floats:
        """(n,) the score of the centroid at which the sizes of the clusters, best first, add up to so many tokens."""


class Imputed(NamedTuple):
    """What a policy says of n query tokens.

    Attributes:
        lowest: (n,) similarities below this do not count as retrieved.
        missing: (n,) float64, m_i; None where nothing stands in for what is missing.
    """

    lowest: Floats
    missing: npt.NDArray[np.float64] | None


Policy = Callable[[Similarities, float], Imputed]
"""(what was seen, the number in the policy's name) -> what is imputed."""


def lowest_retrieved(seen: Similarities, value: float = 0.0) -> Imputed:
    """The paper's: m_i is the top-k' score, the lowest similarity that query token i retrieved.

    With exact retrieval it bounds what was missed from above: a token that was not retrieved can't be more similar.
    Where some clusters stayed closed, m_i is what the k'-th best similarity of all tokens must be expected to be.
    A query token without any hit tells nothing about any document: its m_i is 0 for all alike.
    """
    return _from(seen.kth_expected())


def found(seen: Similarities, value: float = 0.0) -> Imputed:
    """The k'-th best similarity seen, but at least the score of the last centroid whose cluster was opened.

    Where few clusters were opened there may be fewer than k' tokens in them, and the lowest of those says nothing.
    """
    kth = seen.kth_seen()
    return _from(np.where(seen.complete, kth, np.maximum(kth, seen.last_opened())))


def retrieved(seen: Similarities, value: float = 0.0) -> Imputed:
    """ColXTR's: the k'-th best similarity seen, and the lowest where there are fewer."""
    return _from(seen.kth_seen())


def centroid(seen: Similarities, value: float = 0.0) -> Imputed:
    """The score of the last centroid whose cluster was opened; all tokens in opened clusters count."""
    return _all_count(seen.last_opened().astype(np.float64))


def cumulated(seen: Similarities, value: float) -> Imputed:
    """WARP's, such as "t5000": the score of the centroid at which clusters, best first, hold t' = ``value`` tokens.

    All tokens in opened clusters count.
    """
    return _all_count(seen.at_tokens(value).astype(np.float64))


def constant(seen: Similarities, value: float) -> Imputed:
    """A number, such as "0.2": the same m_i for every query token; the paper tries 0 and 0.2. All tokens seen count."""
    return _all_count(np.full(len(seen.complete), value, dtype=np.float64))


def none(seen: Similarities, value: float = 0.0) -> Imputed:
    """Nothing stands in; a score is the mean (or sum) over the query tokens that retrieved, eq. 2."""
    return Imputed(np.full(len(seen.complete), -np.inf, dtype=np.float32), None)


POLICIES: dict[str, Policy] = {
    "min": lowest_retrieved,
    "found": found,
    "retrieved": retrieved,
    "centroid": centroid,
    "none": none,
}
"""Policies by name; beside them are "t5000" (``cumulated``) and numbers (``constant``)."""


@dataclass(frozen=True)
class Imputation:
    """A policy with the number that its name holds.

    Attributes:
        policy: the function.
        value: t' of ``cumulated``, m_i of ``constant``; 0 for the others.
    """

    policy: Policy
    value: float = 0.0

    def __call__(self, seen: Similarities) -> Imputed:
        """What is imputed for what was seen."""
        return self.policy(seen, self.value)


def imputation_named(name: str) -> Imputation:
    """The policy for a name: one of ``POLICIES``, "t5000" for t' = 5,000, or a finite number such as "0.2".

    Raises:
        InputError: the name is none of these.
    """
    if isinstance(name, str) and name in POLICIES:
        return Imputation(POLICIES[name])
    policy = cumulated if isinstance(name, str) and name.startswith("t") else constant
    value = _number(name[1:] if policy is cumulated else name)
    if not math.isfinite(value) or (policy is cumulated and value < 1):
        raise InputError(
            f"Unknown imputation {name!r}: use {', '.join(map(repr, POLICIES))}, 't5000' (the score at 5,000 cumulated "
            "tokens), or a number such as 0.2."
        )
    return Imputation(policy, value)


def _number(text: Any) -> float:
    try:
        return math.nan if isinstance(text, bool) else float(text)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _from(kth: Floats) -> Imputed:
    """What is at least the k'-th best counts as retrieved, and nothing that is missing is above it."""
    return Imputed(kth, kth.astype(np.float64))


def _all_count(missing: npt.NDArray[np.float64]) -> Imputed:
    return Imputed(np.full(len(missing), -np.inf, dtype=np.float32), missing)
