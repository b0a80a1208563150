"""Showers from a generator, shower by shower reproducible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gan3d.config import Data

if TYPE_CHECKING:
    import keras


def latent_block(seed: int, first: int, count: int, latent_dim: int) -> NDArray[np.float32]:
    """Standard normal latents (count, latent_dim) of the showers `first` to `first + count`.

    Every shower has a counter-based stream of its own (Philox, keyed by seed and shower), so a
    shower does not depend on the batch that it is made in.
    """
    latent_bz = np.empty((count, latent_dim), np.float32)
    for row in range(count):
        bits = np.random.Philox(key=np.array([seed, first + row], np.uint64))
        np.random.Generator(bits).standard_normal(out=latent_bz[row], dtype=np.float32)
    return latent_bz


def drawn_ahead(
    draw: Callable[[int, int], NDArray[Any]], count: int, batch_size: int
) -> Iterator[NDArray[Any]]:
    """What `draw(first, rows)` gives for each batch of `count` showers, in their order.

    Each is drawn in a thread while the one before it is worked on.
    """
    with ThreadPoolExecutor(1, "gan3d-draws") as thread:
        ahead = None
        for first in range(0, count, batch_size):
            now, ahead = ahead, thread.submit(draw, first, min(batch_size, count - first))
            if now is not None:
                yield now.result()
        if ahead is not None:
            yield ahead.result()


def sample_images(
    generator: keras.Model,
    energy_n: NDArray[np.floating[Any]],
    data: Data,
    *,
    latent_dim: int,
    seed: int,
    batch_size: int,
    first: int = 0,
    labels_nc: NDArray[np.float32] | None = None,
    draw: Callable[[int, int], NDArray[np.float32]] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Images (B, x, y, layer) in GeV for incident energies `energy_n` (GeV), batch by batch.

    `data` gives the energy scale, the scale of the cell energies and the threshold that the
    showers of the experiment have;
    `first` is the number of the first shower within its seed. `labels_nc` are the further
    conditions, as the network sees them, where it has some. `draw(start, rows)` gives latents
    other than the seed's, from one of `energy_n` on.
    """
    import keras

    def drawn(start: int, rows: int) -> NDArray[np.float32]:
        return latent_block(seed, first + start, rows, latent_dim)

    latents = drawn_ahead(draw or drawn, len(energy_n), batch_size)
    for start, latent_bz in zip(range(0, len(energy_n), batch_size), latents, strict=True):
        energy_b1 = np.asarray(energy_n[start : start + batch_size], np.float32)[:, None]
        # All batches have one shape, so that the graph is traced once: the last one is padded.
        padding = ((0, min(batch_size, len(energy_n)) - len(energy_b1)), (0, 0))
        inputs = [
            np.pad(latent_bz, padding),
            np.pad(energy_b1 / data.energy_scale_gev, padding, constant_values=1.0),
        ]
        if labels_nc is not None:
            inputs.append(np.pad(labels_nc[start : start + batch_size], padding))
        images_bxyzc = generator.predict_on_batch(inputs)
        images_bxyz = keras.ops.convert_to_numpy(images_bxyzc)[: len(energy_b1), ..., 0]
        images_bxyz = data.cell_scale.gev(images_bxyz)
        yield np.where(images_bxyz < data.threshold_gev, np.float32(0), images_bxyz)
