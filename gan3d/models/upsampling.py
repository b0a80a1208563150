"""The convolution of an image whose cells are repeated, without repeating them.

A convolution of an image that was made `u` times larger by repeating its cells meets each of them
several times: with u = 2 and 8 taps along an axis, every output is a sum over 8 taps, but over 4 or
5 different cells. So the taps that meet the same cell are added first. Which those are depends on
where in a cell the output lies, its *phase* (0 to u - 1 along each axis). All phases are the
channels of one convolution of the small image, and are then put side by side. For the second
convolution of `ecal25` that is 3 in 10 of the products, in full registers; sub-pixel convolution
(Shi et al. 2016) is such a layer whose phases have weights of their own.

What is computed is the convolution of the repeated cells; only the order of the sums is another.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from gan3d.models.convolution import Pads
from gan3d.models.slicing import part

Factors = tuple[int, int, int]
Convolve = Callable[[Any, Any, Pads], Any]


def convolve_upsampled(
    images_bxyzc: Any, kernel: Any, pads: Pads, factors: Factors, convolve: Convolve
) -> Any:
    """Convolve images (B, x, y, layer, channels) of which each cell is repeated `factors` times.

    `kernel` (x, y, layer, channels, filters) and the zeros `pads` are those of the large images;
    `convolve(images, kernel, pads)` is how the small ones are convolved.
    """
    cells = images_bxyzc.shape[1:4]
    channels, filters = kernel.shape[3:]
    axes = [_Axis.of(*each) for each in zip(cells, kernel.shape[:3], pads, factors, strict=True)]
    x, y, z = axes
    # Taps that meet the same cell, added, axis by axis; phases along the layers come first, as they
    # end side by side in memory.
    summed = ops.convert_to_tensor(kernel)
    for each in axes:
        # (tap, ...) -> (..., phase, tap of the small kernel)
        by_phase = np.reshape(each.of_taps, (-1, each.of_taps.shape[2])).T
        rows = ops.reshape(summed, (summed.shape[0], -1))
        rest = (*summed.shape[1:], each.phases, each.taps)
        by_phase = ops.convert_to_tensor(by_phase, dtype=rows.dtype)
        summed = ops.reshape(ops.matmul(ops.transpose(rows), by_phase), rest)
    # Now (channel, filter, phase x, tap x, phase y, tap y, phase z, tap z).
    summed = ops.transpose(summed, (3, 5, 7, 0, 6, 4, 2, 1))
    phases = x.phases * y.phases * z.phases
    summed = ops.reshape(summed, (x.taps, y.taps, z.taps, channels, phases * filters))
    out = convolve(images_bxyzc, summed, (x.pads, y.pads, z.pads))

    # Phases from channels to between the cells: along the layers they lie there already.
    out = ops.reshape(out, (-1, y.cells, z.cells * z.phases, y.phases, x.phases * filters))
    out = ops.transpose(out, (0, 1, 3, 2, 4))
    plane = y.cells * y.phases * z.cells * z.phases
    out = ops.reshape(out, (-1, x.cells, plane, x.phases, filters))
    out = ops.transpose(out, (0, 1, 3, 2, 4))
    out = ops.reshape(
        out,
        (-1, x.cells * x.phases, y.cells * y.phases, z.cells * z.phases, filters),
    )
    return part(out, (0, 0, 0, 0), (x.out, y.out, z.out, filters))


def repeat_cells(images_bxyzc: Any, factors: Factors) -> Any:
    """Images in which each cell is repeated `factors` times along (x, y, layer)."""
    for axis, factor in enumerate(factors, start=1):
        if factor > 1:
            images_bxyzc = ops.repeat(images_bxyzc, factor, axis=axis)
    return images_bxyzc


class _Axis:
    """Where taps and phases are along one axis."""

    def __init__(self, out: int, pads: tuple[int, int], of_taps: NDArray[np.float32]) -> None:
        self.out = out
        """Cells of the convolved image."""
        self.pads = pads
        """Zeros around the small image."""
        self.of_taps = of_taps
        """1 where a tap of the large kernel meets the cell of one of the small kernel: (phase, tap
        of the small one, tap of the large one)."""
        self.phases, self.taps, _ = of_taps.shape
        self.cells = ceil(out / self.phases)
        """Outputs of the small convolution: the phases of the last one may be too many."""

    @classmethod
    def of(cls, cells: int, taps: int, pads: tuple[int, int], factor: int) -> _Axis:
        before, after = pads
        out = factor * cells + before + after - taps + 1
        phase, tap = np.meshgrid(np.arange(factor), np.arange(taps), indexing="ij")
        meets = (phase + tap - before) // factor  # the cell, from that of the output on
        first = int(meets.min())
        found = np.zeros((factor, int(meets.max()) - first + 1, taps), np.float32)
        found[phase, meets - first, tap] = 1.0
        last = ceil(out / factor) - 1 + int(meets.max())
        return cls(out, (-first, last - cells + 1), found)
