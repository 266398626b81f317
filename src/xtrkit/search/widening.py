"""Looking again, with more effort, for queries that found fewer documents than were asked for.

The paper leaves this case open; users who ask for k documents expect k where there are k. So a query that found fewer
is searched with twice the clusters and twice the k', until it has k or everything was looked at. Where the search is
of a subset, and no more than ``FILLED_UP`` of its documents were not reached, these are scored by all their tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from xtrkit.recipes import Recipe
from xtrkit.search.engine import Documents, Ranked
from xtrkit.values import Mask

FILLED_UP = 128
"""Documents of a subset that are rather scored by all their tokens than searched again for tokens that hit them."""


class Looked(NamedTuple):
    """What one look found of one query.

    Attributes:
        reached: documents that retrieved tokens led to and that may be found, in any order: all, or the best of them.
        n_reached: how many there are in all.
        fill_up: all others that may be found, scored by all their tokens, but none above m_i.
    """

    reached: Ranked
    n_reached: int
    fill_up: Callable[[], Ranked]


Look = Callable[[Sequence[int], Recipe], Iterable[Looked]]
"""(numbers of queries, the effort) -> what a look with this effort finds of each."""


class Goal(NamedTuple):
    """What is enough.

    Attributes:
        n_matching: how many documents may be found.
        needed: how many shall be found, as far as there are as many.
        fills: whether documents that were not reached may be scored by all their tokens: in a subset they may.
        n_clusters: C.
        n_tokens: M.
    """

    n_matching: int
    needed: int
    fills: bool
    n_clusters: int
    n_tokens: int


def look_until_enough(look: Look, n_queries: int, recipe: Recipe, goal: Goal) -> list[tuple[Ranked, Recipe]]:
    """For each query the documents that were found, in any order, and the effort that found them.

    Args:
        look: one look at some queries.
        n_queries: how many there are.
        recipe: the effort of the first look; resolved.
        goal: what is enough.
    """
    needed, fill = min(goal.needed, goal.n_matching), FILLED_UP if goal.fills else 0
    found: dict[int, tuple[Ranked, Recipe]] = {}
    pending = list(range(n_queries))
    while pending:
        everything = recipe.clusters >= goal.n_clusters and recipe.k_prime >= goal.n_tokens
        for query, (reached, n_reached, fill_up) in zip(pending, look(pending, recipe), strict=True):
            if n_reached >= needed or everything:
                found[query] = reached, recipe
            elif goal.n_matching - n_reached <= fill:
                found[query] = _with(reached, fill_up()), recipe
        pending = [query for query in pending if query not in found]
        if pending:
            recipe = recipe.widened()
    return [found[query] for query in range(n_queries)]


def _with(reached: Ranked, others: Ranked) -> Ranked:
    return Ranked(
        np.concatenate([reached.documents, others.documents]), np.concatenate([reached.scores, others.scores])
    )


def unreached(reached: Documents, matching: Mask) -> Documents:
    """The documents that may be found, (N,) ``matching``, without those that were reached."""
    left = matching.copy()
    left[reached] = False
    return np.flatnonzero(left)
