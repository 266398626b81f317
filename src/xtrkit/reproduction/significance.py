"""Is a difference between two systems more than chance: a paired test over queries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.reproduction.outcome import Verdict

Values = npt.NDArray[np.float64]
ROUNDS = 10_000
LEVEL = 0.05
"""A difference with a larger p does not count as shown."""


def p_of_no_difference(a: Values, b: Values, seed: int = 0) -> float:
    """How often a difference of means so large comes about if each query's two figures are exchanged at random.

    The two-sided paired randomisation test, which assumes nothing of how the figures are spread.

    Args:
        a: (Q,) a measure of each query.
        b: (Q,) the same of another system.
        seed: of the exchanges.
    """
    differences = b - a
    differences = differences[differences != 0]  # an exchange of equals changes nothing
    if not len(differences):
        return 1.0
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(ROUNDS, len(differences)))
    as_large = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12
    return float((as_large.sum() + 1) / (ROUNDS + 1))


def compared(statement: str, lower: Values, higher: Values) -> Verdict:
    """Whether the second is better, query by query: (Q,) figures of both."""
    difference, p = float((higher - lower).mean()), p_of_no_difference(lower, higher)
    held = None if p > LEVEL else difference > 0
    return Verdict(statement, held, f"{difference:+.4f}, p = {p:.4f}")
