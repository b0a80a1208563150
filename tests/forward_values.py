"""What the networks of all architectures make of the same numbers, on the backend that Keras has.

python tests/forward_values.py OUT.npz
"""

import sys

import keras
import numpy as np

from gan3d.config import Geometry, Model
from gan3d.models import Wanted, get_architecture
from gan3d.models.registry import with_options

CYLINDER = Geometry(coordinates="cylindrical", shape=(8, 4, 5), cell_size_mm=(None, 5.0, 4.0))
PARTICLE_AND_ANGLE = ["energy", "theta", {"name": "particle", "values": [11, 22]}]
CASES = {
    "ecal25": ({}, Geometry()),
    "ecal25-mkl16": ({}, Geometry()),
    "angle51": ({"conditions": ["energy", "theta"]}, Geometry(shape=(51, 51, 25))),
    "compact": ({"conditions": PARTICLE_AND_ANGLE}, Geometry(shape=(5, 6, 7))),
    "compact, cylinder": ({}, CYLINDER),
    "convolutional": ({"conditions": PARTICLE_AND_ANGLE}, Geometry(shape=(9, 6, 7))),
    "convolutional, cylinder": ({"minibatch_deviation": True, "spectral_norm": 1.0}, CYLINDER),
}
SHOWERS = 2


def _numbers(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """For a weight: a kernel that neither blows up nor dies out; scales and variances above 0."""
    if len(shape) < 2:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def forward(case: str) -> dict[str, np.ndarray]:
    """Images, and what the discriminator says of others, with weights that a seed gives."""
    changes, geometry = CASES[case]
    name = case.partition(",")[0]
    model = Model.model_validate({"architecture": name, **changes})
    architecture = with_options(get_architecture(name, Wanted(model, geometry)), model)
    rng = np.random.default_rng(0)
    networks = [
        build(model) for build in (architecture.build_generator, architecture.build_discriminator)
    ]
    for network in networks:
        for weight in network.weights:
            if "seed" not in weight.name:  # of what is drawn in training
                weight.assign(_numbers(weight.shape, rng))
    shape = (SHOWERS, *geometry.shape, 1)
    latent = rng.normal(size=(SHOWERS, architecture.latent_dim)).astype(np.float32)
    energy = np.float32([[0.2], [0.9]])
    labels = np.float32([[1.3, 0.0], [1.7, 1.0]])[:, : len(model.labels)]
    further = [labels] if model.labels else []
    images = (1e-3 * rng.gamma(0.3, size=shape)).astype(np.float32)
    said = networks[1](architecture.judged(images, energy, *further))
    found = {"generator": networks[0]([latent, energy, *further]), **said}
    return {f"{case}: {name}": keras.ops.convert_to_numpy(value) for name, value in found.items()}


if __name__ == "__main__":
    np.savez(sys.argv[1], **{name: v for case in CASES for name, v in forward(case).items()})
