"""gan3d: train the 3D calorimeter GAN with Horovod, generate showers, judge them by physics.

In a notebook::

    import gan3d

    run = gan3d.load_run("runs/quickstart")
    showers = run.generate(1000, energy=(10, 100), seed=1)
    showers.images_nxyz  # (1000, 25, 25, 25), GeV
"""

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gan3d.generation import TrainedRun, load_run

__all__ = ["TrainedRun", "__version__", "load_run"]

__version__ = version("gan3d")

# Arrow's own memory pool keeps what was freed, 20 MB more on every rank that reads Parquet. Arrow
# looks at this variable when it is imported, so it stands here, before any import of it.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def __getattr__(name: str) -> Any:
    # Resolved on first use: `gan3d --help` must not wait for h5py or Keras.
    if name in ("TrainedRun", "load_run"):
        from gan3d import generation

        return getattr(generation, name)
    raise AttributeError(f"module 'gan3d' has no attribute {name!r}")
