"""Incident particles, and the electrons that shower for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Simulation
from gan3d.simulation.randomness import Purpose, ShowerRandomness

Array = NDArray[np.float64]

PDG_CODES = {"e-": 11, "e+": -11, "gamma": 22}
ELECTRON_MASS_GEV = 0.000_510_998_95
"""Particle Data Group 2024."""
CONVERSION_X0 = 9.0 / 7.0
"""Mean free path of a hard photon before it converts, in radiation lengths."""
WINDOW_LAYER = 8
"""Images of a variable angle are shifted along y so that the straight track crosses this layer in
the central row of cells, as in the published files."""


@dataclass(frozen=True)
class Incident:
    """N incident particles, and the C = 1 or 2 electrons that shower for each of them."""

    energy_n: NDArray[np.float32]
    """Kinetic energy, GeV."""
    theta_n: Array
    """Polar angle, rad."""
    x_n: Array
    """Where the particle enters, mm from the centre of the front."""
    y_n: Array
    """The same along y."""
    window_n: NDArray[np.int32]
    """Shift of the image along y, cells."""
    cascade_energy_nc: Array
    """Energy of each electron, GeV."""
    cascade_start_nc: Array
    """Where it starts along the axis, radiation lengths."""
    normal_nc2: Array
    """Two standard normal numbers for the shape of its shower."""


def draw_incident(
    simulation: Simulation, randomness: ShowerRandomness, first: int, stop: int
) -> Incident:
    """Return the incident particles of showers `first` to `stop`.

    A photon converts after an exponential path and its pair shares its energy; electrons and
    positrons shower from the front on.
    """
    count, beam = stop - first, simulation.beam
    uniform_nu, normal_nc2 = np.empty((count, 6)), np.empty((count, 2, 2))
    for row in range(count):
        rng = randomness.at(first + row, Purpose.INCIDENT)
        rng.random(out=uniform_nu[row])
        rng.standard_normal(out=normal_nc2[row])
    energy_n = _between(beam.energy_gev, uniform_nu[:, 0]).astype(np.float32)
    theta_n = np.radians(_between(beam.theta_deg or (90.0, 90.0), uniform_nu[:, 1]))
    x_n, y_n = _entry(simulation, uniform_nu[:, 2], uniform_nu[:, 3])
    share_nc, start_nc = np.ones((count, 1)), np.zeros((count, 1))
    if beam.particle == "gamma":
        share_nc = pair_shares(uniform_nu[:, 4])
        start_nc = -CONVERSION_X0 * np.log1p(-uniform_nu[:, 5:6]) * np.ones(2)
    return Incident(
        energy_n=energy_n,
        theta_n=theta_n,
        x_n=x_n,
        y_n=y_n,
        window_n=_window(simulation, theta_n, y_n),
        cascade_energy_nc=share_nc * energy_n[:, np.newaxis],
        cascade_start_nc=start_nc,
        normal_nc2=normal_nc2[:, : share_nc.shape[1]],
    )


def pair_shares(uniform_n: Array) -> Array:
    """Return the shares of a photon's energy that its pair takes, shape (N, 2).

    The share z of one of them has the density 1 - 4/3 z (1 - z), that of hard photons under
    complete screening (Particle Data Group, "Passage of particles through matter"). Its CDF is a
    cubic in z - 1/2 with one real root.
    """
    cubic_n = math.sqrt(2.0) * 0.875 * (2.0 * uniform_n - 1.0)
    one_n = 0.5 + math.sqrt(2.0) * np.sinh(np.arcsinh(cubic_n) / 3.0)
    return np.stack([one_n, 1.0 - one_n], axis=1)


def incident_columns(simulation: Simulation, incident: Incident) -> dict[str, NDArray[Any]]:
    """Return what a file says of the particles: pdg, px, py, pz; theta, eta, ywindow if it varies.

    The energy is kinetic; the momentum is (0, p cos θ, p sin θ), GeV.
    """
    beam = simulation.beam
    mass = 0.0 if beam.particle == "gamma" else ELECTRON_MASS_GEV
    energy_n = incident.energy_n.astype(np.float64)
    momentum_n = np.sqrt(energy_n * (energy_n + 2.0 * mass))
    columns: dict[str, NDArray[Any]] = {
        "pdg": np.full(len(energy_n), PDG_CODES[beam.particle], np.int32),
        "px": np.zeros(len(energy_n), np.float32),
        "py": np.zeros(len(energy_n), np.float32),
        "pz": momentum_n.astype(np.float32),
    }
    if beam.theta_deg is not None:
        columns |= {
            "py": (momentum_n * np.cos(incident.theta_n)).astype(np.float32),
            "pz": (momentum_n * np.sin(incident.theta_n)).astype(np.float32),
            "theta": incident.theta_n.astype(np.float32),
            "eta": -np.log(np.tan(incident.theta_n / 2.0)).astype(np.float32),
            "ywindow": incident.window_n,
        }
    return columns


def _entry(simulation: Simulation, first_n: Array, second_n: Array) -> tuple[Array, Array]:
    """Where particles enter, (x, y) from the middle in mm: in the central cell, or on the axis."""
    geometry = simulation.geometry
    if geometry.is_cylinder:
        return np.zeros(len(first_n)), np.zeros(len(first_n))
    (nx, ny, _), (pitch_x, pitch_y, _) = geometry.shape, geometry.pitch
    return (first_n + nx // 2 - nx / 2) * pitch_x, (second_n + ny // 2 - ny / 2) * pitch_y


def _between(bounds: tuple[float, float], uniform_n: Array) -> Array:
    low, high = bounds
    return low + (high - low) * uniform_n


def _window(simulation: Simulation, theta_n: Array, y_n: Array) -> NDArray[np.int32]:
    _, ny, layers = simulation.image_shape
    _, pitch_y, pitch_z = simulation.geometry.pitch
    if simulation.beam.theta_deg is None:
        return np.zeros(len(y_n), np.int32)
    depth = (min(WINDOW_LAYER, layers - 1) + 0.5) * pitch_z
    track_n = (y_n + depth / np.tan(theta_n)) / pitch_y + ny / 2
    return np.asarray(np.floor(track_n) - ny // 2).astype(np.int32)
