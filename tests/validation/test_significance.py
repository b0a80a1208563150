"""Probabilities of metrics among many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import Geometry, Validation
from gan3d.data import read_showers
from gan3d.samples import sample_files
from gan3d.validation import judge, summarise
from gan3d.validation.catalogue import AUC, RELATIVE_ERROR, SHARE
from gan3d.validation.significance import SMALLEST_P, Family, Ruler, at_least_one, each_of

KINDS = {"relative": RELATIVE_ERROR, "share": SHARE, "area": AUC}


def family(rng, metrics=40, exchanges=100, off=0.0):
    """Metrics of one distribution, a third of each kind, skewed; the first one is off."""
    kinds = list(KINDS.values())
    drawn = rng.exponential(size=(metrics, 1 + exchanges))
    drawn[0, 0] += off
    return {
        str(number): (kind, sign * float(values[0]), sign * values[1:])
        for number, values in enumerate(drawn)
        for kind in (kinds[number % 3],)
        for sign in (-1.0 if kind.worse < 0 else 1.0,)
    }


def smallest(found):
    tests = Family.of(found)
    return min(tests.p_value(name, value) for name, (_, value, _) in found.items())


def test_among_many_metrics_the_smallest_probability_is_as_likely_as_it_says():
    """Uniform, where nothing is wrong: 300 families of 40 skewed metrics."""
    rng = np.random.default_rng(0)
    p = np.array([smallest(family(rng)) for _ in range(300)])
    for level in (0.05, 0.2, 0.5):
        assert (p < level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 300))


def test_a_fault_far_beyond_all_exchanges_is_all_but_impossible():
    found = family(np.random.default_rng(1), off=30.0)
    tests = Family.of(found)
    assert tests.p_value("0", found["0"][1]) == SMALLEST_P
    others = [tests.p_value(name, value) for name, (_, value, _) in found.items() if name != "0"]
    assert min(others) > 0.01


def test_alone_a_metric_is_as_unlikely_as_its_tail_says():
    """Of an exponential distribution, counted and beyond what can be counted."""
    drawn = np.random.default_rng(3).exponential(size=2000)
    ruler = Ruler.of(RELATIVE_ERROR, 0.7, drawn)
    for value in (1.0, 2.0, 4.0, 7.0, 10.0):
        assert ruler.alone(value) == pytest.approx(np.exp(-value), rel=0.6)
    assert ruler.alone(0.0) == 1.0
    assert ruler.alone(1e3) == SMALLEST_P


@given(st.floats(1e-6, 0.3), st.integers(1, 200))
def test_several_tries_and_each_of_them(p, tries):
    assert at_least_one(each_of(p, tries), tries) == pytest.approx(p, rel=1e-6)
    assert at_least_one(p, tries) >= p * (1 - 1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_detectable_has_just_that_probability(name):
    found = family(np.random.default_rng(2))
    tests = Family.of(found)
    number = str(list(KINDS).index(name))
    value = tests.detectable(number, 0.01)
    assert tests.p_value(number, value) == pytest.approx(0.01)
    better = 2 * tests.rulers[number].centre - value
    if KINDS[name].worse:
        assert tests.p_value(number, better) > 0.9
    else:
        assert tests.p_value(number, better) == pytest.approx(0.01)


def test_a_metric_that_no_exchange_moves_is_off_when_it_moves():
    same = np.full(100, 0.25)
    assert float(Ruler.of(RELATIVE_ERROR, 0.25, same).off(0.25)) == 0.0
    assert float(Ruler.of(RELATIVE_ERROR, 0.5, same).off(0.5)) > 5.0


@pytest.mark.slow
@pytest.mark.parametrize(("count", "other"), [(20, 20), (60, 60), (300, 40)])
def test_geant4_against_geant4_gives_as_many_false_alarms_as_it_says(count, other):
    """At a tenth, 3 of 30 pairs of samples on average; 8 and more for one in a hundred."""
    files = sample_files()
    settings = Validation(
        sample_showers=0,
        false_alarms=0.1,
        bootstrap_replicas=2,
        noise_replicas=10,
        exchanges=20,
        energy_bins_gev=[(10, 100), (10, 55), (55, 100)],
        minimum_showers=5,
    )
    showers = read_showers([files.train, files.heldout], threshold_gev=1e-6)
    pool = summarise(showers, Geometry(), settings)
    alarms = 0
    for seed in range(30):
        rows = np.random.default_rng(seed).permutation(len(showers))
        one, two = (pool.rows(r) for r in (rows[:count], rows[count : count + other]))
        judgement = judge(one, two, Geometry(), settings)
        verdicts = (
            *judgement.verdicts,
            *judgement.feature_verdicts,
            *judgement.bin_verdicts,
        )
        assert (judgement.p <= 0.1) == any(verdict.faulty for verdict in verdicts)
        alarms += judgement.p <= 0.1
    assert alarms < 8
