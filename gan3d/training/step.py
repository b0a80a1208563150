"""One compiled step that updates both networks.

The published order (Vallecorsa et al., ISC 2018): generate a batch; update the discriminator on
the Monte Carlo batch, then on the generated one; then update the generator, twice, through the
discriminator with the labels of Monte Carlo.

Where the incident energy is the only condition, that of generated showers is drawn uniformly, and
the fitted response says what their sum should be. With more conditions, such as the angle, they
take those of the Monte Carlo batch, shower by shower, and what is measured on its images is what
should be measured on them: so the conditions have the distribution that they have together in the
data, and nothing has to be fitted in many dimensions (the published way for variable angles).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from gan3d.config import GEV, CellScale, Horovod, Training
from gan3d.errors import ConfigError
from gan3d.models import Architecture
from gan3d.models.discriminator_options import Featured, with_features
from gan3d.models.layers import BatchNormalization, convolved_plainly, set_plain
from gan3d.training.losses import LEAST_SHARE, discriminator_losses, loss_names
from gan3d.training.noise import NoiseStream
from gan3d.training.optimizers import build_optimizer, scale_loss
from gan3d.training.response import Response
from gan3d.training.terms import GeneratorTerms, gradient_penalty

if TYPE_CHECKING:
    from collections.abc import Callable

    from gan3d.runtime import Communicator

# Random streams of a step: the label flips of both discriminator updates, then a latent and an
# incident energy for every batch that is generated.
_FLIP_STREAMS = 2


class AdversarialStep:
    """Both networks, both optimisers and the step that updates them."""

    def __init__(
        self,
        architecture: Architecture,
        generator: keras.Model,
        discriminator: keras.Model,
        training: Training,
        response: Response,
        communicator: Communicator,
        seed: int,
        horovod: Horovod | None = None,
        *,
        xla: bool = False,
        cell_scale: CellScale = GEV,
    ) -> None:
        """Make the optimisers' slots and, where it is asked for, the average of the generator.

        `xla`: whether XLA compiles the passes through the networks; `cell_scale`: that of the
        images. Raises ConfigError for terms of the losses that these networks cannot have.
        """
        horovod = horovod or Horovod()
        self.generator = generator
        self.discriminator = discriminator
        if xla or tf.config.list_logical_devices("GPU"):
            for network in (generator, discriminator):
                set_plain(network)
        self.generator_optimizer = build_optimizer(
            training.optimizer, generator.trainable_variables
        )
        self.discriminator_optimizer = build_optimizer(
            training.optimizer, discriminator.trainable_variables
        )
        self.average_weights: list[tf.Variable] = []
        if training.weight_average is not None:
            self.average_weights = [
                tf.Variable(w.value, trainable=False) for w in generator.weights
            ]

        weights = training.loss_weights
        self._terms = GeneratorTerms(weights, cell_scale, response, architecture.images)
        # Per cent of the mean: an image that a shower leaves nothing in has no per cent of its own.
        self._units = {name: mean / 100.0 for name, mean in response.further_means.items()}
        self._featured = _featured(discriminator, training)
        names = loss_names(architecture.outputs)
        penalty = ("gradient_penalty",) if weights.gradient_penalty else ()
        self._told = {
            "discriminator.real": (*names, *penalty),
            "discriminator.fake": names,
            "generator": (*names, *self._terms.names),
        }
        """What each kind of update tells of its losses, in this order."""
        self.loss_names = tuple(f"{who}.{name}" for who, of in self._told.items() for name in of)
        """Names of what a step returns."""
        self._architecture = architecture
        self._training = training
        self._passes = horovod.backward_passes_per_step
        self._xla = xla
        low, high = training.incident_energy_gev or response.energy_range_gev
        self._energy_range = (low / response.energy_scale_gev, high / response.energy_scale_gev)
        self._response = response
        self._least_ecal = LEAST_SHARE * response.mean_per_energy()
        self._seed = seed
        self.exchanges = 2 + training.generator_updates
        """All-reduces in a step, one for each update."""
        self.gradient_mb = (
            2 * _megabytes(discriminator) + training.generator_updates * _megabytes(generator)
        ) * (0.5 if horovod.compression == "fp16" else 1.0)
        """Gradients (MB) that a rank reduces in a step."""
        self.exchange_seconds = 0.0
        """How long the all-reduces of the last step took, waiting for other ranks included."""
        self.flagged: list[bool] = []
        """Whether each of the last step's flags was set on any rank; the same on all."""
        self.join(communicator)

    def join(self, communicator: Communicator, *, synchronized: bool = False) -> None:
        """Go on as a rank of `communicator`; `synchronized` batch normalisation is over its ranks.

        The step is compiled anew when it is next called.
        """
        self._communicator = communicator
        rows = self._training.batch_size * self._passes
        self._noise = NoiseStream(
            self._seed,
            first_row=communicator.rank * rows,
            rows=rows,
            streams=_FLIP_STREAMS + 2 * (1 + self._training.generator_updates),
        )
        self._names = _Names()
        for layer in (*self.generator.layers, *self.discriminator.layers):
            if isinstance(layer, BatchNormalization):
                layer.mean_over_ranks = self._mean_over_ranks if synchronized else None
        # Nothing in the step branches on a tensor in Python: AutoGraph would only rewrite it.
        self.function = tf.function(self._step, reduce_retracing=True, autograph=False)

    def __call__(
        self,
        images_bxyz: Any,
        energy_b1: Any,
        labels_bc: Any = None,
        *,
        step: int,
        learning_rate: float,
        average_decay: float,
        flags: Sequence[bool] = (),
    ) -> Mapping[str, float]:
        """Update both networks and return the mean losses of this rank's batch.

        `images_bxyz` in GeV, `energy_b1` the scaled incident energies, `labels_bc` the further
        conditions as networks see them, where there are some, `step` counted from the start of
        training, `average_decay` 0 where the average just follows the weights. Names and
        their order are `loss_names`. `flags`, equally many on all ranks, travel with the gradients
        and leave `flagged`.
        """
        arguments = (
            tf.convert_to_tensor(images_bxyz),
            tf.convert_to_tensor(energy_b1),
            tf.constant(step, tf.int64),
            tf.constant(learning_rate, tf.float32),
            tf.constant(average_decay, tf.float32),
            tf.constant(flags, tf.float32, [len(flags)]),
            *([] if labels_bc is None else [tf.convert_to_tensor(labels_bc)]),
        )
        numbers = self.function(*arguments).numpy().tolist()
        losses, numbers = numbers[: len(self.loss_names)], numbers[len(self.loss_names) :]
        self.exchange_seconds, self.flagged = numbers[0], [number > 0 for number in numbers[1:]]
        return dict(zip(self.loss_names, losses, strict=True))

    def _step(
        self,
        images_bxyz: Any,
        energy_b1: Any,
        step: Any,
        learning_rate: Any,
        average_decay: Any,
        flags_f: Any,
        *labels: Any,
    ) -> Any:
        self.generator_optimizer.learning_rate.assign(learning_rate)
        optimizer = self._training.optimizer
        if optimizer.discriminator_learning_rate is not None:
            # One schedule for both: with the same warm-up and decay.
            learning_rate *= optimizer.discriminator_learning_rate / optimizer.learning_rate
        self.discriminator_optimizer.learning_rate.assign(learning_rate)
        self._names.begin()

        # With the last exchange of the step: one of their own would cost all ranks a round more.
        riders = [flags_f] if flags_f.shape[0] else []
        measured = self._measure(images_bxyz)
        real = _Batch(images_bxyz, energy_b1, labels, measured)

        def update_real() -> tuple[Any, Any]:
            real_b1 = self._flip(tf.ones_like(energy_b1), step, stream=0)
            if self._training.label_smoothing:
                real_b1 *= 1.0 - self._training.label_smoothing
            return self._update_discriminator("discriminator.real", real_b1, real)

        def update_fake() -> tuple[Any, Any]:
            shower = self._generator_input(step, 0, energy_b1, labels, measured)
            real_b1 = self._flip(tf.zeros_like(shower.energy_b1), step, stream=1)
            return self._update_discriminator("discriminator.fake", real_b1, shower)

        def update_generator(number: int) -> tuple[Any, Any]:
            shower = self._generator_input(step, 1 + number, energy_b1, labels, measured)
            if "features" in self._terms.names:
                if not features:  # the discriminator does not change any more in this step
                    said = self._said_of(images_bxyz[..., None], real)
                    features.append(tf.stop_gradient(said["features"]))
                shower = shower._replace(measured={**shower.measured, "features": features[0]})
            last = number == self._training.generator_updates - 1
            return self._update_generator(shower, riders if last else [])

        features: list[Any] = []
        results: list[tuple[Any, Any]] = []
        updates: list[Callable[[], tuple[Any, Any]]] = [update_real, update_fake]
        for number in range(self._training.generator_updates):
            updates.append(partial(update_generator, number))
        for update in updates:
            # One after the other: were the next one's first layers computed during an exchange,
            # their time would count as the exchange's.
            with tf.control_dependencies([seconds for _, seconds in results[-1:]]):
                results.append(update())
        (real, _), (fake, _), *generated = results

        for average, weight in zip(self.average_weights, self._averaged(), strict=True):
            average.assign(average_decay * average + (1.0 - average_decay) * weight)

        seconds = tf.add_n([seconds for _, seconds in results])
        mean = tf.add_n([losses for losses, _ in generated]) / len(generated)
        seconds = [tf.cast(seconds, tf.float32)]
        # Each exchange puts what travelled with it in the place of what was given.
        return tf.concat([real, fake, mean, seconds, *riders], axis=0)

    def begin_average(self) -> None:
        """Let the average, where there is one, begin at the generator's weights."""
        for average, weight in zip(self.average_weights, self._averaged(), strict=True):
            average.assign(weight)

    def average_statistics(self) -> None:
        """Give all ranks the mean of their moving statistics (batch normalisation).

        So a checkpoint does not depend on which rank wrote it, and all ranks count. All ranks call
        it, between two steps.
        """
        variables = self.local_statistics()
        if self._communicator.size == 1 or not variables:
            return
        values = [np.asarray(variable.numpy(), np.float64) for variable in variables]
        flat = np.concatenate([value.ravel() for value in values])
        mean = self._communicator.sum(flat) / self._communicator.size
        ends = np.cumsum([value.size for value in values])[:-1]
        for variable, value, part in zip(variables, values, np.split(mean, ends), strict=True):
            variable.assign(part.reshape(value.shape).astype(variable.dtype.as_numpy_dtype))

    def local_statistics(self) -> list[Any]:
        """What each rank measures on its own batches (tf.Variable): moving statistics."""
        networks = self.generator, self.discriminator
        own = [w.value for network in networks for w in network.non_trainable_weights]
        fixed = {id(weight) for weight in self.generator.trainable_weights}
        averages = zip(self.generator.weights, self.average_weights, strict=False)
        return own + [average for weight, average in averages if id(weight) not in fixed]

    @contextmanager
    def average_in_generator(self) -> Iterator[None]:
        """Lend the generator the averaged weights; without an average nothing changes."""
        own = [weight.numpy() for weight in self.generator.weights] if self.average_weights else []
        for weight, average in zip(self._averaged(), self.average_weights, strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            for weight, value in zip(self._averaged(), own, strict=True):
                weight.assign(value)

    def _averaged(self) -> list[Any]:
        return [w.value for w in self.generator.weights] if self.average_weights else []

    def _judge_real(self, real_b1: Any, shower: _Batch) -> dict[str, Any]:
        """Losses of the discriminator on Monte Carlo."""
        images_bxyzc = shower.source[..., None]
        weight = self._training.loss_weights.gradient_penalty
        if not weight:
            return self._judge(images_bxyzc, real_b1, shower)
        assert self._featured is not None
        with (
            convolved_plainly(self.discriminator),
            tf.GradientTape(watch_accessed_variables=False) as tape,
        ):
            tape.watch(images_bxyzc)
            said = self._said_of(images_bxyzc, shower)
            logit_b1 = self._featured.logit(said["features"])
            gradient_bxyzc = tape.gradient(logit_b1, images_bxyzc)
        losses = self._losses(said, real_b1, shower)
        losses["gradient_penalty"] = gradient_penalty(gradient_bxyzc, images_bxyzc)
        losses["loss"] += weight * losses["gradient_penalty"]
        return losses

    def _judge_fake(self, real_b1: Any, shower: _Batch) -> dict[str, Any]:
        """Losses of the discriminator on generated showers; only it is in the tape."""
        # With the statistics of the batch, as in the generator's own updates: the moving averages
        # of batch normalisation are so far off in the first hundreds of steps that the showers
        # would be empty, and the discriminator would learn to look for that.
        images_bxyzc = self.generator(shower.generator_inputs, training=True)
        return self._judge(tf.stop_gradient(images_bxyzc), real_b1, shower)

    def _judge_generator(self, real_b1: Any, shower: _Batch) -> dict[str, Any]:
        """Losses of the generator: what the discriminator says, with the labels of Monte Carlo."""
        images_bxyzc = self.generator(shower.generator_inputs, training=True)
        if not self._terms.names:
            return self._judge(images_bxyzc, real_b1, shower)
        said = self._said_of(images_bxyzc, shower)
        losses = self._losses(said, real_b1, shower)
        further = self._terms.losses(images_bxyzc, said.get("features"), shower.measured)
        losses["loss"] += self._terms.weighted(further)
        return losses | further

    def _judge(self, images_bxyzc: Any, real_b1: Any, shower: _Batch) -> dict[str, Any]:
        return self._losses(self._said_of(images_bxyzc, shower), real_b1, shower)

    def _said_of(self, images: Any, shower: _Batch) -> Any:
        """What the discriminator says of images with the conditions of `shower`."""
        labels_bc = shower.labels[0] if shower.labels else None
        inputs = self._architecture.judged(images, shower.energy_b1, labels_bc)
        network = self.discriminator if self._featured is None else self._featured.network
        return network(inputs, training=True)

    def _losses(self, said: Any, real_b1: Any, shower: _Batch) -> dict[str, Any]:
        targets = {"generation": real_b1, "auxiliary": shower.energy_b1, **shower.measured}
        weights = self._training.loss_weights
        outputs = self._architecture.outputs
        least = {"ecal": self._least_ecal * shower.energy_b1}
        return discriminator_losses(outputs, said, targets, weights, self._units, least)

    def _update_discriminator(self, who: str, real_b1: Any, shower: _Batch) -> tuple[Any, Any]:
        judge = self._judge_real if who == "discriminator.real" else self._judge_fake
        return self._update(
            who, self.discriminator, self.discriminator_optimizer, judge, real_b1, shower
        )

    def _update_generator(self, shower: _Batch, riders: list[Any]) -> tuple[Any, Any]:
        return self._update(
            "generator",
            self.generator,
            self.generator_optimizer,
            self._judge_generator,
            tf.ones_like(shower.energy_b1),
            shower,
            riders=riders,
        )

    def _update(
        self,
        who: str,
        network: keras.Model,
        optimizer: keras.Optimizer,
        judge: Callable[..., Any],
        *batch: Any,
        riders: list[Any] | None = None,
    ) -> tuple[Any, Any]:
        """Move `network` down the gradient of what `judge` says of `batch`, averaged over ranks.

        Returns the losses, as `_told` has them, and the seconds that the exchange took.
        Tensors in `riders` are averaged with the gradients, and replaced.
        """
        variables = network.trainable_variables
        # Under Keras 3 the tape and Horovod want the TensorFlow variable inside.
        inner = [variable.value for variable in variables]

        def backward(*part: Any) -> tuple[Any, list[Any]]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(inner)
                losses = judge(*part)
                loss = scale_loss(optimizer, losses["loss"])
            gradients = [_dense(each) for each in tape.gradient(loss, inner)]
            return tf.stack(list(losses.values())), gradients

        if self._xla:
            # Not the whole step: Horovod's exchanges, between the passes, are not XLA's.
            backward = tf.function(backward, jit_compile=True, autograph=False)
        losses, gradients = self._accumulate(backward, inner, batch, len(self._told[who]))
        riders = [] if riders is None else riders
        averaged, seconds = self._communicator.average(
            [*gradients, *riders], self._names.next("gradients")
        )
        riders[:] = averaged[len(gradients) :]
        optimizer.apply(averaged[: len(gradients)], variables)
        return losses, tf.cast(seconds, tf.float64)

    def _accumulate(
        self,
        backward: Callable[..., Any],
        variables: list[Any],
        batch: tuple[Any, ...],
        count: int,
    ) -> tuple[Any, list[Any]]:
        """Mean of `count` losses and gradients of `batch`, a part for each backward pass."""
        if self._passes == 1:
            return backward(*batch)  # type: ignore[no-any-return]
        shape = (self._passes, self._training.batch_size)
        parts = tf.nest.map_structure(
            lambda each: tf.reshape(each, (*shape, *each.shape[1:])), batch
        )

        def add(number: Any, losses: Any, gradients: list[Any]) -> tuple[Any, Any, list[Any]]:
            part = tf.nest.map_structure(lambda each: each[number], parts)
            more, further = backward(*part)
            return (
                number + 1,
                losses + more,
                [a + b for a, b in zip(gradients, further, strict=True)],
            )

        # A loop of the graph, one part at a time: the memory of a part is all that is needed.
        _, losses, gradients = tf.while_loop(
            lambda number, *_: number < self._passes,
            add,
            (tf.constant(0), tf.zeros(count), [tf.zeros_like(v) for v in variables]),
            parallel_iterations=1,
        )
        return losses / self._passes, [gradient / self._passes for gradient in gradients]

    def _mean_over_ranks(self, tensor: Any) -> Any:
        return self._communicator.mean(tensor, self._names.next("statistics"))

    def _flip(self, labels_b1: Any, step: Any, stream: int) -> Any:
        """Labels of which a fraction `label_flip`, at random, are the opposite."""
        flipped_b1 = self._noise.uniform(step, stream) < self._training.label_flip
        return tf.where(flipped_b1, 1.0 - labels_b1, labels_b1)

    def _generator_input(
        self, step: Any, draw: int, energy_b1: Any, labels: tuple[Any, ...], measured: Any
    ) -> _Batch:
        """Latents (B, latent_dim) and conditions of the showers of the step's `draw`.

        With labels the conditions are those of the Monte Carlo batch, and what is `measured` on it
        is the target; without, what showers have on average, at energies that are drawn or the
        batch's (`training.incident_energies`).
        """
        stream = _FLIP_STREAMS + 2 * draw
        latent_bz = self._noise.normal(step, stream, self._architecture.latent_dim)
        if labels:
            return _Batch(latent_bz, energy_b1, labels, measured)
        if self._training.incident_energies == "uniform":
            low, high = self._energy_range
            energy_b1 = low + (high - low) * self._noise.uniform(step, stream + 1)
        expected = {
            "ecal": self._mean_sum(self._response.coefficients, energy_b1),
            **{
                # A polynomial of the little that the softest showers leave may fall below 0.
                name: tf.maximum(self._mean_sum(coefficients, energy_b1), 0.0)
                for name, coefficients in self._response.further_coefficients.items()
            },
            **self._terms.expect(energy_b1),
        }
        return _Batch(latent_bz, energy_b1, (), expected)

    def _measure(self, images_bxyz: Any) -> dict[str, Any]:
        """What the discriminator's outputs should say of Monte Carlo, where images say it."""
        measured = {
            output.name: output.measure(images_bxyz[..., None])
            for output in self._architecture.outputs
            if output.measure is not None
        }
        return self._terms.measure(images_bxyz) | measured

    def _mean_sum(self, coefficients: Sequence[float], energy_b1: Any) -> Any:
        """Target sums of an image (GeV) for scaled energies: e * polyval(coefficients, e)."""
        constants = [tf.constant(c, tf.float32) for c in coefficients]
        return energy_b1 * tf.math.polyval(constants, energy_b1)


def _featured(discriminator: keras.Model, training: Training) -> Featured | None:
    """The discriminator with what its last layer sees, where a term of the losses wants that."""
    weights = training.loss_weights
    wanted = "gradient_penalty" if weights.gradient_penalty else "features"
    if not getattr(weights, wanted):
        return None
    key = f"training.loss_weights.{wanted}"
    if weights.gradient_penalty and keras.config.dtype_policy().compute_dtype == "float16":
        raise ConfigError(
            f"{key}: in mixed_float16 the gradient by the images is not scaled as the loss is, and "
            "would be lost; set node.precision to mixed_bfloat16 or float32"
        )
    return with_features(discriminator, key)


class _Batch(NamedTuple):
    """Showers that are judged, or what they are to be generated from."""

    source: Any
    """Images (B, x, y, layer) of Monte Carlo, or latents (B, latent_dim)."""
    energy_b1: Any
    """Scaled incident energies."""
    labels: tuple[Any, ...]
    """Further conditions, one tensor (B, C); empty where there are none."""
    measured: dict[str, Any]
    """What should be measured on the images, (B, K) each."""

    @property
    def generator_inputs(self) -> list[Any]:
        """As the generator takes them."""
        return [self.source, self.energy_b1, *self.labels]


class _Names:
    """Names for the exchanges of a step, in the order in which it is traced."""

    def __init__(self) -> None:
        self._count = 0

    def begin(self) -> None:
        """Begin anew, as every rank does when it traces the step."""
        self._count = 0

    def next(self, what: str) -> str:
        self._count += 1
        return f"gan3d.{what}.{self._count}"


def _dense(gradient: Any) -> Any:
    """A gradient as ranks can add it up: an embedding's comes as some rows with their places."""
    return tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient


def _megabytes(network: keras.Model) -> float:
    return float(sum(4 * math.prod(v.shape) for v in network.trainable_variables) / 1e6)


@contextmanager
def without_remapper() -> Iterator[None]:
    """Switch off a graph optimisation that gives up on this step, and says so at error level.

    TensorFlow 2.18's remapper would fuse a convolution with its LeakyReLU, whose gradient needs
    the value between them; it then leaves the whole graph as it was.
    """
    before = tf.config.optimizer.get_experimental_options().get("remapping", True)
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"remapping": before})
