"""Measurements of the training step: what they count, and what they are compared with."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from gan3d.bench.keras_loop import KerasLoop
from gan3d.bench.operations import share_of_convolutions, time_operations
from gan3d.bench.step import check_baseline, find_experiment
from gan3d.config import Model, Training, load_experiment
from gan3d.errors import ConfigError, UsageError
from gan3d.training.response import Response

CONFIGS = Path(__file__).parents[2] / "configs"

pytestmark = pytest.mark.tensorflow


def test_operations_are_timed_by_kind():
    images = tf.random.normal((1, 12, 12, 12, 16))
    kernel = tf.random.normal((5, 5, 5, 16, 16))
    matrix = tf.random.normal((200, 200))

    @tf.function
    def work():
        out = tf.nn.conv3d(images, kernel, [1] * 5, "SAME")
        return tf.reduce_sum(out) + tf.reduce_sum(tf.matmul(matrix, matrix))

    work()
    seconds = time_operations(work)
    assert list(seconds.values()) == sorted(seconds.values(), reverse=True)
    assert {kind.removeprefix("_Mkl").removeprefix("Native") for kind in seconds} >= {
        "Conv3D",
        "MatMul",
        "Sum",
    }
    # 400 MFLOP of a convolution, 16 of a product.
    assert 0.5 < share_of_convolutions(seconds) < 1.0


def test_convolutions_and_their_gradients_count_as_such():
    seconds = {"_MklNativeConv3D": 2.0, "Conv3DBackpropFilterV2": 1.0, "Mul": 1.0}
    assert share_of_convolutions(seconds) == 0.75


def test_without_a_file_the_published_recipe_is_measured_on_the_bundled_showers():
    experiment = find_experiment(None, (), {"--batch": "training.batch_size=3"})
    assert experiment.model.architecture == "ecal25"
    assert experiment.training == Training(batch_size=3)
    with pytest.raises(ConfigError, match=r"--threads.*node\.intra_op_threads"):
        find_experiment(None, (), {"--threads": "node.intra_op_threads=x"})


def test_the_keras_loop_moves_each_network_in_its_own_updates_alone(tiny_architecture):
    generator = tiny_architecture.build_generator(Model())
    discriminator = tiny_architecture.build_discriminator(Model())
    loop = KerasLoop(
        tiny_architecture,
        generator,
        discriminator,
        Training(batch_size=4),
        Response((2.0,), (10.0, 100.0), 100.0, 1),
        seed=0,
    )
    weights = {
        "generator": list(generator.trainable_weights),
        "discriminator": list(discriminator.trainable_weights),
    }
    moved = []

    def watch(model):
        train_on_batch = model.train_on_batch

        def train(*arguments):
            before = {name: [w.numpy() for w in each] for name, each in weights.items()}
            train_on_batch(*arguments)
            moved.append(
                [
                    name
                    for name, each in weights.items()
                    if any(np.any(a != b) for a, b in zip(before[name], each, strict=True))
                ]
            )

        model.train_on_batch = train

    watch(loop._discriminator)
    watch(loop._combined)
    rng = np.random.default_rng(0)
    for _ in range(2):
        loop.step(
            rng.gamma(0.1, 1e-2, (4, 4, 4, 3)).astype(np.float32),
            rng.uniform(0.1, 1.0, (4, 1)).astype(np.float32),
        )
    assert moved == 2 * [["discriminator"], ["discriminator"], ["generator"], ["generator"]]


@pytest.mark.parametrize(
    ("baseline", "reason"), [("angle51", "energy alone"), ("ecal25", r"\(25, 25, 25\) cells")]
)
def test_a_baseline_that_cannot_take_the_showers_is_refused(baseline, reason):
    experiment = load_experiment(CONFIGS / "angle51.yaml")
    with pytest.raises(UsageError, match=f"--baseline: .*{reason}"):
        check_baseline(experiment, baseline)


def test_the_command_measures_a_step_beside_the_keras_loop(gan3d):
    done = gan3d(
        "bench", "step", "--arch", "ecal25", "--batch", "1", "--threads", "1",
        "--baseline", "--rounds", "2", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert (figures["architecture"], figures["batch_size"]) == ("ecal25", 1)
    assert figures["threads"] == {"intra_op": 1, "inter_op": 1}
    rounds = figures["seconds_of_rounds"]
    assert len(rounds) == 2
    rates = [1 / each["step"] for each in rounds]
    assert figures["showers_per_second"] == pytest.approx(sum(rates) / 2, rel=1e-3)
    assert figures["showers_per_second_per_core"] == figures["showers_per_second"]
    gflops = figures["showers_per_second"] * figures["gflop_per_shower"]
    assert figures["gflops"] == pytest.approx(gflops, rel=1e-3)
    ratios = [each["baseline"] / each["step"] for each in rounds]
    assert figures["baseline"]["step_over_baseline"] == pytest.approx(sum(ratios) / 2, rel=1e-3)
    assert 0 < figures["share_of_peak_without_zeros"] < figures["share_of_peak"] < 1
    assert 0 < figures["share_outside_convolutions"] < 1
    assert figures["machine"]["cpu"]
