import numpy as np
import pytest
from scipy import sparse

from gan3d.validation.correlations import (
    brightest_cells,
    correlation_difference,
    correlation_matrices,
)


def test_the_matrices_are_those_of_numpy():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 4)) + 1000.0
    times = rng.integers(0, 3, (2, 60))
    found = correlation_matrices(values, np.concatenate([np.ones((1, 60)), times]))
    assert found[0] == pytest.approx(np.corrcoef(values, rowvar=False), abs=1e-9)
    for row, count in enumerate(times, start=1):
        repeated = np.repeat(values, count, axis=0)
        assert found[row] == pytest.approx(np.corrcoef(repeated, rowvar=False), abs=1e-9)


def test_what_never_varies_has_no_correlation():
    values = np.random.default_rng(0).normal(size=(30, 3))
    values[:, 1] = 0.1
    found = correlation_matrices(values, np.ones((1, 30)))[0]
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[0, 2])


def test_the_difference_by_hand():
    ours = np.array([[[1, 0.5, 0.0], [0.5, 1, -0.2], [0.0, -0.2, 1]]])
    theirs = np.array([[[1, 0.1, 0.0], [0.1, 1, 0.1], [0.0, 0.1, 1]]])
    expected = np.sqrt((0.4**2 + 0.0 + 0.3**2) / 3)
    assert correlation_difference(ours, theirs) == pytest.approx([expected])


def test_a_pair_that_the_reference_lacks_does_not_count_and_one_that_we_lack_does():
    theirs = np.array([[[1, np.nan, 0.6], [np.nan, 1, np.nan], [0.6, np.nan, 1]]])
    ours = np.full((1, 3, 3), np.nan)
    assert correlation_difference(ours, theirs) == pytest.approx([0.6])


def test_the_brightest_cells_come_first():
    cells = sparse.csr_array(np.array([[0, 3, 1, 0.0], [0, 1, 2, 7.0]]))
    assert brightest_cells(cells, 3).tolist() == [3, 1, 2]
