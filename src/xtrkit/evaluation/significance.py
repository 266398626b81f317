"""Whether two systems differ by more than their queries would by chance: paired tests, corrected for their number.

Two tests, by ``scipy``, each two-sided, on the differences of a measure query by query: Student's paired t-test, and
Fisher's randomisation test, which flips the signs of the differences and asks how often their mean is as far from 0
(all 2ⁿ ways where there are few queries, :data:`FLIPS` of them drawn with a fixed seed otherwise). Where several
systems are held against one, a small p is likely to come up somewhere: Holm's correction (1979) of the comparisons of
one measure keeps the chance of a single false one at the level that is read off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xtrkit.errors import InputError, missing_extra

FLIPS = 10_000
"""Random sets of signs."""
SEED = 0
_BATCH = 1 << 22
"""Signs held at a time."""

OfQueries = Mapping[str, float]
"""{query: value} of one measure."""


class Difference(NamedTuple):
    """One system against the baseline, by one measure.

    Attributes:
        system: the system's name.
        mean: by how much its mean is higher than the baseline's.
        better: queries in which it is higher.
        worse: queries in which it is lower.
        t_test: p of the paired t-test, corrected.
        randomisation: p of the randomisation test, corrected.
    """

    system: str
    mean: float
    better: int
    worse: int
    t_test: float
    randomisation: float


def against(baseline: OfQueries, systems: Mapping[str, OfQueries]) -> list[Difference]:
    """Hold systems against a baseline, by one measure; p-values are corrected for the number of systems.

    Args:
        baseline: {query: value}.
        systems: {name: {query: value}}, of the same queries.

    Raises:
        InputError: a system was measured on other queries, or there are fewer than two.
        MissingExtraError: scipy isn't installed.
    """
    stats = scipy_stats()
    if len(baseline) < 2:
        raise InputError(f"A test of significance needs two queries at least, got {len(baseline)}.")
    found: dict[str, tuple[np.ndarray[Any, Any], float, float]] = {}
    for name, values in systems.items():
        if values.keys() != baseline.keys():
            raise InputError(f"{name!r} was measured on other queries than the baseline: measure both on the same.")
        differences = np.array([values[query] - value for query, value in baseline.items()])
        found[name] = differences, _t_test(stats, differences), _randomisation(stats, differences)
    t_tests = holm([t_test for _, t_test, _ in found.values()])
    randomisations = holm([randomisation for *_, randomisation in found.values()])
    return [
        Difference(name, float(d.mean()), int((d > 0).sum()), int((d < 0).sum()), *p_values)
        for (name, (d, *_)), *p_values in zip(found.items(), t_tests, randomisations, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the i-th smallest of m is multiplied by m − i + 1; none is below a smaller one."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def _t_test(stats: Any, differences: np.ndarray[Any, Any]) -> float:
    spread = np.ptp(differences)
    if spread <= 1e-12 * max(1.0, float(np.abs(differences).max())):  # the variance is none: t is 0/0, or infinite
        return 1.0 if abs(differences[0]) <= 1e-12 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _randomisation(stats: Any, differences: np.ndarray[Any, Any]) -> float:
    moved = differences[np.abs(differences) > 1e-12]  # the sign of 0 changes nothing
    if len(moved) < 2:
        return 1.0  # either sign is as far from 0
    batch = max(1, _BATCH // len(moved))
    tested = stats.permutation_test(
        (moved,), np.mean, permutation_type="samples", vectorized=True, n_resamples=FLIPS, batch=batch, rng=SEED
    )
    return float(tested.pvalue)


def scipy_stats() -> Any:
    """What computes the tests, ``scipy.stats``.

    Raises:
        MissingExtraError: scipy isn't installed.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise missing_extra("A test of significance", "eval") from error
    return stats
