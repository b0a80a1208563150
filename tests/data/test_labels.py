"""Labels: what networks see of them, what is refused, and that they go with their showers."""

import re

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from labelled import SHAPE, pdg_of, theta_of, write_labelled

from gan3d.config import Condition, Data, Geometry, Model
from gan3d.data import (
    ShowerLoader,
    Showers,
    Survey,
    check_unchanged,
    find_fault,
    network_labels,
    read_part,
    read_showers,
    survey_files,
    whole,
    write_showers,
)
from gan3d.errors import DataError

THETA, PARTICLE = Model(
    conditions=["energy", "theta", {"name": "particle", "values": [22, 11]}]
).labels


def section(tmp_path, names=("*.h5",), **changes):
    files = [str(tmp_path / name) for name in names]
    return Data(files=files, geometry=Geometry(shape=SHAPE), threshold_gev=0.0, **changes)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20),
    st.floats(-100, 100),
    st.floats(1e-2, 1e2),
)
def test_networks_see_numbers_without_offset_and_scale(values, offset, scale):
    label = Condition(name="a", column="b", offset=offset, scale=scale)
    (seen,) = network_labels({"b": np.array(values)}, [label]).T
    assert seen.dtype == np.float32
    np.testing.assert_allclose(
        seen * scale + offset, values, rtol=1e-5, atol=1e-5 * (abs(offset) + 1)
    )


@given(st.lists(st.sampled_from([211, -211, 11, 2**31 - 1]), min_size=1), st.permutations(range(4)))
def test_networks_see_the_place_of_a_category(codes, order):
    values = [[211, -211, 11, 2**31 - 1][place] for place in order]
    label = Condition(name="a", column="b", kind="categories", values=values)
    (seen,) = network_labels({"b": np.array(codes)}, [label]).T
    assert [values[int(place)] for place in seen] == codes


def test_labels_stand_in_the_order_of_the_list():
    columns = {"pdg": np.array([11, 22]), "theta": np.array([1.0, 2.0])}
    np.testing.assert_array_equal(network_labels(columns, [THETA, PARTICLE]), [[1, 1], [2, 0]])
    np.testing.assert_array_equal(network_labels(columns, [PARTICLE, THETA]), [[1, 1], [0, 2]])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"theta": None, "mtheta": np.full((6, 1), 1.5, "f4")},
            r"has no column 'theta', which model.conditions names \(theta\); .*: mtheta, pdg$",
        ),
        ({"pdg": None}, r"has no column 'pdg', which model.conditions names \(particle\); its col"),
        ({"theta": np.full((6, 1), 75.2, "f4")}, "'theta' is 75.2, expected rad, .* in degrees"),
        ({"theta": np.full((6, 1), np.nan, "f4")}, r"shower 0: 'theta' is nan, .* finite .*rad\)$"),
        ({"pdg": np.full((6, 1), 2212)}, r"shower 0: 'pdg' is 2212, expected one of 22, 11 \(mod"),
    ],
)
def test_a_file_whose_labels_are_not_as_declared_is_named(tmp_path, changes, expected):
    write_labelled(tmp_path / "good.h5", 6, 0)
    write_labelled(tmp_path / "wrong.h5", 6, 0, **changes)
    with pytest.raises(DataError, match=rf"wrong\.h5: .*{expected}") as found:
        survey_files(section(tmp_path), [THETA, PARTICLE])
    assert "\n" not in str(found.value)
    # What is skipped is said.
    kept = survey_files(section(tmp_path, on_bad_file="skip"), [THETA, PARTICLE])
    assert [each.path.name for each in kept.skipped] == ["wrong.h5"]


def test_a_mixture_that_nobody_declared_is_refused(tmp_path):
    write_labelled(tmp_path / "a.h5", 6, 0, pdg=np.full((6, 1), 11))
    write_labelled(tmp_path / "b.h5", 6, 0, pdg=np.full((6, 1), 22))
    for how in ("error", "skip"):
        with pytest.raises(DataError, match=r"b\.h5: holds .* 22 beside 11 in .*a\.h5, expected"):
            survey_files(section(tmp_path, on_bad_file=how), [])
    with pytest.raises(DataError, match=r"b\.h5: .* code 22, expected 11 \(data\.particles\)"):
        survey_files(section(tmp_path, particles=[11]), [THETA])
    assert len(survey_files(section(tmp_path, particles=[11, 22]), []).files) == 2
    assert len(survey_files(section(tmp_path), [PARTICLE]).files) == 2
    # Files that are not for networks are whatever they are.
    assert len(survey_files(section(tmp_path)).files) == 2


def test_a_name_of_published_files_says_the_particle_where_the_file_does_not(tmp_path):
    names = ["EleMeasured3ThetaEscan_1.h5", "GammaMeasured3ThetaEscan_1.h5"]
    for name in names:
        write_labelled(tmp_path / name, 6, 0, pdg=None)
    with pytest.raises(DataError, match=r"GammaM\w+_1\.h5: .* 22 beside 11 in .*EleM\w+_1\.h5, "):
        survey_files(section(tmp_path, names), [THETA])
    with pytest.raises(DataError, match=r"GammaM\w+_1\.h5: .* 22, expected 11 \(data\.particles\)"):
        survey_files(section(tmp_path, names, particles=[11]), [THETA])
    told = survey_files(section(tmp_path, names), [THETA, PARTICLE])
    assert told.categories == {"pdg": (11, 22)}
    assert survey_files(section(tmp_path, names[1:]), []).pdg_id == 22


def test_held_out_showers_are_of_the_same_particle(tmp_path):
    write_labelled(tmp_path / "a.h5", 6, 0, pdg=np.full((6, 1), 11))
    write_labelled(tmp_path / "b.h5", 6, 0, pdg=np.full((6, 1), 22))
    data = section(tmp_path, ["a.h5"], validation_files=[str(tmp_path / "b.h5")])
    with pytest.raises(DataError, match=r"b\.h5: holds particles with PDG code 22 beside 11"):
        survey_files(data, [])


def test_a_mixture_in_one_file_is_refused(tmp_path):
    write_labelled(tmp_path / "a.h5", 20, 0)
    with pytest.raises(DataError, match=r"a\.h5: holds .* code 22 beside 11, expected one kind"):
        survey_files(section(tmp_path), [THETA])


@pytest.mark.parametrize("codes", [(11, 22), (211, -211), (11, -11)])
def test_the_conditions_that_a_mixture_is_told_to_have_take_it(tmp_path, codes):
    write_labelled(tmp_path / "a.h5", 6, 0, pdg=np.repeat(codes, 3)[:, None])
    with pytest.raises(DataError) as found:
        survey_files(section(tmp_path), [])
    advice = re.search(r"\(model\.conditions: (.*)\), or", str(found.value))
    assert ("values" in advice[1]) == (-codes[0] == codes[1])
    told = Model(conditions=yaml.safe_load(advice[1]))
    assert survey_files(section(tmp_path), told.labels).categories == {"pdg": tuple(sorted(codes))}


def test_a_mixture_is_told_with_the_particles_of_all_files(tmp_path):
    for name, code in (("a", 11), ("b", 22), ("c", 211)):
        write_labelled(tmp_path / f"{name}.h5", 6, 0, pdg=np.full((6, 1), code))
    expected = r"b\.h5: .* 22 beside 11 in .*a\.h5, .* values: \[11, 22, 211\]"
    with pytest.raises(DataError, match=expected):
        survey_files(section(tmp_path), [])


def test_the_survey_knows_the_ranges_of_labels(tmp_path):
    path = write_labelled(tmp_path / "a.h5", 20, 0)
    found = survey_files(section(tmp_path), [THETA, PARTICLE])
    theta_n = theta_of(read_showers([path]).energy_n)
    assert found.files[0].labels == (
        ("theta", float(theta_n.min()), float(theta_n.max())),
        ("pdg", 11.0, 22.0),
    )
    assert Survey.from_dict(found.as_dict()) == found
    check_unchanged(found, section(tmp_path), [THETA, PARTICLE])
    # A run of before there were labels, or particles.
    before = survey_files(section(tmp_path))
    fields = before.as_dict()
    for entry in fields["files"]:
        del entry["labels"], entry["particles"], entry["categories"]
    assert Survey.from_dict(fields) == before
    check_unchanged(before, section(tmp_path, particles=[11, 22]), [])


def test_the_survey_knows_the_categories_of_all_training_files(tmp_path):
    for name, code in zip("abc", (22, 11, 111), strict=True):
        write_labelled(tmp_path / f"{name}.h5", 6, 0, pdg=np.full((6, 1), code))
    particle = PARTICLE.model_copy(update={"values": [22, 11, 111, 211]})
    held_out = [str(tmp_path / "c.h5")]
    data = section(tmp_path, ["[ab].h5"], validation_files=held_out)
    found = survey_files(data, [THETA, particle])
    assert found.categories == {"pdg": (11, 22)}
    assert Survey.from_dict(found.as_dict()) == found
    # A run of before that goes on, and one of whose files one does not say them.
    fields = found.as_dict()
    del fields["files"][1]["categories"]
    before = Survey.from_dict(fields)
    assert before.categories == {}
    check_unchanged(before, data, [THETA, particle])


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((11, 11), 11), ((11, 22), 0), ((11, None), 0), ((None, None), 0), ((0, 0), 0)],
)
def test_the_survey_knows_the_particle_where_all_files_say_the_same(tmp_path, codes, expected):
    for name, code in zip("ab", codes, strict=True):
        pdg = None if code is None else np.full((6, 1), code)
        write_labelled(tmp_path / f"{name}.h5", 6, 0, pdg=pdg)
    assert survey_files(section(tmp_path, particles=[11, 22]), []).pdg_id == expected


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "mtheta"},
        {"name": "theta", "unit": "deg"},
        {"name": "tilt", "column": "theta"},
        {"name": "tilt", "column": "phi", "unit": "rad"},
    ],
)
def test_angles_are_known_by_their_columns_or_their_unit(tmp_path, entry):
    (label,) = Model(conditions=["energy", entry]).labels
    angle = np.linspace(1.0, 3.0, 6, dtype="f4")[:, None]
    write_labelled(tmp_path / "good.h5", 6, 0, pdg=None, **{label.column: angle})
    assert len(survey_files(section(tmp_path), [label]).files) == 1
    angle[4:] = 75.0
    write_labelled(tmp_path / "wrong.h5", 6, 0, pdg=None, **{label.column: angle})
    expected = rf"wrong\.h5: shower 4: '{label.column}' is 75, expected rad, .* in degrees\?"
    with pytest.raises(DataError, match=expected):
        survey_files(section(tmp_path), [label])


@given(st.floats(0.0, np.pi), st.floats(1e-3, 1.5))
def test_angles_near_the_layers_plane_are_refused_where_they_mean_nothing(theta, least):
    label = THETA.model_copy(update={"plane_rad": least})
    near = min(abs(theta), np.pi - abs(theta))
    fault = find_fault(np.array([np.pi / 2, theta]), label)
    assume(abs(near - least) > 1e-9)
    assert (fault is not None) == (near < least)
    if fault is not None:
        assert fault.startswith("shower 1: 'theta' is ")
        assert "layers' plane" in fault
    assert find_fault(np.array([theta]), THETA) is None


@pytest.mark.parametrize("layout", ["lcd", "parquet", "challenge"])
def test_all_layouts_bring_labels(tmp_path, layout):
    source = read_showers([write_labelled(tmp_path / "lcd.h5", 20, 0)])
    path = tmp_path / f"other.{'parquet' if layout == 'parquet' else 'hdf5'}"
    write_showers(path, [source], layout=layout, attributes={})
    data = Data(files=[str(path)], geometry=Geometry(shape=SHAPE), threshold_gev=0.0)
    part = whole(survey_files(data, [THETA, PARTICLE]).files)
    loader = ShowerLoader(part, data, batch_size=4, labels=[THETA, PARTICLE])
    seen = list(loader.epoch(0))
    loader.close()
    assert len(seen) == 5
    for showers in seen:
        np.testing.assert_allclose(showers.columns["theta"], theta_of(showers.energy_n), rtol=1e-6)
        np.testing.assert_array_equal(showers.columns["pdg"], pdg_of(showers.energy_n))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    batch=st.integers(1, 3),
    ranks=st.integers(1, 3),
    epoch=st.integers(0, 2),
    window=st.sampled_from([2, 7, 2048]),
    shuffle=st.booleans(),
)
def test_labels_go_with_their_showers_whatever_the_order(
    tmp_path, sizes, batch, ranks, epoch, window, shuffle
):
    if sum(sizes) < batch * ranks:
        return
    for path in tmp_path.glob("*.h5"):
        path.unlink()
    for number, count in enumerate(sizes):
        write_labelled(tmp_path / f"{number}.h5", count, number)
    data = section(tmp_path, shuffle_window=window, shuffle=shuffle)
    part = whole(survey_files(data, [THETA, PARTICLE]).files)
    seen = []
    for rank in range(ranks):
        loader = ShowerLoader(
            part, data, batch_size=batch, rank=rank, size=ranks, labels=[PARTICLE, THETA]
        )
        for showers in loader.epoch(epoch):
            np.testing.assert_array_equal(showers.columns["theta"], theta_of(showers.energy_n))
            np.testing.assert_array_equal(showers.columns["pdg"], pdg_of(showers.energy_n))
            ecal_n = showers.images_nxyz.sum(axis=(1, 2, 3))
            np.testing.assert_allclose(ecal_n, 0.02 * showers.energy_n, rtol=1e-5)
            seen += showers.energy_n.tolist()
        loader.close()
    assert len(seen) == len(set(seen)) == sum(sizes) // (batch * ranks) * batch * ranks


def test_held_out_showers_and_samples_have_their_labels(tmp_path):
    write_labelled(tmp_path / "a.h5", 20, 0)
    data = section(tmp_path)
    part = whole(survey_files(data, [THETA, PARTICLE]).files)
    loader = ShowerLoader(part, data, batch_size=2, labels=[THETA, PARTICLE])
    for showers in (read_part(part, data, limit=7), loader.sample(5)):
        np.testing.assert_array_equal(showers.columns["theta"], theta_of(showers.energy_n))
    loader.close()


def test_charged_pions_are_read_and_written_as_other_particles(tmp_path):
    """Files `ChPiEscan_*.h5` have the schema of the others."""
    rng = np.random.default_rng(0)
    images = rng.exponential(0.01, (12, *SHAPE)).astype(np.float32)
    energy_n = rng.uniform(10, 100, 12).astype(np.float32)
    codes = rng.choice([211, -211], 12)
    path = tmp_path / "ChPiEscan_1_1.h5"
    write_showers(path, [Showers(images, energy_n, {"pdg": codes})], attributes={})
    pions = Condition(name="particle", column="pdg", kind="categories", values=[211, -211])
    data = section(tmp_path)
    with pytest.raises(DataError, match=r"ChPiEscan_1_1\.h5: holds particles with PDG code 211"):
        survey_files(data, [])
    part = whole(survey_files(data, [pions]).files)
    loader = ShowerLoader(part, data, batch_size=3, labels=[pions])
    told = {
        float(energy): int(code)
        for showers in loader.epoch(0)
        for energy, code in zip(showers.energy_n, showers.columns["pdg"], strict=True)
    }
    loader.close()
    assert told == dict(zip(energy_n.tolist(), codes.tolist(), strict=True))
