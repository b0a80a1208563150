import numpy as np
import pytest

from gan3d.validation import multivariate as m


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_the_frechet_distance_of_shifted_samples_is_the_shift_squared(rng):
    sample = rng.normal(size=(200, 4))
    shift = np.array([1.0, -2.0, 0.0, 0.5])
    assert m.frechet_distance(sample + shift, sample) == pytest.approx(shift @ shift)


def test_the_frechet_distance_of_scaled_samples(rng):
    """tr C (s - 1)^2 for a factor s about the mean."""
    sample = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3))
    sample -= sample.mean(axis=0)
    expected = np.trace(np.cov(sample, rowvar=False)) * 0.5**2
    assert m.frechet_distance(1.5 * sample, sample) == pytest.approx(expected)


def test_the_frechet_distance_sees_a_reversed_correlation(rng):
    sample = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 4000)
    flipped = sample * [1, -1]
    # Eigenvalues 1.8 and 0.2 change places: 2 (sqrt 1.8 - sqrt 0.2)^2.
    expected = 2 * (np.sqrt(1.8) - np.sqrt(0.2)) ** 2
    assert m.frechet_distance(flipped, sample) == pytest.approx(expected, rel=0.1)


def test_features_that_depend_on_each_other_do_no_harm(rng):
    sample = rng.normal(size=(100, 2))
    sample = np.column_stack([sample, sample.sum(axis=1)])
    assert m.frechet_distance(sample, sample) == pytest.approx(0, abs=1e-6)


def test_the_extrapolated_distance_has_no_bias_from_the_sample_size(rng):
    """Where the plain one is far from 0 for equal distributions, and right for a known shift."""
    pairs = [(rng.normal(size=(400, 10)), rng.normal(size=(400, 10))) for _ in range(12)]
    plain = np.mean([m.frechet_distance(*pair) for pair in pairs])
    found = [m.frechet_physics_distance(*pair, rng)[0] for pair in pairs]
    assert plain > 0.05
    assert abs(np.mean(found)) < 0.02
    shifted = [m.frechet_physics_distance(one + 0.3, other, rng)[0] for one, other in pairs]
    assert np.mean(shifted) == pytest.approx(10 * 0.09, rel=0.1)


def test_the_error_of_the_extrapolated_distance_is_its_scatter_over_samples():
    values, errors = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        ours, theirs = rng.normal(size=(300, 6)) + 0.3, rng.normal(size=(300, 6))
        value, error = m.frechet_physics_distance(ours, theirs, rng)
        values.append(value)
        errors.append(error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)


def test_the_kernel_distance_is_that_of_the_kernel(rng):
    """Against the expectation of (x y / D + 1)^4 for D = 1, from the moments of the samples."""
    ours, theirs = rng.normal(size=(2000, 1)) + 0.5, rng.normal(size=(2000, 1))
    value, error = m.kernel_physics_distance(ours, theirs, rng)
    # Normal moments: the kernel is a sum of C(4, k) x^k y^k, so the distance one of squared
    # differences of moments: shift s gives s, s^2, s^3 + 3 s, s^4 + 6 s^2.
    s = 0.5
    differences = [s, s**2, s**3 + 3 * s, s**4 + 6 * s**2]
    expected = sum(c * d**2 for c, d in zip([4, 6, 4, 1], differences, strict=True))
    assert value == pytest.approx(expected, abs=4 * error)
    assert error < 0.25 * expected


def test_the_kernel_distance_of_equal_distributions_is_0_within_its_error(rng):
    pulls = []
    for _ in range(20):
        value, error = m.kernel_physics_distance(
            rng.normal(size=(300, 5)), rng.normal(size=(300, 5)), rng
        )
        pulls.append(value / error)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(20) * 1.3
    assert max(np.abs(pulls)) < 6


def test_far_apart_nothing_is_precise_and_nothing_covered(rng):
    found = m.neighbourhoods(rng.normal(size=(100, 3)) + 100, rng.normal(size=(100, 3)), 5, rng)
    assert {name: value for name, (value, _) in found.items()} == dict.fromkeys(
        m.NEIGHBOURHOODS, 0.0
    )


def test_equal_distributions_have_the_coverage_of_the_paper(rng):
    """Naeem et al., equation 11: 1 - (M-1)...(M-k) / ((N+M-1)...(N+M-k)), about 1 - 1/2^k; the
    expected density is 1."""
    found = m.neighbourhoods(rng.normal(size=(1500, 4)), rng.normal(size=(1500, 4)), 5, rng)
    assert found["coverage"][0] == pytest.approx(1 - 0.5**5, abs=4 * found["coverage"][1])
    assert found["density"][0] == pytest.approx(1.0, abs=4 * found["density"][1])


def test_errors_of_neighbourhoods_are_the_spread_over_samples(rng):
    values, errors = [], []
    for _ in range(60):
        ours, theirs = rng.normal(size=(2, 250, 5))
        near = m.Neighbours.of(np.concatenate([ours, theirs]))
        found = m.neighbourhoods(ours, theirs, 5, rng)
        found |= near.from_other_with_errors(np.arange(500) < 250, rng)
        values.append([value for value, _ in found.values()])
        errors.append([error for _, error in found.values()])
    for name, spread, error in zip(
        found, np.std(values, axis=0, ddof=1), np.mean(errors, axis=0), strict=True
    ):
        assert 0.7 < error / spread < 1.7, name


def test_the_nearest_by_hand():
    values = np.array([[3.0, 4.0], [3.0, 4.5], [0.0, 10.0], [0.0, 0.0]])
    found = m.nearest_distances(values)
    assert found[:3] == pytest.approx([0.1, 0.5 / np.hypot(3, 4.5), np.hypot(3, 5.5) / 10])
    assert found[3] == np.inf
    assert m.nearest_distances(values[:1], values[1:]) == pytest.approx([0.1])


def test_a_lost_mode_costs_recall_and_coverage_and_not_precision(rng):
    theirs = rng.normal(size=(400, 3)) + np.repeat([[0.0], [50.0]], 200, axis=0)
    found = m.neighbourhoods(rng.normal(size=(400, 3)), theirs, 5, rng)
    assert found["precision"][0] > 0.9
    assert found["recall"][0] < 0.55
    assert found["coverage"][0] < 0.55


def test_an_invented_mode_costs_precision_and_not_recall(rng):
    ours = rng.normal(size=(400, 3)) + np.repeat([[0.0], [50.0]], 200, axis=0)
    found = m.neighbourhoods(ours, rng.normal(size=(400, 3)), 5, rng)
    assert found["precision"][0] < 0.55
    assert found["recall"][0] > 0.85


def test_neighbours_by_hand(rng):
    """On a line, k = 1. Balls of theirs: 0 and 1 reach to 1, 5 reaches to 4."""
    theirs, ours = np.array([[0.0], [1.0], [5.0]]), np.array([[0.5], [8.0], [30.0]])
    found = m.neighbourhoods(ours, theirs, 1, rng)
    # 0.5 lies in the balls of 0, 1 and not in that of 5 (4.5 away, reach 4); 8 in that of 5.
    assert found["precision"][0] == pytest.approx(2 / 3)
    assert found["density"][0] == pytest.approx(3 / 3)
    assert found["coverage"][0] == pytest.approx(1)
    # Balls of ours: 0.5 reaches 7.5, 8 reaches 7.5 (and so to 1 and 5), 30 reaches 22.
    assert found["recall"][0] == pytest.approx(1)


def test_shuffled_neighbourhoods_are_those_of_all_distances(rng):
    """The lists of nearest showers suffice where labels are at random."""
    values = rng.normal(size=(240, 5))
    near = m.Neighbours.of(values)
    for _ in range(3):
        ours_p = rng.permutation(np.repeat([True, False], 120))
        listed = near.neighbourhoods(ours_p, 5)
        for name, (value, _) in m.neighbourhoods(values[ours_p], values[~ours_p], 5, rng).items():
            assert listed[name] == pytest.approx(value), name


def test_nearest_neighbours_of_equal_samples_are_of_either(rng):
    near = m.Neighbours.of(rng.normal(size=(600, 3)))
    shares = [near.from_other(rng.permutation(np.arange(600) < 300)) for _ in range(50)]
    for name, width in (("nearest.other", 0.02), ("closest.other", 0.08)):
        assert np.mean([share[name] for share in shares]) == pytest.approx(0.5, abs=width)


def test_a_few_near_copies_are_the_closest_of_all(rng):
    theirs = rng.normal(size=(400, 20))
    ours = np.concatenate([rng.normal(size=(350, 20)), theirs[:50] + 0.01])
    near = m.Neighbours.of(np.concatenate([ours, theirs]))
    found = near.from_other(np.arange(800) < 400)
    assert found["closest.other"] == 1.0
    assert found["nearest.other"] < 0.65


def test_what_is_apart_has_no_neighbours_in_the_other(rng):
    near = m.Neighbours.of(np.concatenate([rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) + 9]))
    assert near.from_other(np.arange(100) < 50) == {"nearest.other": 0.0, "closest.other": 0.0}
