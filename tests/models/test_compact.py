"""The compact GAN for any grid: labels in its statistics, inclined showers, what it refuses."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan3d.config import Geometry, Model
from gan3d.errors import ConfigError
from gan3d.models import get_architecture, told_labels
from gan3d.models.angle_layers import measure_angle
from gan3d.models.registry import Wanted
from gan3d.models.shower_conditions import (
    ShowerConditions,
    condition_terms,
    fit_slant,
    slant,
    upright,
)
from gan3d.models.shower_layers import (
    ConditionTerms,
    CorrelatedNoise,
    ExpectedCells,
    MovedLayers,
    ShowerSummaries,
    Slant,
)
from gan3d.models.shower_statistics import fit_shower_statistics
from gan3d.models.shower_statistics.shares import expected_cells
from gan3d.models.shower_statistics.variables import shower_development, shower_displacement

pytestmark = pytest.mark.tensorflow

THETA = {"name": "theta", "offset": np.pi / 2, "scale": np.pi / 6}
PARTICLE = {"name": "particle", "values": [11, 22, 111]}


def build(conditions, shape=(25, 25, 25), name="compact"):
    model = Model(architecture=name, conditions=conditions)
    architecture = get_architecture(name, Wanted(model, Geometry(shape=shape)))
    return (
        architecture,
        architecture.build_generator(model),
        architecture.build_discriminator(model),
    )


def test_angles_are_refused_where_an_axis_crosses_the_image_within_a_layer():
    model = Model(architecture="compact", conditions=["energy", THETA, "particle"])
    geometry = Geometry(shape=(51, 51, 25), cell_size_mm=(5.1, 5.1, 10.2))
    theta, particle = told_labels(get_architecture("compact", Wanted(model, geometry)), model)
    assert 1 / np.tan(theta.plane_rad) == pytest.approx(51 * 5.1 / 10.2)
    assert particle == model.labels[1]
    own = Model(conditions=["energy", {**THETA, "plane_rad": 0.5}])
    (theta,) = told_labels(get_architecture("compact", Wanted(own, geometry)), own)
    assert theta.plane_rad == 0.5
    (theta,) = told_labels(get_architecture("convolutional", Wanted(model, geometry)), own)
    assert theta == own.labels[0]


@pytest.fixture(scope="module")
def upright_showers(sample_showers):
    """Images (100, 25, 25, 25) in GeV and scaled energies (100, 1)."""
    ecal, target = sample_showers
    return ecal, (target[:, 1:2] / 100.0).astype(np.float32)


def generated(architecture, generator, energy_n1, *labels):
    """Images (N, x, y, layer) in GeV."""
    rng = np.random.default_rng(1)
    latent_nz = rng.normal(size=(len(energy_n1), architecture.latent_dim)).astype(np.float32)
    return generator.predict([latent_nz, energy_n1, *labels], batch_size=50, verbose=0)[..., 0]


def numbers_and_categories(count=50):
    rng = np.random.default_rng(0)
    theta_n, kind_n = rng.uniform(-1, 1, count), rng.integers(0, 3, count)
    return np.stack([theta_n, kind_n, rng.normal(5.0, 2.0, count)], axis=1)


def test_terms_of_conditions_in_both_implementations():
    labels_nc = numbers_and_categories()
    labels = Model(conditions=["energy", THETA, PARTICLE, {"name": "depth", "column": "z"}]).labels
    conditions = ShowerConditions.of(labels)
    assert (conditions.kinds, conditions.terms, conditions.extra) == ((0, 3, 0), 15, 4)
    energy_n1 = np.random.default_rng(1).uniform(0.1, 1.0, (50, 1))
    centre_m, width_m = conditions.measured(labels_nc)
    cosine_n = np.cos(np.pi / 2 + np.pi / 6 * labels_nc[:, 0])
    assert centre_m == pytest.approx([cosine_n.mean(), labels_nc[:, 2].mean()])
    numbers_nm = conditions.standardised(labels_nc, centre_m, width_m)
    assert numbers_nm.std(axis=0) == pytest.approx(1.0)
    terms_nt = condition_terms(energy_n1, numbers_nm, conditions.one_hot(labels_nc))
    log_n, u_n = np.log(energy_n1[:, 0]), numbers_nm[:, 1]
    assert terms_nt[:, 6:9] == pytest.approx(np.stack([u_n, u_n**2, u_n * log_n], axis=1))
    assert terms_nt[:, 13] == pytest.approx(np.where(labels_nc[:, 1] == 2, log_n, 0.0))

    layer = ConditionTerms(conditions.kinds, conditions.angle)
    layer.build([(None, 1), (None, 3)])
    layer.centre_m.assign(centre_m)
    layer.width_m.assign(width_m)
    made = layer([energy_n1.astype(np.float32), labels_nc.astype(np.float32)])
    assert keras.ops.convert_to_numpy(made) == pytest.approx(terms_nt, abs=1e-5)
    again = ConditionTerms.from_config(layer.get_config())
    assert again.conditions == conditions


@given(st.floats(-30, 30), st.floats(-2, 2), st.floats(-1.5, 1.5))
def test_the_slant_of_lines_is_found(a, b, c):
    """Showers of two cells a layer, their barycentres on lines of these coefficients."""
    rng = np.random.default_rng(0)
    theta_n, energy_n1 = rng.uniform(1.2, 1.9, 200), rng.uniform(0.1, 1.0, (200, 1))
    axis_nz = slant(energy_n1, theta_n, np.array([a, b, c]), 12)
    assert axis_nz[:, 7] == pytest.approx(
        (a + b * np.log(energy_n1[:, 0]) + 7 * c) / np.tan(theta_n)
    )
    images = np.zeros((200, 1, 101, 12), np.float32)
    rows, layers = np.indices(axis_nz.shape)
    low, share = np.floor(50 + axis_nz).astype(int), (50 + axis_nz) % 1.0
    images[rows, 0, low, layers] = 1.0 - share
    images[rows, 0, low + 1, layers] += share
    found = fit_slant(images, energy_n1, theta_n)
    assert slant(energy_n1, theta_n, found, 12) == pytest.approx(axis_nz, abs=1e-3)


def test_layers_are_moved_by_whole_cells_and_back():
    rng = np.random.default_rng(0)
    images = rng.random((7, 3, 9, 4)).astype(np.float32)
    whole_nz = rng.integers(-3, 4, (7, 4))
    down = upright(images, whole_nz)
    for n, z in ((0, 0), (3, 2)):
        k = whole_nz[n, z]
        kept = slice(max(0, -k), 9 - max(0, k))
        assert (down[n, :, kept, z] == np.roll(images[n, :, :, z], -k, axis=1)[:, kept]).all()
        assert down[n, :, :, z].sum() == pytest.approx(down[n, :, kept, z].sum())
    whole = whole_nz.astype(np.float32)
    made = keras.ops.convert_to_numpy(MovedLayers(-1)([images[..., None], whole]))
    assert (made[..., 0] == down).all()
    inner = np.zeros_like(images)
    inner[:, :, 3:6] = images[:, :, 3:6]
    there = MovedLayers(1)([inner[..., None], whole])
    back = keras.ops.convert_to_numpy(MovedLayers(-1)([there, whole]))
    assert (back[..., 0] == inner).all()


def test_generated_showers_follow_the_angle(upright_showers):
    images, energy_n1 = upright_showers
    theta_n = np.random.default_rng(0).uniform(1.3, 1.84, len(images))
    true = np.array([-8.0, 0.0, 1.0])
    shift_nz = slant(energy_n1, theta_n, true, 25)
    inclined = upright(images, -np.rint(shift_nz).astype(int))
    labels_nc = ((theta_n - np.pi / 2) / (np.pi / 6)).astype(np.float32)[:, None]
    architecture, generator, discriminator = build(["energy", THETA])
    architecture.adapt(generator, discriminator, inclined, energy_n1, labels_nc)
    found = generator.get_layer("slant").coefficients_s.numpy()
    assert found[2] == pytest.approx(1.0, abs=0.1)
    made = generated(architecture, generator, energy_n1, labels_nc)
    ours_n, theirs_n = (
        keras.ops.convert_to_numpy(measure_angle(each))[:, 0] for each in (made, inclined)
    )
    assert np.corrcoef(ours_n, theta_n)[0, 1] > 0.9
    assert (ours_n - theta_n).mean() == pytest.approx((theirs_n - theta_n).mean(), abs=0.02)
    assert made.sum() == pytest.approx(inclined.sum(), rel=0.03)
    # Both networks have the same axis.
    of_energy = energy_n1, labels_nc
    whole = [network.get_layer("slant")(of_energy)[0] for network in (generator, discriminator)]
    assert (keras.ops.convert_to_numpy(whole[0]) == keras.ops.convert_to_numpy(whole[1])).all()
    said = discriminator([made[:8, ..., None], energy_n1[:8], labels_nc[:8]])
    assert np.isfinite(keras.ops.convert_to_numpy(said["generation"])).all()


def test_expected_cells_in_both_implementations(upright_showers):
    """With labels, and layers that are displaced each by a part of a cell of its own."""
    images, energy_n1 = upright_showers
    rng = np.random.default_rng(0)
    conditions = ShowerConditions((0, 2))
    labels_nc = np.stack([rng.normal(size=100), np.arange(100) % 2], axis=1)
    rest_nz = rng.uniform(-0.5, 0.5, (100, 25))
    found = fit_shower_statistics(images, energy_n1, conditions, labels_nc, rest_nz)
    assert np.abs(found.share_slope_zks[..., 2:]).max() > 0.01

    layers_nz = images.sum(axis=(1, 2), dtype=np.float64)
    displacement_n2 = rng.normal(0.0, 0.3, (100, 2))
    numbers_nm = conditions.standardised(labels_nc, found.number_centre_m, found.number_width_m)
    one_hot_nc = conditions.one_hot(labels_nc)
    terms_nt = condition_terms(energy_n1, numbers_nm, one_hot_nc)
    development_nz = shower_development(layers_nz)
    of_shower = np.concatenate([np.log(energy_n1), numbers_nm, one_hot_nc[:, 1:]], axis=1)
    in_layers = np.repeat(of_shower[:, None], 25, axis=1)
    terms_nzs = np.concatenate([development_nz[..., None], in_layers], axis=2) - found.share_mean_zs
    displaced = displacement_n2[:, None] + np.stack([0.0 * rest_nz, rest_nz], axis=2)
    expected_nxyz = expected_cells(found, layers_nz, terms_nzs, displaced)

    layer = ExpectedCells((25, 25, 25), numbers=1, categories=2)
    layer.build(None)
    layer.adapt(found)
    given_to_it = (
        layers_nz,
        displacement_n2,
        energy_n1,
        terms_nzs[..., 0],
        terms_nt,
        rest_nz,
    )
    made = keras.ops.convert_to_numpy(layer([np.float32(each) for each in given_to_it]))[..., 0]
    lit = expected_nxyz > 1e-9
    assert made[lit] == pytest.approx(np.log(expected_nxyz[lit]), abs=2e-3)
    without = layer([np.float32(each) for each in (*given_to_it[:-1], 0.0 * rest_nz)])
    assert np.abs(keras.ops.convert_to_numpy(without)[..., 0][lit] - made[lit]).max() > 0.1


def test_each_category_has_its_own_showers(upright_showers):
    """Of two kinds the second has half as much again, and all of it one layer deeper."""
    images, energy_n1 = upright_showers
    kind_n = np.arange(len(images)) % 2
    both = np.where(kind_n[:, None, None, None] == 1, 1.5 * np.roll(images, 3, axis=3), images)
    both[kind_n == 1, :, :, :3] = 0.0
    labels_nc = kind_n.astype(np.float32)[:, None]
    architecture, generator, discriminator = build(["energy", {**PARTICLE, "values": [11, 22]}])
    architecture.adapt(generator, discriminator, both.astype(np.float32), energy_n1, labels_nc)
    made = generated(architecture, generator, energy_n1, labels_nc)
    for kind in (0, 1):
        ours, theirs = made[kind_n == kind], both[kind_n == kind]
        assert ours.sum() == pytest.approx(theirs.sum(), rel=0.03)
        depths = [(x.sum(axis=(0, 1, 2)) * np.arange(25)).sum() / x.sum() for x in (ours, theirs)]
        assert depths[0] == pytest.approx(depths[1], abs=0.3)
    assert made[kind_n == 1][..., :2].sum() < 1e-3 * made[kind_n == 1].sum()


@pytest.mark.parametrize("shape", [(4, 7, 5), (9, 16, 45)])
def test_any_regular_grid(shape):
    architecture, generator, discriminator = build(["energy"], shape)
    rng = np.random.default_rng(0)
    images = (rng.random((40, *shape)) * (rng.random((40, *shape)) < 0.3)).astype(np.float32)
    energy_n1 = rng.uniform(0.1, 1.0, (40, 1)).astype(np.float32)
    architecture.adapt(generator, discriminator, images, energy_n1)
    made = generated(architecture, generator, energy_n1)
    assert made.shape == images.shape
    assert np.isfinite(made).all()
    assert made.sum() > 0.0


def test_what_it_does_not_take():
    with pytest.raises(ConfigError, match=r"needs at least 4 x 4 cells and 5 layers.*3 x 9 cells"):
        build(["energy"], (3, 9, 9))
    kinds = [PARTICLE, {**PARTICLE, "name": "other", "column": "z", "kind": "categories"}]
    with pytest.raises(ConfigError, match="particle and other are categories both"):
        build(["energy", *kinds])
    with pytest.raises(ConfigError, match="theta and mtheta"):
        build(["energy", THETA, {"name": "mtheta", "column": "mtheta"}])


def test_the_preset_is_the_same_for_its_grid():
    preset, general = (build(["energy"], name=name)[1:] for name in ("ecal25-compact", "compact"))
    for one, other in zip(preset, general, strict=True):
        assert [(w.path, w.shape) for w in one.weights] == [
            (w.path, w.shape) for w in other.weights
        ]


def test_no_angle_no_slant():
    layer = Slant(5, (0, 0.0, 1.0))
    whole, rest = layer([np.ones((3, 1), np.float32), np.full((3, 1), 1.2, np.float32)])
    assert not keras.ops.convert_to_numpy(whole).any()
    assert not keras.ops.convert_to_numpy(rest).any()


# ------------------------------------------------------------------------------------- cylinders


CYLINDER = Geometry(coordinates="cylindrical", shape=(16, 9, 12), cell_size_mm=(None, 4.65, 10.0))


@pytest.fixture(scope="module")
def cylinder_showers():
    """Images (100, 16, 9, 12) of parametric showers in GeV and scaled energies (100, 1)."""
    from gan3d.config import load_simulation
    from gan3d.simulation import ShowerSimulator

    simulation = load_simulation(
        overrides=[
            "calorimeter.coordinates=cylindrical",
            "calorimeter.shape=[16, 9, 12]",
            "calorimeter.cell_size_mm=[null, 4.65, 10]",
        ]
    )
    showers = ShowerSimulator(simulation, 0).simulate(0, 100).dense()
    return showers.images_nxyz, (showers.energy_n[:, None] / 100.0).astype(np.float32)


def test_a_cylinder_has_its_showers(cylinder_showers):
    images, energy_n1 = cylinder_showers
    model = Model(architecture="compact")
    architecture = get_architecture("compact", Wanted(model, CYLINDER))
    generator, discriminator = (
        build(model) for build in (architecture.build_generator, architecture.build_discriminator)
    )
    architecture.adapt(generator, discriminator, images, energy_n1)
    made = generated(architecture, generator, energy_n1)
    assert made.sum() == pytest.approx(images.sum(), rel=0.03)
    of_radius = images.sum(axis=(0, 1, 3))
    assert made.sum(axis=(0, 1, 3)) == pytest.approx(of_radius, rel=0.15, abs=0.01 * images.sum())
    said = discriminator.predict_on_batch([made[:8, ..., None], energy_n1[:8]])
    assert np.isfinite(said["generation"]).all()


def test_displacements_on_a_cylinder_turn_with_the_shower(cylinder_showers):
    images, _ = cylinder_showers
    before, after = (
        shower_displacement(each, cylinder=True) for each in (images, np.roll(images, 4, axis=1))
    )
    # By a quarter of a turn: (x, y) becomes (-y, x).
    assert after == pytest.approx(np.stack([-before[:, 1], before[:, 0]], axis=1))
    assert before.std(axis=0).min() > 0.01


def test_the_noise_of_neighbours_goes_round():
    layer = CorrelatedNoise(periodic=CYLINDER.periodic)
    rng = np.random.default_rng(0)
    noise, log_expected = rng.normal(size=(2, 2, *CYLINDER.shape, 1)).astype(np.float32)
    layer([noise, log_expected])
    layer.kernel.assign(rng.normal(0.0, 0.3, layer.kernel.shape))
    before = layer([noise, log_expected])
    after = layer([np.roll(each, 3, axis=1) for each in (noise, log_expected)])
    turned = np.roll(keras.ops.convert_to_numpy(before), 3, axis=1)
    assert keras.ops.convert_to_numpy(after) == pytest.approx(turned, abs=1e-5)
    assert CorrelatedNoise.from_config(layer.get_config()).periodic == CYLINDER.periodic


def test_summaries_of_a_turned_shower_are_those_of_the_shower(cylinder_showers):
    """But for the profile of the angle, which turns, and its cosine and sine."""
    images = keras.ops.convert_to_tensor(cylinder_showers[0][:20, ..., None])
    layer = ShowerSummaries(CYLINDER.shape, CYLINDER.periodic)
    before, after = (
        keras.ops.convert_to_numpy(layer.summarise(each))
        for each in (images, keras.ops.roll(images, 5, axis=1))
    )
    assert before.shape[1] == layer.count
    same = np.isclose(before, after, rtol=1e-3, atol=1e-4).all(axis=0)
    profile, first = 16, 16 + 9 + 12 + 4 * 13
    others = np.r_[profile:first, first + 2 : layer.count]
    assert same[others].all()
    assert after[:, :profile] == pytest.approx(np.roll(before[:, :profile], 5, axis=1), abs=1e-4)
    turn = 2 * np.pi * 5 / 16
    matrix = [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    wave = slice(first, first + 2)
    assert after[:, wave] == pytest.approx(before[:, wave] @ np.array(matrix), abs=1e-3)


def test_inclined_showers_are_not_for_a_cylinder():
    model = Model(architecture="compact", conditions=["energy", "theta"])
    with pytest.raises(ConfigError, match=r"^model\.conditions: .* cylinder"):
        get_architecture("compact", Wanted(model, CYLINDER))
