"""The scale of cells that networks see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import CellScale, Data

SCALES = st.one_of(
    st.builds(CellScale, power=st.floats(0.3, 1.0)),
    st.builds(CellScale, log_gev=st.floats(1e-6, 1.0)),
)


@given(scale=SCALES, energies=st.lists(st.floats(1e-6, 1e3), min_size=1))
def test_there_and_back_and_zero_stays_zero(scale, energies):
    gev = np.array([0.0, *sorted(energies)], np.float32)
    seen = scale.seen(gev)
    assert seen[0] == 0.0
    assert (np.diff(seen) >= 0).all()
    np.testing.assert_allclose(scale.gev(seen), gev, rtol=2e-5, atol=1e-30)


def test_gev_stay_the_same_array():
    gev = np.ones(3, np.float32)
    assert CellScale().seen(gev) is gev
    assert CellScale().gev(gev) is gev


def test_the_logarithm_is_that_of_the_energy_over_its_unit():
    found = CellScale(log_gev=1e-4).seen(np.float32([1e-4, 1e-2]))
    np.testing.assert_allclose(found, np.log([2.0, 101.0]), rtol=1e-6)


def test_what_a_network_makes_stays_finite():
    assert np.isfinite(CellScale(log_gev=1.0).gev(np.float32([1e4]))).all()


def test_a_power_and_a_logarithm_exclude_each_other():
    with pytest.raises(ValueError, match="cell_log_gev: excludes cell_power"):
        Data(files=["a.h5"], cell_power=0.85, cell_log_gev=1e-4)
    assert Data(files=["a.h5"], cell_log_gev=1e-4).cell_scale == CellScale(log_gev=1e-4)
