"""Parametric electromagnetic showers in a sampling calorimeter.

No particle is tracked. A shower's energy is spread along its axis by a gamma distribution whose
shape fluctuates (`gflash`), and put down there in energy spots at random radii. What a cell's
spots hold then fluctuates as the signal of a sampling calorimeter does. Such showers look right in
their profiles, fluctuations and sparsity, and serve tests and benchmarks of any size.

What leaks out at the back goes on in calorimeters behind (`Simulation.behind`): the same shower, by
the same profile along the axis in radiation lengths (equation 2 of hep-ex/0001020 on beyond the
back, with the maximum and the shape that the first medium gives), in their layers, Molière radius,
sampling and cells. That the profile in radiation lengths is little changed by the material behind
is an assumption; the paper has it of one medium.

They are no substitute for Monte Carlo: backscatter, single hard bremsstrahlung, the tails of a
sensor's signal and most correlations between cells are not there. A network that is trained on
them learns these formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Simulation
from gan3d.data.sparse import SparseShowers, cell_dtype, join_images
from gan3d.simulation import gflash
from gan3d.simulation.angle import measured_theta
from gan3d.simulation.incident import Incident, draw_incident, incident_columns
from gan3d.simulation.randomness import Purpose, ShowerRandomness

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Cells = NDArray[np.int64]

BLOCK_SHOWERS = 200
"""Showers simulated at once: about 200 000 lit cells, a few megabytes. No shower depends on it."""


@dataclass(frozen=True)
class Steps:
    """N showers along their axes, in J = C K steps, each as long as a layer is thick."""

    energy_nj: Array
    """Deposited energy, GeV."""
    spots_nj: Array
    """Mean number of energy spots."""
    core_nj: Single
    """Radius of the core, mm."""
    tail_nj: Single
    """Radius of the tail, mm."""
    core_share_nj: Single
    """Share of the energy in the core."""
    middle_j: Single
    """Distance of the step's middle from the front along the axis, mm."""


class ShowerSimulator:
    """Showers by number: shower `i` of a seed is the same whatever else is simulated.

    To the bit, on machines of one kind: sines and logarithms may differ in their last bit between
    processors.
    """

    def __init__(self, simulation: Simulation, seed: int) -> None:
        """Simulate as `simulation` says, with the random numbers of `seed` (at least 0)."""
        self.simulation = simulation
        self.seed = seed
        self._randomness = ShowerRandomness(seed)
        self._medium = gflash.Medium.of(simulation.calorimeter)
        # Of one that lies behind: what makes the shape of showers, and how deep its front is.
        self._shaping = self._medium
        self._front_x0 = 0.0
        self._purpose: int = Purpose.SPOTS
        self._behind: list[ShowerSimulator] = []
        front = self._depth_x0()
        for number, calorimeter in enumerate(simulation.behind.values(), start=1):
            alone = simulation.model_copy(update={"calorimeter": calorimeter, "behind": {}})
            other = ShowerSimulator(alone, seed)
            other._shaping, other._front_x0 = self._medium, front
            other._purpose = Purpose.SPOTS + number
            front += other._depth_x0()
            self._behind.append(other)

    def _depth_x0(self) -> float:
        """How deep the calorimeter is, in radiation lengths."""
        return self.simulation.image_shape[2] * self._medium.layer_x0

    def blocks(self, first: int, stop: int) -> Iterator[SparseShowers]:
        """Yield showers `first` to `stop`, at most `BLOCK_SHOWERS` at a time."""
        for start in range(first, stop, BLOCK_SHOWERS):
            yield self.simulate(start, min(start + BLOCK_SHOWERS, stop))

    def simulate(self, first: int, stop: int) -> SparseShowers:
        """Return showers `first` to `stop`, in GeV, with the columns of `incident_columns`.

        For a variable angle there is the column mtheta, too: see `measured_theta`. Cells of
        calorimeters behind are joined to the first one's (`gan3d.config.images`).
        """
        incident = self.incident(first, stop)
        showers = self._image(first, stop, incident)
        if self._behind:
            behind = [each._image(first, stop, incident) for each in self._behind]
            showers = join_images([showers, *behind])
        columns = incident_columns(self.simulation, incident)
        if "theta" in columns:
            theta_n = measured_theta(showers, self.simulation.geometry.pitch)
            columns["mtheta"] = theta_n.astype(np.float32)
        return replace(showers, columns=columns)

    def _image(self, first: int, stop: int, incident: Incident) -> SparseShowers:
        """What this calorimeter alone sees of showers `first` to `stop`."""
        steps = self.develop(incident)
        cells, deposits = [], []
        for row in range(stop - first):
            rng = self._randomness.at(first + row, self._purpose)
            cell_h, deposit_h = self._read_out(rng, *self._spots(rng, incident, steps, row))
            cells.append(cell_h)
            deposits.append(deposit_h)
        shape = self.simulation.image_shape
        return SparseShowers(
            shape,
            np.cumsum([0, *(len(cell_h) for cell_h in cells)], dtype=np.int64),
            np.concatenate(cells).astype(cell_dtype(shape)),
            np.concatenate(deposits),
            incident.energy_n,
        )

    def incident(self, first: int, stop: int) -> Incident:
        """Return the incident particles of showers `first` to `stop`."""
        return draw_incident(self.simulation, self._randomness, first, stop)

    def develop(self, incident: Incident) -> Steps:
        """Return how the showers of `incident` develop along their axes."""
        calorimeter, medium = self.simulation.calorimeter, self._medium
        energy = incident.cascade_energy_nc[..., np.newaxis]
        moments = gflash.shape_moments(self._shaping.log_y(energy), self._shaping)
        maximum, alpha = moments.draw(incident.normal_nc2[:, :, np.newaxis])
        steps = self._step_count()
        depth_k = self._front_x0 + np.arange(steps + 1) * medium.layer_x0
        depth = depth_k - incident.cascade_start_nc[..., np.newaxis]
        middle = np.maximum(depth[..., :-1] + 0.5 * medium.layer_x0, 0.0)
        tau = gflash.scaled_depth(middle, maximum, alpha, moments.mean_log_alpha)
        profile = gflash.radial_profile(energy, tau, medium)
        spots = gflash.mean_spots(energy, calorimeter.sampling_resolution)
        spot_maximum, spot_alpha = gflash.spot_shape(maximum, alpha, medium)
        spots_nck = spots * np.diff(gflash.contained(depth, spot_maximum, spot_alpha))
        middle_k = (np.arange(steps) + 0.5) * calorimeter.cell_size_mm[2]
        return Steps(
            energy_nj=_flat(energy * np.diff(gflash.contained(depth, maximum, alpha))),
            spots_nj=_flat(calorimeter.spot_density * spots_nck),
            core_nj=_flat(calorimeter.moliere_radius_mm * profile.core).astype(np.float32),
            tail_nj=_flat(calorimeter.moliere_radius_mm * profile.tail).astype(np.float32),
            core_share_nj=_flat(profile.core_share).astype(np.float32),
            middle_j=np.tile(middle_k, energy.shape[1]).astype(np.float32),
        )

    def _step_count(self) -> int:
        """Steps until no axis of the beam is near the calorimeter's back any more."""
        layers = self.simulation.image_shape[2]
        if self.simulation.beam.theta_deg is None:
            return layers
        # The side of a slanted shower comes back into the last layers: two Molière radii of it.
        calorimeter = self.simulation.calorimeter
        side = 2.0 * calorimeter.moliere_radius_mm / calorimeter.cell_size_mm[2]
        cosine = max(abs(math.cos(math.radians(theta))) for theta in self.simulation.beam.theta_deg)
        return math.ceil(layers / math.sqrt(1.0 - cosine**2) + side * cosine)

    def _spots(
        self, rng: np.random.Generator, incident: Incident, steps: Steps, row: int
    ) -> tuple[Cells, Array]:
        """Return the cells and energies (GeV) of a shower's spots that lie in the calorimeter.

        Positions are in single precision, which takes half the time.
        """
        energy_j, mean_j = steps.energy_nj[row], steps.spots_nj[row]
        # At random up or down; but without a spot the energy would be lost.
        count_j = np.floor(mean_j + rng.random(len(mean_j))).astype(np.int64)
        count_j = np.maximum(count_j, energy_j > 0)
        step_s = np.repeat(np.arange(len(count_j)), count_j)
        radius_s = radii(
            rng.random(len(step_s), dtype=np.float32),
            steps.core_nj[row][step_s],
            steps.tail_nj[row][step_s],
            steps.core_share_nj[row][step_s],
        )
        phi_s = 2.0 * math.pi * rng.random(len(step_s), dtype=np.float32)
        x_s = float(incident.x_n[row]) + radius_s * np.cos(phi_s)
        aside_s, z_s = radius_s * np.sin(phi_s), steps.middle_j[step_s]
        if self.simulation.beam.theta_deg is None:
            y_s = float(incident.y_n[row]) + aside_s
        else:
            y_s, z_s = self._slanted(rng, incident, row, aside_s, z_s)
        cell_s, inside_s = self._cells(x_s, y_s, z_s)
        energy_s = (energy_j / np.maximum(count_j, 1))[step_s]
        return cell_s[inside_s], energy_s[inside_s]

    def _slanted(
        self,
        rng: np.random.Generator,
        incident: Incident,
        row: int,
        aside_s: Single,
        middle_s: Single,
    ) -> tuple[Single, Single]:
        """Return (y, z) of spots along an axis of polar angle θ in the plane x = const, in mm.

        `aside_s` is their distance from the axis in that plane, `middle_s` their step's middle; in
        the step they are uniform. The window's shift is taken off.
        """
        _, pitch_y, pitch_z = self.simulation.geometry.pitch
        along_s = middle_s + pitch_z * (rng.random(len(middle_s), dtype=np.float32) - 0.5)
        theta = float(incident.theta_n[row])
        start = float(incident.y_n[row] - incident.window_n[row] * pitch_y)
        y_s = start + along_s * math.cos(theta) + aside_s * math.sin(theta)
        return y_s, along_s * math.sin(theta) - aside_s * math.cos(theta)

    def _cells(self, x_s: Single, y_s: Single, z_s: Single) -> tuple[Cells, NDArray[np.bool_]]:
        """Return the cells of points (mm), and which of the points are in the calorimeter."""
        geometry = self.simulation.geometry
        (nx, ny, layers), (pitch_x, pitch_y, pitch_z) = geometry.shape, geometry.pitch
        if geometry.is_cylinder:
            # From -pi on; pi itself is where it begins.
            turn_s = (np.arctan2(y_s, x_s) + math.pi) / pitch_x
            column_s = np.floor(turn_s).astype(np.int64) % nx
            row_s = np.floor(np.hypot(x_s, y_s) / pitch_y).astype(np.int64)
        else:
            column_s = np.floor(x_s / pitch_x + nx / 2).astype(np.int64)
            row_s = np.floor(y_s / pitch_y + ny / 2).astype(np.int64)
        layer_s = np.floor(z_s / pitch_z).astype(np.int64)
        inside_s = (column_s >= 0) & (column_s < nx) & (row_s >= 0) & (row_s < ny)
        inside_s &= (layer_s >= 0) & (layer_s < layers)
        return (column_s * ny + row_s) * layers + layer_s, inside_s

    def _read_out(
        self, rng: np.random.Generator, cell_s: Cells, energy_s: Array
    ) -> tuple[Cells, Single]:
        """Return the lit cells, ascending, and what their sensors see (GeV).

        The paper lets the energy E of a step fluctuate by a gamma distribution of mean E and
        variance c² E (in GeV). Sums of such numbers are such numbers, so cells that fluctuate each
        for itself give the same sum.
        """
        calorimeter = self.simulation.calorimeter
        variance = calorimeter.sampling_resolution**2
        total_c = np.bincount(cell_s, energy_s, minlength=math.prod(self.simulation.image_shape))
        cell_h = np.flatnonzero(total_c > 0)
        seen_h = variance * rng.standard_gamma(total_c[cell_h] / variance)
        deposit_h = (calorimeter.sampling_fraction * seen_h).astype(np.float32)
        kept_h = deposit_h >= max(calorimeter.threshold_gev, _SMALLEST)
        return cell_h[kept_h], deposit_h[kept_h]


_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


def radii(uniform_s: Single, core_s: Single, tail_s: Single, core_share_s: Single) -> Single:
    """Return distances from the axis, drawn by uniform numbers from 0 to below 1.

    The CDF of each component is r²/(r²+R²). What is left of a number once it has chosen the
    component is uniform too: a/(a+b), for which r = R sqrt(a/b).
    """
    in_core_s = uniform_s < core_share_s
    a_s = np.where(in_core_s, uniform_s, uniform_s - core_share_s)
    b_s = np.where(in_core_s, core_share_s, np.float32(1.0)) - uniform_s
    return np.asarray(np.where(in_core_s, core_s, tail_s) * np.sqrt(a_s / b_s))


def _flat(values_nck: Array) -> Array:
    return values_nck.reshape(len(values_nck), -1)
