"""What networks are conditioned on, in YAML."""

import pytest

from gan3d.config import Condition, Model, dump_experiment, load_experiment
from gan3d.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    def loaded(conditions, more=""):
        path = tmp_path / "e.yaml"
        path.write_text(
            f"data: {{files: [a.h5]}}\nmodel:\n  conditions: {conditions}\n{more}", "utf-8"
        )
        return load_experiment(path)

    return loaded


def test_energy_is_the_only_one_by_default():
    assert [each.name for each in Model().conditions] == ["energy"]
    assert Model().labels == []


def test_a_known_name_stands_for_all_that_is_known_of_it(load):
    theta, particle = load("[energy, theta, particle]").model.labels
    assert (theta.column, theta.kind, theta.unit, theta.scale) == ("theta", "number", "rad", 1.0)
    assert (particle.column, particle.kind) == ("pdg", "categories")
    assert particle.values == [11, 22, 111]


def test_a_section_begins_with_what_is_known_and_says_the_rest(load):
    particle, mtheta = load(
        "[energy, {name: particle, values: [211, -211], embedding: 2}, {name: mtheta, scale: 2}]"
    ).model.labels
    assert (particle.column, particle.values, particle.embedding) == ("pdg", [211, -211], 2)
    assert (mtheta.column, mtheta.kind, mtheta.scale) == ("mtheta", "number", 2.0)


@pytest.mark.parametrize(
    "conditions",
    [
        "[energy]",
        "[energy, theta, particle]",
        "[energy, {name: theta, scale: 3.14}, {name: q, column: charge, kind: categories,"
        " values: [-1, 1]}]",
    ],
)
def test_what_is_dumped_loads_back_equal(load, conditions, tmp_path):
    experiment = load(conditions)
    path = tmp_path / "again.yaml"
    path.write_text(dump_experiment(experiment))
    assert load_experiment(path) == experiment


def test_known_names_are_dumped_as_names(load):
    assert "  - energy\n  - theta\n" in dump_experiment(load("[energy, theta]"))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("[theta]", "conditions: the first must be energy"),
        ("[{name: energy, scale: 3}]", "conditions: the first must be energy, by its name alone"),
        ("[]", "conditions: expected at least 1 value(s)"),
        ("energy", "conditions: expected a list, got 'energy'"),
        ("[energy, thta]", "[1]: 'thta' is no known condition (energy, theta, particle)"),
        ("[energy, 3]", "conditions[1]: expected a section (keys with values), got 3"),
        ("[energy, theta, theta]", "conditions: two have the name theta"),
        ("[energy, theta, {name: a, column: theta}]", "conditions: two have the column theta"),
        ("[energy, {name: latent}]", "conditions: latent is the name of another input"),
        ("[energy, {name: Theta}]", "conditions[1].name: "),
        ("[energy, {name: q, scale: 0}]", "conditions[1].scale: expected a number above 0"),
        ("[energy, {name: q, clumn: a}]", "unknown key; did you mean 'model.conditions.column'?"),
        ("[energy, {name: q, kind: category}]", "did you mean 'categories'?"),
        ("[energy, {name: q, values: [1, 2]}]", "[1]: values: q is a number; categories need"),
        ("[energy, {name: particle, values: [11]}]", "particle needs at least 2 categories"),
        ("[energy, {name: particle, values: [1, 1]}]", "particle has a category twice"),
        ("[energy, {name: particle, unit: rad}]", "unit: is for numbers, particle has categories"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(load, conditions, expected):
    with pytest.raises(ConfigError) as found:
        load(conditions)
    message = str(found.value)
    assert expected in message
    assert "e.yaml:3: model" in message
    assert "\n" not in message


def test_a_condition_in_python_is_that_of_yaml(load):
    theta = Condition(name="theta", column="theta", unit="rad")
    assert load("[energy, theta]").model == Model(conditions=["energy", theta])
