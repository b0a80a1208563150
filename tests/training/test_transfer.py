"""A run that begins with the weights of another one: what is taken, what is not, what is said."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from labelled import CONFIG, write_labelled
from tiny import begin, resume

from gan3d.cli import main
from gan3d.config import Experiment, Split, dump_experiment, load_experiment
from gan3d.data import Survey
from gan3d.data.survey import FileEntry
from gan3d.errors import ConfigError
from gan3d.models import architecture_of
from gan3d.models.weights import checkpoint_folders
from gan3d.training.session import find
from gan3d.training.transfer import find_start, take_weights

pytestmark = pytest.mark.tensorflow


def build(cells=6, *, batch_norm=True, inner="dense"):
    """A generator and a discriminator of one named layer and some without a name."""
    import keras
    from keras import layers

    def network(name):
        x = inputs = keras.Input((3,))
        x = layers.Dense(4)(x)
        x = layers.BatchNormalization(scale=inner == "dense", name="norm")(x) if batch_norm else x
        x = layers.Dense(4, name="inner")(x) if inner == "dense" else layers.PReLU(name="inner")(x)
        return keras.Model(inputs, layers.Dense(cells, name="cells")(x), name=name)

    return network("generator"), network("discriminator")


def randomise(*networks):
    rng = np.random.default_rng(3)
    for network in networks:
        for weight in network.weights:
            weight.assign(rng.normal(size=weight.shape))


def files(*names):
    """Entries of shower files, of which each letter is another one."""
    return tuple(FileEntry(Path(f"{name}.h5"), 10, 10, 1000, float(ord(name))) for name in names)


@pytest.fixture
def write_run(tmp_path):
    """The folder of a run that has trained these networks: write_run(generator, discriminator)."""

    def write(generator, discriminator, average=None, experiment=None):
        folder = tmp_path / "other"
        checkpoint = folder / "checkpoints" / "step-00000012"
        checkpoint.mkdir(parents=True)
        trained = experiment or Experiment.model_validate({"data": {"files": ["x.h5"]}})
        (folder / "config.yaml").write_text(dump_experiment(trained))
        (folder / "data.json").write_text(json.dumps(Survey(files("x", "y")).as_dict()))
        generator.save_weights(checkpoint / "generator.weights.h5")
        discriminator.save_weights(checkpoint / "discriminator.weights.h5")
        if average is not None:
            average.save_weights(checkpoint / "generator_average.weights.h5")
        (checkpoint / "state.json").write_text('{"epoch": 3, "step_in_epoch": 0}')
        return folder

    return write


def starting_from(named):
    experiment = {"data": {"files": ["y.h5"]}, "training": {"init_from": str(named)}}
    return find_start(Experiment.model_validate(experiment))


def values(network):
    return values_of(network.weights)


def values_of(variables):
    return [np.array(variable) for variable in variables]


def same(some, others):
    return all(np.array_equal(one, other) for one, other in zip(some, others, strict=True))


def test_equal_networks_are_taken_whole_whatever_names_keras_has_made(write_run):
    theirs = build()
    randomise(*theirs)
    folder = write_run(*theirs)
    ours = build()
    assert ours[0].layers[1].name != theirs[0].layers[1].name
    transfer = take_weights(starting_from(folder), *ours)
    for our, their in zip(ours, theirs, strict=True):
        assert same(values(our), values(their))
    assert str(transfer) == (
        f"{folder}, step-00000012 (3 epochs done): 20 of 20 variables taken; fresh: none"
    )


def test_a_run_in_the_working_directory_is_named_as_one_would_type_it(write_run, monkeypatch):
    theirs = build()
    folder = write_run(*theirs)
    monkeypatch.chdir(folder.parent)
    told = str(take_weights(starting_from(folder), *theirs))
    assert told.startswith(f"{folder.name}, step-")


def test_of_another_geometry_what_fits_is_taken_and_the_rest_is_listed(write_run):
    theirs = build(cells=6)
    randomise(*theirs)
    start = starting_from(write_run(*theirs))
    ours = build(cells=8)
    before = values(ours[0])
    transfer = take_weights(start, *ours)
    assert same(values(ours[0])[:-2], values(theirs[0])[:-2])
    assert same(values(ours[0])[-2:], before[-2:])
    assert str(transfer).endswith(
        "16 of 20 variables taken; fresh: generator cells/kernel (4×8, there 4×6), "
        "generator cells/bias (8, there 6), discriminator cells/kernel (4×8, there 4×6), "
        "discriminator cells/bias (8, there 6)"
    )
    told = transfer.as_dict()["generator"]
    assert told["taken"][-2:] == ["inner/kernel", "inner/bias"]
    assert told["fresh"][0] == {"name": "cells/kernel", "shape": (4, 8), "there": (4, 6)}


def test_a_bias_that_fits_stays_with_its_kernel(write_run):
    import keras

    def network(inputs):
        x = start = keras.Input((inputs,))
        x = keras.layers.Dense(2, name="first")(x)
        return keras.Model(start, keras.layers.Dense(2, name="second")(x))

    theirs = [network(3), network(3)]
    randomise(*theirs)
    start = starting_from(write_run(*theirs))
    ours = [network(4), network(3)]
    transfer = take_weights(start, *ours)
    assert not np.any(ours[0].get_layer("first").bias)
    assert same(values(ours[0])[2:], values(theirs[0])[2:])
    assert str(transfer).endswith(
        "6 of 8 variables taken; fresh: generator first/kernel (4×2, there 3×2), "
        "generator first/bias (2, with its layer)"
    )


@pytest.mark.parametrize(
    ("own", "split", "noted"),
    [
        (Survey(files("x", "y")), Split(), None),  # divided as there: held out by both
        (Survey(files("x", "y")), Split(seed=1), "x.h5 and 1 more"),
        (Survey(files("y", "z")), Split(), "y.h5"),
        (Survey(files("x", "y"), files("z")), Split(), None),
        (Survey(files("z"), files("y")), Split(), "y.h5"),
    ],
)
def test_heldout_showers_that_the_other_run_was_trained_on_are_noted(write_run, own, split, noted):
    told = starting_from(write_run(*build())).knows_heldout(own, split)
    assert len(told) == (noted is not None)
    assert all(f"other was trained on {noted}, of which" in each for each in told)


def test_a_normalisation_stays_with_what_it_normalises(write_run):
    import keras
    from keras import layers

    def network(inputs):
        x = start = keras.Input((inputs,))
        for place in ("first", "second"):
            x = layers.LeakyReLU()(layers.Dense(3, name=place)(x))
            x = layers.BatchNormalization(name=f"norm_{place}")(x)
        return keras.Model(start, x)

    theirs = [network(5), network(5)]
    randomise(*theirs)
    ours = [network(4), network(5)]
    told = take_weights(starting_from(write_run(*theirs)), *ours).as_dict()
    assert [each["name"] for each in told["generator"]["fresh"]] == [
        "first/kernel", "first/bias", "norm_first/gamma", "norm_first/beta",
        "norm_first/moving_mean", "norm_first/moving_variance",
    ]  # fmt: skip
    assert not np.any(ours[0].get_layer("norm_first").moving_mean)
    assert told["discriminator"]["fresh"] == []


def test_what_only_one_of_the_two_has_is_told_apart(write_run):
    start = starting_from(write_run(*build(batch_norm=True)))
    told = take_weights(start, *build(batch_norm=False)).as_dict()["generator"]
    assert told["unused"] == ["norm/0", "norm/1", "norm/2", "norm/3"]
    assert told["fresh"] == []


def test_the_same_name_and_shape_in_another_kind_of_layer_is_not_taken(write_run):
    # A normalisation without scale has its shift where another has its scale.
    start = starting_from(write_run(*build(inner="dense")))
    told = take_weights(start, *build(inner="prelu")).as_dict()["generator"]
    assert [each["name"] for each in told["fresh"]] == [
        "norm/beta",
        "norm/moving_mean",
        "norm/moving_variance",
        "inner/alpha",
    ]
    assert all(each["there"] is None for each in told["fresh"])


@pytest.mark.parametrize("theirs_spectral", [False, True])
def test_kernels_are_taken_with_a_bounded_spectrum_and_without(write_run, theirs_spectral):
    from gan3d.models.discriminator_options import normalise_spectrum

    (_, plain), (generator, other) = build(), build()
    spectral = normalise_spectrum(other, 1.0, ["cells"])
    theirs, ours = (spectral, plain) if theirs_spectral else (plain, spectral)
    randomise(generator, theirs)
    transfer = take_weights(starting_from(write_run(generator, theirs)), generator, ours)
    for name in ("inner", "cells"):
        kernels = [net.get_layer(name).trainable_variables for net in (theirs, ours)]
        assert same(*[values_of(each) for each in kernels])
    fresh = [each.name for each in transfer.discriminator.fresh]
    assert any("spectrum" in name for name in fresh) != theirs_spectral


def test_what_is_kept_of_a_spectrum_goes_with_its_kernel(write_run):
    """It has the shape of the outputs, which may be equal where kernels are not."""
    import keras

    from gan3d.models.discriminator_options import normalise_spectrum

    def network(inputs):
        x = start = keras.Input((inputs,))
        x = keras.layers.Dense(2, name="first")(x)
        network = keras.Model(start, keras.layers.Dense(2, name="second")(x))
        return normalise_spectrum(network, 1.0, ["second"])

    theirs, ours = [network(3), network(3)], [network(4), network(3)]
    randomise(*theirs)
    told = take_weights(starting_from(write_run(*theirs)), *ours).as_dict()["generator"]
    assert told["taken"] == ["second/kernel", "second/bias"]
    assert {each["name"] for each in told["fresh"]} == {
        "first/0",
        "first/1",
        "first/spectrum/vars/0",
    }


@pytest.mark.parametrize("pair_first", [False, True])
def test_layers_of_the_first_of_several_images_are_those_of_a_run_on_it_alone(
    write_run, pair_first
):
    import keras

    def network(prefixes):
        inputs = keras.Input((3,))
        each = [keras.layers.Dense(2, name=f"{prefix}conv_1")(inputs) for prefix in prefixes]
        return keras.Model(inputs, each)

    both = [[network(["ECAL_", "HCAL_"]) for _ in range(2)], [network([""]) for _ in range(2)]]
    theirs, ours = both if pair_first else both[::-1]
    randomise(*theirs)
    transfer = take_weights(starting_from(write_run(*theirs)), *ours)
    assert same(values(ours[0])[:2], values(theirs[0])[:2])
    first = "conv_1" if pair_first else "ECAL_conv_1"
    told = transfer.as_dict()["generator"]
    assert told["taken"] == [f"{first}/kernel", f"{first}/bias"]
    of_hcal = [f"HCAL_conv_1/{what}" for what in (("0", "1") if pair_first else ("kernel", "bias"))]
    assert of_hcal == (told["unused"] if pair_first else [each["name"] for each in told["fresh"]])


def test_the_generator_is_the_one_that_the_other_run_generates_with(write_run):
    theirs, (average, _) = build(), build()
    randomise(*theirs, average)
    average.layers[1].bias.assign([1.0, 2.0, 3.0, 4.0])
    ours = build()
    transfer = take_weights(starting_from(write_run(*theirs, average)), *ours)
    assert same(values(ours[0]), values(average))
    assert same(values(ours[1]), values(theirs[1]))
    assert "moving average of the generator" in str(transfer)
    assert transfer.as_dict()["generator_weights"] == "moving average"


def test_it_says_where_numbers_mean_something_else(write_run):
    data = {"files": ["x.h5"], "energy_scale_gev": 50.0}
    theirs = write_run(*build(), experiment=Experiment.model_validate({"data": data}))
    start = starting_from(theirs)
    text = str(take_weights(start, *build()))
    assert text.endswith("; note: other values of data.energy_scale_gev there")


def test_where_nothing_fits_it_is_refused(write_run):
    import keras

    start = starting_from(write_run(*build()))
    inputs = keras.Input((2,))
    other = [
        keras.Model(inputs, keras.layers.Dense(5, name="others")(inputs), name=name)
        for name in ("generator", "discriminator")
    ]
    with pytest.raises(ConfigError, match=r"^training\.init_from: .*nothing would be taken$"):
        take_weights(start, *other)


def no_config(run):
    (run / "config.yaml").unlink()


def another_program(run):
    (run / "config.yaml").write_text("colour: red\n")


def no_checkpoint(run):
    shutil.rmtree(run / "checkpoints")


def truncated(run):
    (path,) = run.rglob("generator.weights.h5")
    path.write_bytes(path.read_bytes()[:1000])


def not_weights(run):
    (path,) = run.rglob("discriminator.weights.h5")
    with h5py.File(path, "w") as file:
        file["ECAL"] = np.ones(3)


def no_state(run):
    (path,) = run.rglob("state.json")
    path.unlink()


def intact(run):
    pass


@pytest.mark.parametrize(
    ("spoil", "suffix", "words"),
    [
        (intact, "/nowhere", ["nowhere: no such run"]),
        (intact, "/config.yaml", ["config.yaml: no such run"]),
        (intact, "@newest", ["'newest' is neither last, best nor the number of a step"]),
        (intact, "@best", ["no best.json"]),
        (intact, "@7", ["no checkpoint step-00000007", "step-00000012"]),
        (no_config, "", ["not a run's folder"]),
        (another_program, "", ["config.yaml:1"]),
        (no_checkpoint, "", ["no checkpoint yet"]),
        (truncated, "", ["generator.weights.h5: no weights that can be read"]),
        (not_weights, "", ["discriminator.weights.h5: no weights that can be read"]),
        (no_state, "", ["state.json: cannot be read"]),
    ],
)
def test_what_cannot_be_begun_with_is_an_error_of_the_key(write_run, spoil, suffix, words):
    folder = write_run(*build())
    spoil(folder)
    with pytest.raises(ConfigError) as caught:
        starting_from(f"{folder}{suffix}")
    said = str(caught.value)
    assert said.startswith("training.init_from: ")
    assert "\n" not in said
    for word in words:
        assert word in said


def test_a_run_begins_with_the_weights_of_another_and_with_nothing_else_of_it(make_trainer, listen):
    first = make_trainer("first", **{"training.epochs": 1})
    begin(first)
    first.train(listen())
    changes = {"training.init_from": first.folder, "training.weight_average": "{decay: 0.9}"}
    second = make_trainer("second", **changes)
    begin(second)
    for ours, theirs in (
        (second.step.generator, first.step.generator),
        (second.step.discriminator, first.step.discriminator),
    ):
        assert same(values(ours), values(theirs))
    # The average, too, begins there.
    average = [each.numpy() for each in second.step.average_weights]
    assert same(average, values(first.step.generator))
    assert (second.position.epoch, second.position.global_step) == (0, 0)
    assert not any(np.any(each.numpy()) for each in second.step.generator_optimizer.variables[2:])
    (note,) = second.notes
    assert note.startswith(f"init_from: {first.folder}, step-00000005 (1 epoch done): 12 of 12 ")
    told = json.loads((second.folder / "init.json").read_text())
    assert told["generator"]["taken"][-2:] == [
        "batch_normalization/moving_mean",
        "batch_normalization/moving_variance",
    ]
    assert not (first.folder / "init.json").exists()


def test_statistics_of_the_new_showers_win(make_trainer, listen, tiny_architecture, monkeypatch):
    first = make_trainer("first", **{"training.epochs": 1})
    begin(first)
    first.train(listen())

    def adapt(generator, discriminator, images_nxyz, energy_n1):
        generator.get_layer("cells").bias.assign(images_nxyz.mean(axis=0).ravel())

    adapting = replace(tiny_architecture, adapt=adapt)
    monkeypatch.setattr("gan3d.training.trainer.architecture_of", lambda _: adapting)
    changes = {"training.init_from": first.folder, "training.weight_average": "{decay: 0.9}"}
    second = make_trainer("second", **changes)
    measured = second.loader.sample(20).images_nxyz.mean(axis=0).ravel()
    np.testing.assert_array_equal(second.step.generator.get_layer("cells").bias, measured)
    place = [weight.path for weight in second.step.generator.weights].index("cells/bias")
    np.testing.assert_array_equal(second.step.average_weights[place], measured)
    told = second.transfer.as_dict()["generator"]
    assert told["measured"] == ["cells/bias"]
    assert "cells/bias" not in told["taken"]
    assert "11 of 12 variables taken; measured on the training showers: 1" in second.notes[-1]


def test_a_run_that_goes_on_needs_the_other_no_more(make_trainer, listen, tmp_path):
    first = make_trainer("first", **{"training.epochs": 1})
    begin(first)
    first.train(listen())
    settings = {"training.init_from": first.folder}
    second = make_trainer("second", **settings)
    begin(second)
    second.train(listen())
    ended = values(second.step.generator)
    told = (second.folder / "init.json").read_bytes()

    # Where it has no checkpoint yet, it begins anew, and so with the other run.
    aside = second.folder / "checkpoints"
    assert find(second.experiment, tmp_path / "new", 1, resume=False).start is not None
    aside.rename(tmp_path / "aside")
    (second.folder / "history.jsonl").rename(tmp_path / "history.jsonl")
    found = find(second.experiment, second.folder, 1, resume=True)
    assert found.start.checkpoint == checkpoint_folders(first.folder / "checkpoints")[-1].name
    (tmp_path / "aside").rename(aside)

    shutil.rmtree(first.folder)
    assert find(second.experiment, second.folder, 1, resume=True).start is None
    third = make_trainer("second")
    resume(third)
    assert same(values(third.step.generator), ended)
    assert (second.folder / "init.json").read_bytes() == told


@pytest.mark.slow
def test_the_command_says_what_another_grid_begins_with(
    labelled_gan3d, labelled_architectures, write_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_labelled(tmp_path / "train.h5", 24, seed=1)
    write_labelled(tmp_path / "heldout.h5", 30, seed=2)
    (tmp_path / "experiment.yaml").write_text(CONFIG)
    settings = "{init_from: other, epochs: 1}"
    (tmp_path / "deeper.yaml").write_text(
        f"extends: experiment.yaml\ndata: {{grid: [4, 4, 5]}}\ntraining: {settings}\n"
    )
    assert main(["train", "deeper.yaml", "--dry-run"]) == 2
    refused = capsys.readouterr().err
    assert refused.startswith("gan3d: error: deeper.yaml:3: training.init_from: ")
    assert "no such run" in refused

    first = load_experiment(tmp_path / "experiment.yaml")
    theirs = architecture_of(first)
    networks = theirs.build_generator(first.model), theirs.build_discriminator(first.model)
    write_run(*networks, experiment=first)
    assert main(["train", "deeper.yaml", "--dry-run"]) == 0
    plan = " ".join(capsys.readouterr().out.split())
    expected = "step-00000012 (3 epochs done): 6 of 14 variables taken; fresh: generator "
    assert expected in plan

    second = labelled_gan3d("train", "deeper.yaml")
    assert second.returncode == 0, second.stderr
    assert expected in " ".join(second.stdout.split())
    told = json.loads((tmp_path / "runs" / "deeper" / "init.json").read_text())
    assert told["generator"]["taken"] == ["embedding_particle/embeddings"]


def particles(architecture, values, start=None):
    """Networks that are told which of these particles a shower is of, and their experiment."""
    shape = [4, 4, 5] if architecture == "compact" else [4, 4, 3]
    experiment = Experiment.model_validate(
        {
            "data": {"files": ["x.h5"], "geometry": {"shape": shape}},
            "model": {
                "architecture": architecture,
                "conditions": ["energy", "theta", {"name": "particle", "values": values}],
            },
            "training": {"init_from": start},
        }
    )
    found = architecture_of(experiment)
    built = [
        build(experiment.model) for build in (found.build_generator, found.build_discriminator)
    ]
    randomise(*built)
    return experiment, built


def test_an_embedding_follows_its_categories(labelled_architectures, write_run):
    """In another order, and with one that the other run did not know."""

    def table(network):
        return network.get_layer("embedding_particle").embeddings.numpy()

    first, theirs = particles("tiny-labelled", [22, 11, 111])
    run = str(write_run(*theirs, experiment=first))
    turned, ours = particles("tiny-labelled", [111, 22, 11], run)
    take_weights(find_start(turned), *ours)
    for own, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(table(own), table(other)[[2, 0, 1]])
    more, ours = particles("tiny-labelled", [11, 13, 22], run)
    drawn = table(ours[0])
    transfer = take_weights(find_start(more), *ours)
    found = table(ours[0])
    np.testing.assert_array_equal(found[[0, 2]], table(theirs[0])[[1, 0]])
    np.testing.assert_array_equal(found[1], drawn[1])
    said = "rows by category: generator embedding_particle/embeddings (particle: 13 as drawn), "
    assert said in str(transfer)
    others, ours = particles("tiny-labelled", [13, 15, 17], run)
    transfer = take_weights(find_start(others), *ours)
    assert "embedding_particle/embeddings" not in transfer.generator.taken.values()
    assert "rows by category" not in str(transfer)


def test_what_compact_has_learnt_of_a_category_follows_it(write_run):
    """Also where the number of categories is another, and so the shape of the weights."""

    def of_category(networks, place):
        """What the weights make of powers of ln(Ep) for a category, and those of the rest."""
        found = []
        for network, layer, number in zip(networks, ("hit_shift", "head"), (1, 0), strict=True):
            variable = network.get_layer(layer).trainable_variables[number].numpy()
            terms = 6 + 3 * (count[id(network)] - 1)  # of energy, of the angle, of categories
            rest, rows = variable[:-terms], variable[-terms:]
            own = rows[6 + 3 * (place - 1) :][:3] if place else np.zeros_like(rows[:3])
            found.append((rows[:3] + own, rows[3:6], rest))
        return found

    first, theirs = particles("compact", [22, 11, 111])
    run = str(write_run(*theirs, experiment=first))
    more, ours = particles("compact", [111, 13, 11, 22], run)
    drawn = [each.get_layer("head").kernel.numpy() for each in ours[1:]]
    transfer = take_weights(find_start(more), *ours)
    count = {id(each): 3 for each in theirs} | {id(each): 4 for each in ours}
    for place, there in ((0, 2), (2, 1), (3, 0)):
        for own, other in zip(of_category(ours, place), of_category(theirs, there), strict=True):
            for some, others in zip(own, other, strict=True):
                np.testing.assert_allclose(some, others, rtol=1e-5, atol=1e-5)
    (drawn_head,) = drawn
    taken_head = ours[1].get_layer("head").kernel.numpy()
    np.testing.assert_array_equal(taken_head[-9:-6], drawn_head[-9:-6])
    told = transfer.as_dict()
    assert told["generator"]["rows_by_category"] == {
        "hit_shift/correction": "particle: 13 as drawn"
    }
    assert told["discriminator"]["rows_by_category"] == {"head/kernel": "particle: 13 as drawn"}
    # Where the list begins with a particle that the other run did not know.
    new, ours = particles("compact", [13, 22], run)
    count |= {id(each): 2 for each in ours}
    take_weights(find_start(new), *ours)
    for place, there in ((0, 0), (1, 0)):
        for own, other in zip(of_category(ours, place), of_category(theirs, there), strict=True):
            np.testing.assert_allclose(own[0], other[0], rtol=1e-5, atol=1e-5)
