"""Distributions layer by layer, as the Fast Calorimeter Challenge looks at them.

Its evaluation histograms, for each layer, the deposited energy, the centre of energy and its width
along two axes of the plane (there eta and phi), and the sparsity, beside the total energy over Ep
and the spectrum of cell energies, and takes the separation power of each (Krause et al.,
arXiv:2410.21611; evaluate.py and HighLevelFeatures.py of its repository). Total energy and spectrum
are `total_energy.separation` and `cell_energy.separation`; here is what is of layers, and a metric
is the mean over them. As there, energies are not divided by Ep.

Otherwise than there, bins are as wide as both samples together ask for, so that they fit any grid
and showers can be exchanged, and layers in which a quantity is not defined, as they are empty, are
a bin of their own and not 0 mm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from gan3d.validation.distances import bins_that_fill, separation_power
from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables

_FLOW_SHARE = 0.001
"""Of the showers, beyond the bins at either end, so that one outlier does not set their width."""


@dataclass(frozen=True)
class LayerQuantity:
    """A number of each layer of a shower."""

    title: str
    """What it is, for a reader."""
    values: Callable[[Observables], Float]
    """(N, layer); NaN where it is undefined."""
    unit: str = ""
    """For figures."""
    logarithmic: bool = False
    """Whether bins are of its logarithm."""


def _energy(sample: Observables) -> Float:
    """A layer below the threshold of a hit counts as empty."""
    energy_nz = sample.longitudinal_nz
    return np.where(energy_nz > sample.settings.hit_threshold_gev, energy_nz, np.nan)


LAYER_QUANTITIES: Mapping[str, LayerQuantity] = {
    "energy": LayerQuantity("Energy", _energy, "GeV", logarithmic=True),
    "hits": LayerQuantity("Hits", lambda s: s.layer_hits_ntz[:, 0].astype(np.float64)),
    "barycentre_x": LayerQuantity(
        "Barycentre in x", lambda s: s.layer_barycentre_mm_naz[:, 0], "mm"
    ),
    "barycentre_y": LayerQuantity(
        "Barycentre in y", lambda s: s.layer_barycentre_mm_naz[:, 1], "mm"
    ),
    "width_x": LayerQuantity("Width in x", lambda s: s.layer_width_mm_naz[:, 0], "mm"),
    "width_y": LayerQuantity("Width in y", lambda s: s.layer_width_mm_naz[:, 1], "mm"),
}
"""By name; the metric of each is `layers.NAME.separation`, that of a layer
`layer.NUMBER.NAME.separation`."""


def layer_separations(
    together: Observables, ours_rp: Float, theirs_rp: Float
) -> Mapping[str, Float]:
    """Separation power of every quantity in every layer, for R weightings: (R, layer) by name.

    `together` are the showers of both samples, weighted as in `gan3d.validation.metrics.compare`.
    """
    weights_pr = [np.ascontiguousarray(each.T, np.float32) for each in (ours_rp, theirs_rp)]
    fewer = int(min(each[0].sum() for each in (ours_rp, theirs_rp)))
    bins = bins_that_fill(fewer, together.settings)
    found = {}
    for name, quantity in LAYER_QUANTITIES.items():
        values_pz = quantity.values(together)
        values_pz = np.log10(values_pz) if quantity.logarithmic else values_pz
        in_bins = _in_bins(values_pz, bins)
        counts = [
            (in_bins @ each_pr).reshape(values_pz.shape[1], -1, each_pr.shape[1])
            for each_pr in weights_pr
        ]
        found[name] = separation_power(*(each_zbr.transpose(2, 0, 1) for each_zbr in counts))
    return found


def layer_metrics(separations: Mapping[str, Float]) -> dict[str, Float]:
    """The mean over layers of each quantity, by the metric's name: (R,)."""
    return {
        f"layers.{name}.separation": each_rz.mean(axis=1) for name, each_rz in separations.items()
    }


def of_each_layer(separations: Mapping[str, Float], prefix: str = "") -> dict[str, float]:
    """Every layer's separation, the mean over weightings, by its name in `metrics.json`."""
    return {
        _name(layer, name, prefix): float(value)
        for name, each_rz in separations.items()
        for layer, value in enumerate(each_rz.mean(axis=0))
    }


def from_metrics(metrics: Mapping[str, float], prefix: str = "") -> dict[str, Float]:
    """What `of_each_layer` has put into metrics, under names with this prefix: (layer,)."""
    found: dict[str, list[float]] = {name: [] for name in LAYER_QUANTITIES}
    for name, of_layers in found.items():
        while (value := metrics.get(_name(len(of_layers), name, prefix))) is not None:
            of_layers.append(value)
    return {name: np.array(of_layers) for name, of_layers in found.items()}


def _name(layer: int, quantity: str, prefix: str = "") -> str:
    return f"{prefix}layer.{layer}.{quantity}.separation"


def _in_bins(values_pz: Float, bins: int) -> sparse.csr_array:
    """Which showers are in a bin of a layer: (layer x bins, P), of 0 and 1.

    Bins of one width, one below and one above them, and one for what is undefined.
    """
    showers, layers = values_pz.shape
    defined_pz = np.isfinite(values_pz)
    low_z, high_z = np.zeros(layers), np.ones(layers)
    some_z = defined_pz.any(axis=0)
    if some_z.any():
        low_z[some_z], high_z[some_z] = np.nanquantile(
            values_pz[:, some_z], [_FLOW_SHARE, 1.0 - _FLOW_SHARE], axis=0
        )
    width_z = np.where(high_z > low_z, high_z - low_z, 1.0) / bins
    place_pz = np.floor((np.where(defined_pz, values_pz, low_z) - low_z) / width_z)
    place_pz = np.where(defined_pz, np.clip(place_pz, -1, bins) + 1, bins + 2).astype(np.int64)
    rows_pz = np.arange(layers) * (bins + 3) + place_pz
    columns_pz = np.broadcast_to(np.arange(showers)[:, None], rows_pz.shape)
    entries = np.ones(rows_pz.size, np.float32), (rows_pz.ravel(), columns_pz.ravel())
    return sparse.csr_array(entries, shape=(layers * (bins + 3), showers))
