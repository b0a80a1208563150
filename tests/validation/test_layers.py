"""Distributions layer by layer, against what can be reckoned by hand and against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import Geometry, Validation
from gan3d.data import Showers
from gan3d.validation import judge, observe
from gan3d.validation.distances import separation_power
from gan3d.validation.layers import (
    LAYER_QUANTITIES,
    from_metrics,
    layer_metrics,
    layer_separations,
)
from gan3d.validation.metrics import put_together

GRIDS = {
    "cartesian": Geometry(shape=(6, 4, 5), cell_size_mm=(2.0, 3.0, 4.0)),
    "cylinder": Geometry(coordinates="cylindrical", shape=(6, 4, 5), cell_size_mm=(None, 3.0, 4.0)),
}
SETTINGS = Validation(
    noise_replicas=10, exchanges=20, bootstrap_replicas=3, sample_showers=0, figures=False
)


def showers(geometry, count=60, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.gamma(0.4, 1e-3, (count, *geometry.shape)).astype(np.float32)
    return Showers(images, np.linspace(10.0, 100.0, count).astype(np.float32))


def observed(geometry, *arguments):
    return observe(showers(geometry, *arguments), geometry, SETTINGS)


@pytest.mark.parametrize("grid", GRIDS)
@given(seed=st.integers(0, 1000))
def test_barycentre_and_width_of_a_layer_are_those_of_its_cells(grid, seed):
    geometry = GRIDS[grid]
    given_showers = showers(geometry, 2, seed)
    given_showers.images_nxyz[1, :, :, 2] = 0.0
    seen = observe(given_showers, geometry, SETTINGS)
    first, second = (
        (np.arange(cells) + 0.5) * pitch
        for cells, pitch in zip(geometry.shape[:2], geometry.pitch[:2], strict=True)
    )
    if geometry.is_cylinder:  # the Challenge's eta and phi
        x = np.cos(first - np.pi)[:, None] * second
        y = np.sin(first - np.pi)[:, None] * second
    else:
        x, y = np.meshgrid(first - 6.0, second - 6.0, indexing="ij")
    energy = given_showers.images_nxyz[0, :, :, 2].astype(np.float64)
    for axis, place in enumerate((x, y)):
        mean = (energy * place).sum() / energy.sum()
        width = np.sqrt((energy * (place - mean) ** 2).sum() / energy.sum())
        assert seen.layer_barycentre_mm_naz[0, axis, 2] == pytest.approx(mean)
        assert seen.layer_width_mm_naz[0, axis, 2] == pytest.approx(width)
    assert np.isnan(seen.layer_barycentre_mm_naz[1, :, 2]).all()
    assert np.isnan(seen.layer_width_mm_naz[1, :, 2]).all()


def test_separations_are_those_of_histograms_of_each_layer():
    geometry = GRIDS["cartesian"]
    samples = [observed(geometry, count, seed) for seed, count in enumerate((200, 120))]
    together, weights = put_together(*samples)
    found = layer_separations(together, *weights)
    for name, quantity in LAYER_QUANTITIES.items():
        values = [quantity.values(sample) for sample in (together, *samples)]
        values = [np.log10(each) for each in values] if name == "energy" else values
        for layer in range(5):
            low, high = np.quantile(values[0][:, layer], [0.001, 0.999])
            edges = np.linspace(low, high, 120 // 20 + 1)
            edges = np.concatenate([[-np.inf], edges, [np.inf]])
            counts = [np.histogram(each[:, layer], edges)[0][None] for each in values[1:]]
            expected = separation_power(*(each.astype(float) for each in counts))
            assert found[name][0, layer] == pytest.approx(expected[0])
    means = layer_metrics(found)
    assert means["layers.hits.separation"][0] == pytest.approx(found["hits"][0].mean())


@given(seed=st.integers(0, 100), layer=st.integers(0, 4))
def test_layers_that_are_empty_in_one_sample_alone_are_disjoint(seed, layer):
    geometry = GRIDS["cylinder"]
    ours, theirs = (showers(geometry, 60, each) for each in (seed, seed + 1))
    ours.images_nxyz[..., layer] = 0.0
    samples = [observe(each, geometry, SETTINGS) for each in (ours, theirs)]
    found = layer_separations(*flat(put_together(*samples)))
    others = np.arange(5) != layer
    for each_rz in found.values():
        assert each_rz[0, layer] == pytest.approx(1.0)
        assert (each_rz[0, others] < 0.3).all()
    same = layer_separations(*flat(put_together(samples[0], samples[0])))
    assert all((each == 0.0).all() for each in same.values())


def flat(together_and_weights):
    together, (ours, theirs) = together_and_weights
    return together, ours, theirs


def test_a_layer_that_leans_to_one_side_is_seen_there_and_told_by_the_verdict():
    geometry = GRIDS["cylinder"]
    ours, theirs = (showers(geometry, 300, seed) for seed in (0, 1))
    below = observe(ours, geometry, SETTINGS).layer_barycentre_mm_naz[:, 1, 3] < 0.0
    layer = ours.images_nxyz[below, :, :, 3]
    ours.images_nxyz[below, :, :, 3] = np.roll(layer, 3, axis=1)  # by half a turn
    judgement = judge(ours, theirs, geometry, SETTINGS)
    of_layers = from_metrics(judgement.metrics)
    perfect = from_metrics(judgement.metrics, "noise.")
    off = of_layers["barycentre_y"] / perfect["barycentre_y"]
    assert off.argmax() == 3
    assert off[3] > 5.0
    assert judgement.metrics["layers.barycentre_y.separation"] == pytest.approx(
        of_layers["barycentre_y"].mean()
    )
    words = {verdict.name: verdict.word for verdict in judgement.verdicts}
    assert words["layers.barycentre_y.separation"] == "differs"
    for name in ("energy", "hits", "width_x", "width_y"):
        assert words[f"layers.{name}.separation"] in ("agrees", "unclear"), name
