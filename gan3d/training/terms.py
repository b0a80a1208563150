"""Further terms of the losses, which an experiment may add to the published ones.

`training.loss_weights` names them, says what each is worth, and which are off (all, by default).
Means are over the batch of a rank (a backward pass of it), and ranks' gradients are averaged: where
a term is no mean over showers (`layers`, `features`), many ranks with small batches see more noise
in it than one with a large batch. All in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from gan3d.config import CellScale, Images, LossWeights
from gan3d.models.slicing import part
from gan3d.training.response import Response

# A shower with less of the energy that it should have counts as having this share of it: dividing
# by what an almost empty one has would give it a gradient beyond all others.
_LEAST_SHARE = 0.01
_LEAST_GEV = 1e-6


def response_term(layers_bz: Any, expected_b1: Any) -> Any:
    """Mean over showers of |ECAL / expected ECAL - 1|: their response over the mean response.

    `layers_bz` are energies in layers, `expected_b1` the sums that showers have on average, GeV;
    showers of which nothing is expected (empty ones of Monte Carlo, as labels' own) do not count.
    """
    sum_b1, lit_b1 = ops.sum(layers_bz, axis=1, keepdims=True), expected_b1 > 0.0
    ratio_b1 = sum_b1 / ops.where(lit_b1, expected_b1, 1.0)
    return ops.mean(ops.where(lit_b1, ops.abs(ratio_b1 - 1.0), 0.0))


def layers_term(layers_bz: Any, expected_b1: Any, shares_bz: Any) -> Any:
    """Sum over layers of |mean share of the energy - expected mean share|, from 0 to 2.

    `shares_bz` are the expected shares of the layers in the energy of showers; the rest as
    `response_term` has it.
    """
    total_b1 = ops.sum(layers_bz, axis=1, keepdims=True)
    least_b1 = ops.maximum(_LEAST_SHARE * expected_b1, _LEAST_GEV)
    ours_bz = layers_bz / ops.maximum(total_b1, least_b1)
    return ops.sum(ops.abs(ops.mean(ours_bz, axis=0) - ops.mean(shares_bz, axis=0)))


def features_term(generated_bf: Any, real_bf: Any) -> Any:
    """Mean over features of (mean of generated - mean of Monte Carlo)^2, (B, F) each.

    Salimans et al. 2016 (arXiv:1606.03498), section 3.1, over the number of features, so that a
    weight means the same for all architectures.
    """
    difference_f = ops.mean(generated_bf, axis=0) - ops.mean(real_bf, axis=0)
    return ops.mean(ops.square(difference_f))


def gradient_penalty(gradient_bxyzc: Any, images_bxyzc: Any) -> Any:
    """Half the mean over showers of |s * gradient of the logit|^2, s the images' rms.

    R1 of Mescheder et al. 2018 (arXiv:1801.04406), eq. 9. Published images have values of the order
    of 1; in units of their root mean square, over all cells of the batch, cells in GeV have, too.
    """
    scale = ops.stop_gradient(ops.mean(ops.square(images_bxyzc)))
    squared_b = ops.sum(ops.square(gradient_bxyzc), axis=(1, 2, 3, 4))
    return 0.5 * scale * ops.mean(squared_b)


class GeneratorTerms:
    """The terms of the generator that have a weight."""

    def __init__(
        self,
        weights: LossWeights,
        scale: CellScale,
        response: Response,
        images: Images | None = None,
    ) -> None:
        """Images are in `scale`; what showers without labels should have says `response`.

        Of several `images` of a shower the layers of all count, and their sum.
        """
        self._images = images
        weighted = ("response", "layers", "features")
        self.names = tuple(name for name in weighted if getattr(weights, name) > 0.0)
        """Of those that have one, in the order in which they are told."""
        self._weights = weights
        self._scale = scale
        self._response = response
        self._of_layers = "response" in self.names or "layers" in self.names

    def measure(self, images_bxyz: Any) -> dict[str, Any]:
        """What showers of the same conditions should have, of Monte Carlo (B, x, y, layer)."""
        if not self._of_layers:
            return {}
        layers_bz = self._layers(images_bxyz)
        sum_b1 = ops.sum(layers_bz, axis=1, keepdims=True)
        return {"response": sum_b1, "layers": layers_bz / ops.maximum(sum_b1, _LEAST_GEV)}

    def expect(self, energy_b1: Any) -> dict[str, Any]:
        """The same by the fits, for scaled incident energies (B, 1)."""
        if not self._of_layers:
            return {}
        assert self._response.gev_coefficients is not None
        assert self._response.layer_coefficients is not None
        sum_b1 = energy_b1 * _polynomial(self._response.gev_coefficients, energy_b1)
        log_b1 = ops.log(energy_b1)
        shares = [_polynomial(each, log_b1) for each in self._response.layer_coefficients]
        return {"response": sum_b1, "layers": ops.concatenate(shares, axis=1)}

    def losses(
        self, images_bxyzc: Any, features_bf: Any, targets: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Each term, unweighted, by its name.

        `targets` are what `measure` or `expect` said, and `features` of Monte Carlo.
        """
        found = {}
        layers_bz = self._layers(images_bxyzc[..., 0]) if self._of_layers else None
        if "response" in self.names:
            found["response"] = response_term(layers_bz, targets["response"])
        if "layers" in self.names:
            found["layers"] = layers_term(layers_bz, targets["response"], targets["layers"])
        if "features" in self.names:
            found["features"] = features_term(features_bf, targets["features"])
        return found

    def weighted(self, losses: Mapping[str, Any]) -> Any:
        """What `losses` add to the sum that is differentiated."""
        return sum(getattr(self._weights, name) * loss for name, loss in losses.items())

    def _layers(self, images_bxyz: Any) -> Any:
        """Energies in layers (B, layer), GeV; of several images one after the other."""
        gev_bxyz = self._scale.gev(ops.cast(images_bxyz, "float32"), ops)
        if self._images is None:
            return ops.sum(gev_bxyz, axis=(1, 2))
        parts = [
            ops.reshape(
                part(gev_bxyz, (cells.start, 0, 0), (cells.stop - cells.start, 1, 1)),
                (-1, *self._images.shapes[name]),
            )
            for name, cells in self._images.cells.items()
        ]
        return ops.concatenate([ops.sum(each, axis=(1, 2)) for each in parts], axis=1)


def _polynomial(coefficients: tuple[float, ...], at: Any) -> Any:
    """As numpy.polyval: the highest power first (Horner)."""
    value = ops.zeros_like(at)
    for coefficient in coefficients:
        value = value * at + coefficient
    return value
