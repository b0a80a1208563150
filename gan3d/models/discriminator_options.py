"""What keeps a discriminator from winning: options for those of all architectures.

`model.spectral_norm` and `model.minibatch_deviation` change the network that an architecture has
built; `with_features` shows what its last layer sees, for losses that want it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from gan3d.errors import ConfigError
from gan3d.models.layers import Conv3D

_HEAD = "generation"
_TINY = 1e-12


@keras.saving.register_keras_serializable(package="gan3d")
class LargestSingularValue(keras.layers.Layer):
    """Of kernels (..., outputs), as matrices: by a step of power iteration at a time.

    Miyato et al. 2018 (arXiv:1802.05957), algorithm 1. The vector u follows from the kernel and the
    number of passes, so it is the same on all ranks; it is a weight, so that checkpoints have it.
    In float32, of the kernel as the layer computes with it.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def build(self, kernel_shape: tuple[int, ...]) -> None:
        """Begin with all outputs alike."""
        self.u = self.add_weight(
            shape=(kernel_shape[-1],),
            initializer="ones",
            trainable=False,
            autocast=False,
            name="u",
        )
        self.built = True

    def advance(self, kernel: Any) -> None:
        """One step: u becomes W^T W u, of length 1."""
        matrix = ops.stop_gradient(_as_matrix(kernel))
        _, v_k = self._normalised(matrix)
        self.u.assign(_unit(ops.matmul(v_k, matrix)))

    def call(self, kernel: Any) -> Any:
        """v^T W u with v = W u / |W u|: the gradient is the kernel's own, v and u are given."""
        matrix = _as_matrix(kernel)
        u_f, v_k = self._normalised(ops.stop_gradient(matrix))
        return ops.sum(ops.matmul(v_k, matrix) * u_f)

    def _normalised(self, matrix: Any) -> tuple[Any, Any]:
        u_f = _unit(ops.stop_gradient(ops.convert_to_tensor(self.u)))
        return u_f, _unit(ops.sum(matrix * u_f, axis=-1))


def _as_matrix(kernel: Any) -> Any:
    kernel = ops.cast(kernel, "float32")
    return ops.reshape(kernel, (-1, kernel.shape[-1]))


def _unit(vector: Any) -> Any:
    return vector / (ops.sqrt(ops.sum(ops.square(vector))) + _TINY)


class _Spectral(keras.layers.Layer):
    """A layer that computes with its kernel scaled to a largest singular value of `gain`."""

    def __init__(self, *arguments: Any, gain: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*arguments, **kwargs)
        self.gain = gain
        self.spectrum = LargestSingularValue(name="spectrum")

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.spectrum.build(tuple(super().kernel.shape))

    @property
    def kernel(self) -> Any:
        """The scaled kernel."""
        own = super().kernel
        if not self.spectrum.built:
            return own
        scale = self.gain / (self.spectrum.call(own) + _TINY)
        return ops.convert_to_tensor(own) * ops.cast(scale, own.dtype)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """As the layer, after a step of power iteration where it is trained."""
        if training:
            self.spectrum.advance(super().kernel)
        return super().call(inputs)

    # Keras's layers would save `kernel`, the scaled one; files have what is trained.
    def save_own_variables(self, store: Any) -> None:
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made of."""
        return {**super().get_config(), "gain": self.gain}


@keras.saving.register_keras_serializable(package="gan3d")
class SpectralDense(_Spectral, keras.layers.Dense):
    """Keras's layer with a kernel of bounded spectrum."""


@keras.saving.register_keras_serializable(package="gan3d")
class SpectralPlainConv3D(_Spectral, keras.layers.Conv3D):
    """Keras's layer with a kernel of bounded spectrum."""


@keras.saving.register_keras_serializable(package="gan3d")
class SpectralConv3D(_Spectral, Conv3D):
    """gan3d's layer with a kernel of bounded spectrum."""


_SPECTRAL: dict[type, Any] = {
    keras.layers.Dense: SpectralDense,
    keras.layers.Conv3D: SpectralPlainConv3D,
    Conv3D: SpectralConv3D,
}


def normalise_spectrum(
    discriminator: keras.Model, gain: float, estimators: Sequence[str]
) -> keras.Model:
    """The same network, drawn anew, whose kernels have a largest singular value of `gain`.

    Of dense layers and convolutions, but not of the heads called `estimators`, which estimate
    numbers and must reach them.
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        spectral = _SPECTRAL.get(type(layer))
        if spectral is None or layer.name in estimators:
            return type(layer).from_config(config)
        return spectral.from_config({**config, "gain": gain})

    return keras.models.clone_model(discriminator, clone_function=clone)


@keras.saving.register_keras_serializable(package="gan3d")
class MinibatchDeviation(keras.layers.Layer):
    """Features (B, F) -> (B, F + 1): with the mean, over features, of their deviation in the batch.

    Karras et al. 2018 (arXiv:1710.10196), section 3, over the whole batch of a rank. In float32: in
    16 bits the squares of small deviations are lost.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, features_bf: Any) -> Any:
        """Take the deviation; of features that are all alike its gradient is finite, too."""
        deviation_f = ops.sqrt(ops.var(features_bf, axis=0) + 1e-8)
        column_b1 = ops.zeros_like(features_bf[:, :1]) + ops.mean(deviation_f)
        return ops.concatenate([features_bf, column_b1], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, F) -> (B, F + 1)."""
        batch, features = input_shape
        return batch, None if features is None else features + 1


def show_deviation(discriminator: keras.Model) -> keras.Model:
    """The same network, whose real/fake head is told the deviation of its features in the batch.

    Raises ConfigError where it has no such head.
    """
    head = _head(discriminator, "model.minibatch_deviation")
    seen_bf = MinibatchDeviation(name="minibatch_deviation")(head.input)
    wider = keras.layers.Dense.from_config(head.get_config())
    outputs = {**discriminator.output, _HEAD: wider(seen_bf)}
    return keras.Model(discriminator.input, outputs, name=discriminator.name)


class Featured(NamedTuple):
    """A discriminator that tells what its last layer sees."""

    network: keras.Model
    """The same layers and outputs, and `features` (B, F)."""
    head: keras.layers.Dense
    """Makes the probability of Monte Carlo of the features."""

    def logit(self, features_bf: Any) -> Any:
        """What the probability is the logistic function of, (B, 1)."""
        return ops.matmul(features_bf, self.head.kernel) + self.head.bias


def with_features(discriminator: keras.Model, key: str) -> Featured:
    """Show what the real/fake head sees. Raises ConfigError, with `key`, where there is none."""
    head = _head(discriminator, key)
    outputs = {**discriminator.output, "features": head.input}
    return Featured(keras.Model(discriminator.input, outputs, name="featured"), head)


def _head(discriminator: keras.Model, key: str) -> Any:
    """The layer that makes `generation`."""
    head = next((each for each in discriminator.layers if each.name == _HEAD), None)
    sigmoid = getattr(head, "activation", None) is keras.activations.sigmoid
    if not isinstance(head, keras.layers.Dense) or not sigmoid or head.bias is None:
        raise ConfigError(
            f"{key}: wants a discriminator whose last layer, a dense one with bias and logistic "
            f"activation, is called '{_HEAD}'; this one has none"
        )
    return head
