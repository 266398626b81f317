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
from xtrkit.search.engine import Documents, Ranked, Scores
from xtrkit.values import Mask

FILLED_UP = 128
"""Documents of a subset that are rather scored by all their tokens than searched again for tokens that hit them."""


class Looked(NamedTuple):
    """What one look found of one query.

    Attributes:
        reached: the documents that retrieved tokens led to and that may be found, in any order.
        fill_up: scores other documents, by all their tokens but none above m_i.
    """

    reached: Ranked
    fill_up: Callable[[Documents], Scores]


Look = Callable[[Sequence[int], Recipe], Iterable[Looked]]
"""(numbers of queries, the effort) -> what a look with this effort finds of each."""


class Goal(NamedTuple):
    """What is enough.

    Attributes:
        matching: (N,) the documents that may be found.
        needed: how many shall be found, as far as there are as many.
        fills: whether documents that were not reached may be scored by all their tokens: in a subset they may.
        n_clusters: C.
        n_tokens: M.
    """

    matching: Mask
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
    n_matching = int(np.count_nonzero(goal.matching))
    needed, fill = min(goal.needed, n_matching), FILLED_UP if goal.fills else 0
    found: dict[int, tuple[Ranked, Recipe]] = {}
    pending = list(range(n_queries))
    while pending:
        everything = int(recipe.nprobe) >= goal.n_clusters and recipe.k_prime >= goal.n_tokens
        for query, (reached, fill_up) in zip(pending, look(pending, recipe), strict=True):
            if len(reached.documents) >= needed or everything:
                found[query] = reached, recipe
            elif n_matching - len(reached.documents) <= fill:
                found[query] = _filled_up(reached, goal.matching, fill_up), recipe
        pending = [query for query in pending if query not in found]
        if pending:
            recipe = recipe.widened()
    return [found[query] for query in range(n_queries)]


def _filled_up(reached: Ranked, matching: Mask, fill_up: Callable[[Documents], Scores]) -> Ranked:
    """The documents that were reached, and behind them all others that may be found."""
    unreached = matching.copy()
    unreached[reached.documents] = False
    others = np.flatnonzero(unreached)
    return Ranked(np.concatenate([reached.documents, others]), np.concatenate([reached.scores, fill_up(others)]))
