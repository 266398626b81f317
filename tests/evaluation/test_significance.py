"""Paired tests against brute force, and Holm's correction against an example by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from xtrkit.errors import InputError
from xtrkit.evaluation.significance import against, holm


def of(values):
    return {str(n): float(value) for n, value in enumerate(values)}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-0.5, -0.25, 0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=9))
def test_randomisation_is_the_share_of_all_signs(differences):
    (found,) = against(of([0.0] * len(differences)), {"b": of(differences)})
    means = [np.mean(np.array(signs) * differences) for signs in itertools.product([1, -1], repeat=len(differences))]
    share = np.mean([abs(mean) >= abs(np.mean(differences)) - 1e-12 for mean in means])
    assert found.randomisation == pytest.approx(share)
    assert (found.better, found.worse) == (sum(d > 0 for d in differences), sum(d < 0 for d in differences))
    assert found.mean == pytest.approx(np.mean(differences))


def test_the_t_test_is_students_and_many_queries_are_drawn():
    rng = np.random.default_rng(3)
    a = rng.random(300)
    b = a + rng.normal(0.02, 0.1, 300)
    (found,) = against(of(a), {"b": of(b)})
    assert found.t_test == pytest.approx(stats.ttest_rel(b, a).pvalue)
    assert found.randomisation == pytest.approx(found.t_test, abs=0.005)
    assert against(of(a), {"b": of(b)}) == [found]  # the signs are drawn with a fixed seed


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_correction_is_for_the_number_of_systems():
    rng = np.random.default_rng(4)
    a = rng.random(100)
    b, c = a + rng.normal(0.03, 0.1, 100), a + rng.normal(0.0, 0.1, 100)
    (alone,) = against(of(a), {"b": of(b)})
    both = {one.system: one for one in against(of(a), {"b": of(b), "c": of(c)})}
    assert both["b"].t_test == pytest.approx(2 * alone.t_test)
    assert both["c"].t_test >= both["b"].t_test


def test_equal_systems_differ_by_nothing_and_a_constant_gain_is_certain():
    a = of([0.1, 0.5, 0.7])
    (same,) = against(a, {"b": dict(a)})
    assert (same.t_test, same.randomisation) == (1.0, 1.0)
    (gain,) = against(of([0.0] * 12), {"b": of([0.5] * 12)})
    assert gain.t_test == 0.0
    assert gain.randomisation == pytest.approx(2 / 2**12)


def test_what_can_not_be_tested():
    with pytest.raises(InputError, match="other queries"):
        against(of([1, 2]), {"b": {"x": 1.0, "y": 2.0}})
    with pytest.raises(InputError, match="two queries at least, got 1"):
        against(of([1]), {"b": of([1])})
