"""The texture of showers: what the neighbourhood of a cell with energy looks like.

Networks are betrayed by it before anything else: sums over many cells come out right where each
cell stands too much, or too little, by itself. Random 3 x 3 x 3 kernels run over the logarithms of
the cells, around every cell with energy, and of each kernel's answers it is noted how large they
are on average, how large without their sign, and how many are positive. Random convolution kernels
with a linear classifier are as good as trained ones for series in time (ROCKET: Dempster, Petitjean
and Webb, Data Min. Knowl. Discov. 34 (2020) 1454).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gan3d.validation.measures import Float

_KERNELS = 256
_UNIT_GEV = 1e-5
"""Cells far above it count by their logarithm, those far below hardly: a hit's threshold."""
_OFFSETS = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def textures(
    kept_kc: sparse.csr_array,
    shape: tuple[int, int, int],
    periodic: tuple[bool, bool, bool] = (False, False, False),
) -> Float:
    """Answers of random kernels to showers' cells (GeV), (K, cells): (K, 3 x kernels).

    0 for a shower without energy. Along `periodic` axes the last cells are the first ones'
    neighbours.
    """
    kernels_of = np.random.default_rng(0).normal(size=(len(_OFFSETS), _KERNELS))
    # Without an answer to what is the same all around: that is for the spectrum of energies.
    kernels_of = (kernels_of - kernels_of.mean(axis=0)).astype(np.float32)
    found_kf = np.zeros((kept_kc.shape[0], 3 * _KERNELS))
    for row in range(kept_kc.shape[0]):
        start, end = kept_kc.indptr[row], kept_kc.indptr[row + 1]
        if start == end:
            continue
        image_xyz = np.zeros(shape, np.float32)
        image_xyz.reshape(-1)[kept_kc.indices[start:end]] = kept_kc.data[start:end]
        found_kf[row] = _answers(image_xyz, kernels_of, periodic)
    return found_kf


def _answers(
    image_xyz: NDArray[np.float32],
    kernels_of: NDArray[np.float32],
    periodic: tuple[bool, bool, bool],
) -> Float:
    padded_xyz = image_xyz
    for axis, wraps in enumerate(periodic):
        beyond = [(0, 0)] * 3
        beyond[axis] = (1, 1)
        padded_xyz = np.pad(padded_xyz, beyond, mode="wrap" if wraps else "constant")
    padded_xyz = np.log1p(padded_xyz / np.float32(_UNIT_GEV))
    strides = np.array(padded_xyz.strides) // padded_xyz.itemsize
    lit_n = np.argwhere(image_xyz > 0.0) @ strides + strides.sum()
    patches_no = padded_xyz.reshape(-1)[lit_n[:, None] + _OFFSETS @ strides]
    answer_nf = patches_no @ kernels_of
    answers_f: Float = np.concatenate(
        [(answer_nf > 0.0).mean(axis=0), answer_nf.mean(axis=0), np.abs(answer_nf).mean(axis=0)]
    ).astype(np.float64)
    return answers_f
