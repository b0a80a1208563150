"""The LCD schema, as in the published files of 3DGAN.

Fixed angle (`EleEscan_*.h5`): `ECAL` (N, x, y, layer) holds cell energies in GeV, `target` (N, 5)
or (N, 1, 5) the incident particle as [PDG code, E, px, py, pz] in GeV, code 0 where it is not
known. Variable angle
(`EleMeasured3ThetaEscan_*.h5`): `ECAL`, `energy` in GeV, `theta`, and where they are known `mtheta`
and `eta`, (N,) or (N, 1) each, or, where the true angle is not known, `mtheta` without `theta`; a
`target` may be there, too. Any other dataset with one number a
shower, such as `ywindow`, is a column as well. Files of the whole calorimeter have `HCAL`
(N, x, y, layer) beside `ECAL`: a further image of the same showers, in cells of its own.

Published files of variable angle do not say the particle inside; their names begin with it. Where
neither `target` nor `pdg` is there, the column `pdg` is that of a name of exactly this convention
(`named_particle`), the same for every shower.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from gan3d.config import FIRST_IMAGE
from gan3d.config.schema.model import POLAR_ANGLES
from gan3d.data.chunks import StoredCells
from gan3d.data.hdf5 import Hdf5File, Hdf5Output, check_rows, find_dataset
from gan3d.data.new_file import NewFile
from gan3d.data.showers import UNKNOWN_PARTICLE
from gan3d.data.sparse import SparseShowers, split_images
from gan3d.errors import DataError

ECAL = FIRST_IMAGE

TARGET_COLUMNS = ("pdgID", "E", "px", "py", "pz")
_MOMENTUM = ("px", "py", "pz")
_TARGET = ("pdg", *_MOMENTUM)
"""Columns that `target` holds besides the energy."""
_ANGLES = ("theta", "mtheta", "eta")

_NAMED = {"Ele": 11, "Gamma": 22, "Pi0": 111, "ChPi": 211}
"""PDG codes of the particles that names of published files begin with."""
_NAME = re.compile(rf"({'|'.join(_NAMED)})(Measured3Theta)?Escan")
_MAKER = ("generator", "gan3d ")
"""An attribute of the files that gan3d makes, and how it begins."""


def named_particle(path: Path) -> int | None:
    """PDG code of the particle that a name such as `EleMeasured3ThetaEscan_1.h5` begins with.

    None for all other names. Of charged pions the name has no sign: 211.
    """
    found = _NAME.match(path.name)
    return _NAMED[found[1]] if found else None


class LcdFile(Hdf5File):
    """An LCD file of fixed or variable angle."""

    layout = "lcd"

    def __init__(self, path: Path, file: h5py.File, image: str = ECAL) -> None:
        """Take over the open `file` at `path`, whose images are those of the dataset `image`.

        Raises DataError if it is not a sound LCD file, or has no such images.
        """
        if image not in file:
            raise DataError(
                f"{path}: has no dataset '{image}', a further image of its showers; it has "
                f"{', '.join(sorted(file))} (data.further_images names those to be read)"
            )
        cells = find_dataset(file, path, image)
        shape = cells.shape
        if shape is None or len(shape) != 4 or 0 in shape[1:]:
            raise DataError(f"{path}: '{image}' has shape {shape}, expected (N, x, y, layer)")
        self._target = self._energy = None
        own = [image]
        if "target" in file:
            own.append("target")
            self._target = find_dataset(file, path, "target")
            check_rows(self._target, path, cells, len(TARGET_COLUMNS))
        if has_angle(file):
            own.append("energy")
            self._energy = find_dataset(file, path, "energy")
            for name in ("energy", *_ANGLES):
                if name in file:
                    check_rows(find_dataset(file, path, name), path, cells)
        # What gan3d makes says inside what it knows, whatever it is called.
        made = str(file.attrs.get(_MAKER[0], "")).startswith(_MAKER[1])
        says = self._target is not None or "pdg" in file or made
        self._named = None if says else named_particle(path)
        said = () if self._target is None else _TARGET
        super().__init__(path, file, cells, own=own, said=said)
        others = self.left_out
        self.further_images = tuple(name for name in others if _holds_cells(file.get(name)))
        self.left_out = tuple(name for name in others if name not in self.further_images)
        self._store(StoredCells(path, cells), (shape[1], shape[2], shape[3]))

    def read_energies(self, first: int, stop: int) -> NDArray[np.float32]:
        """See `ShowerFile`."""
        if self._energy is None:
            return self._read_single(self._target, first, stop)[:, 1]
        return self._read_single(self._energy, first, stop)[:, 0]

    def read_columns(self, first: int, stop: int) -> dict[str, NDArray[Any]]:
        """See `ShowerFile`. Raises DataError for a PDG code that is not a whole number, too."""
        further = self._read_further(first, stop)
        if self._named is not None:
            rows = len(range(self.count)[first:stop])
            return {"pdg": np.full(rows, self._named, np.int32), **further}
        if self._target is None:
            return further
        target_n5 = self._read(self._target, first, stop)
        momentum = {name: target_n5[:, 2 + axis] for axis, name in enumerate(_MOMENTUM)}
        return {"pdg": self._codes(target_n5[:, 0], first), **momentum, **further}

    def _codes(self, code_n: NDArray[Any], first: int) -> NDArray[np.int32]:
        good_n = (np.abs(code_n) < 2**31) & (code_n == np.round(code_n))
        if not good_n.all():
            row = int(np.argmin(good_n))
            raise DataError(
                f"{self.path}: shower {first + row}: the PDG code must be a whole number, it is "
                f"{code_n[row]:g}"
            )
        return code_n.astype(np.int32)


def _holds_cells(item: object) -> bool:
    """Whether an item of a file can be an image of showers, of however many."""
    return (
        isinstance(item, h5py.Dataset)
        and item.dtype.kind == "f"
        and item.shape is not None
        and len(item.shape) == 4
        and 0 not in item.shape[1:]
    )


def has_angle(names: Iterable[str]) -> bool:
    """Whether a file with these datasets is one of variable angle."""
    there = set(names)
    return "energy" in there and not there.isdisjoint(POLAR_ANGLES)


_MASSES_GEV = {
    11: 0.000_510_998_95,  # electron
    13: 0.105_658_375_5,  # muon
    22: 0.0,  # photon
    111: 0.134_976_8,  # pions
    211: 0.139_570_39,
    130: 0.497_611,  # kaons: K0L, K0S, K+
    310: 0.497_611,
    321: 0.493_677,
    2112: 0.939_565_42,  # neutron
    2212: 0.938_272_09,  # proton
}
"""Masses of the particles that calorimeters see, by PDG code, and of their antiparticles:
S. Navas et al. (Particle Data Group), Phys. Rev. D 110 (2024) 030001."""
# Whose energy files state as the kinetic one. Of all others it is the total one: the convention of
# the LCD samples for electrons and pions.
_KINETIC = (11, 13)

_NOTES = {
    "ECAL": {"unit": "GeV", "axes": "shower, x, y, layer"},
    "target": {"unit": "GeV", "columns": ", ".join(TARGET_COLUMNS)},
    "energy": {"unit": "GeV"},
}


def write_lcd(groups: Iterable[SparseShowers], new: NewFile) -> None:
    """Write `groups` of showers, in GeV, each as a chunk; see `writer.write_showers`."""
    images = new.images
    with Hdf5Output(new) as output:
        for showers in groups:
            rows = _rows(showers, new)
            if images is None:
                output.append(ECAL, showers, rows, _NOTES)
                continue
            first, *further = split_images(showers, images).items()
            output.append(*first, rows, _NOTES, further=dict(further))


def _rows(showers: SparseShowers, new: NewFile) -> dict[str, NDArray[Any]]:
    """Return what the small datasets get for `showers`."""
    columns = showers.columns
    rows: dict[str, NDArray[Any]] = {}
    in_target = "theta" not in columns or all(name in columns for name in _TARGET)
    if "theta" in columns:
        rows["energy"] = showers.energy_n[:, None]
    if in_target:
        rows["target"] = target_n5 = _target(showers.energy_n, columns, new.pdg_id)
        wrong_n = target_n5[:, 0] != columns.get("pdg", new.pdg_id)
        if wrong_n.any():
            code = columns["pdg"][np.argmax(wrong_n)]
            raise DataError(f"{new.path}: 'target' cannot hold PDG code {code} exactly")
    elif "pdg" not in columns and new.pdg_id != UNKNOWN_PARTICLE:
        rows["pdg"] = np.full((len(showers), 1), new.pdg_id, np.int32)
    further = (name for name in columns if not (in_target and name in _TARGET))
    return rows | {name: columns[name][:, None] for name in further}


def _target(
    energy_n: NDArray[np.float32], columns: Mapping[str, NDArray[Any]], pdg_id: int
) -> NDArray[np.floating[Any]]:
    """Return `target`: the columns that are there, and the momentum of a particle along z.

    It is NaN for a code whose mass is not known.
    """
    code_n = columns.get("pdg", np.full(len(energy_n), pdg_id))
    momentum = {name: columns[name] for name in _MOMENTUM if name in columns}
    along_z = {"px": np.zeros_like(energy_n), "py": np.zeros_like(energy_n)}
    if "pz" not in momentum:
        along_z["pz"] = _momentum(energy_n, code_n)
    dtype = np.result_type(np.float32, *(values.dtype for values in momentum.values()))
    vector = {**along_z, **momentum}
    values = (code_n, energy_n, *(vector[name] for name in _MOMENTUM))
    return np.stack([each.astype(dtype) for each in values], axis=1)


def _momentum(energy_n: NDArray[np.float32], code_n: NDArray[Any]) -> NDArray[np.float32]:
    """Return the momentum of particles `code_n`, GeV, shape (N,)."""
    momentum_n = np.empty(len(energy_n), np.float64)
    for code in np.unique(code_n):
        mass_gev = _MASSES_GEV.get(abs(int(code)), np.nan)
        here_n = code_n == code
        energy = energy_n[here_n].astype(np.float64)
        total = energy + mass_gev if abs(code) in _KINETIC else energy
        momentum_n[here_n] = np.sqrt(np.maximum(total**2 - mass_gev**2, 0.0))
    return momentum_n.astype(np.float32)
