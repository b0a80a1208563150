"""Showers as pictures for TensorBoard: a look in passing, the report has the physics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DECADES = 4.0
"""From black to white; the halo of a shower is four decades below its core."""
_PIXELS = 8
"""Of a cell, along each side."""


def mean_picture(*samples_nxyz: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Mean showers from the side, one sample beside the other, as (1, height, width, 1).

    Each is the mean energy per (x, layer), summed over y; grey levels are those of the logarithm,
    the same for all.
    """
    return _picture([images.mean(axis=0).sum(axis=1) for images in samples_nxyz])


def single_pictures(count: int, *samples_nxyz: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The first `count` showers of all samples, side by side as in `mean_picture`."""
    pictures = [
        _picture([images[number].sum(axis=1) for images in samples_nxyz])
        for number in range(min(count, *map(len, samples_nxyz)))
    ]
    return np.concatenate(pictures)


def _picture(panels_xz: list[NDArray[np.float32]]) -> NDArray[np.uint8]:
    largest = max(float(panel.max()) for panel in panels_xz) or 1.0
    scaled = []
    for panel in panels_xz:
        with np.errstate(divide="ignore"):  # cells without energy are black
            level = 1.0 + np.log10(panel / largest) / _DECADES
        grey = np.round(255 * np.clip(level, 0.0, 1.0)).astype(np.uint8)
        # Along the layers to the right; a white line beside each panel.
        enlarged = np.kron(grey, np.ones((_PIXELS, _PIXELS), np.uint8))
        scaled.append(np.pad(enlarged, ((0, 0), (0, 2)), constant_values=255))
    picture: NDArray[np.uint8] = np.concatenate(scaled, axis=1)[None, :, :, None]
    return picture
