"""Parametric electromagnetic showers, fast and plain: for tests and benchmarks of any size.

They are no substitute for Monte Carlo. `gflash` has the published shapes, `showers` puts energy
into cells, `dataset` writes files.
"""

from gan3d.data.planned import PlannedFile
from gan3d.simulation.dataset import Dataset
from gan3d.simulation.showers import ShowerSimulator

__all__ = ["Dataset", "PlannedFile", "ShowerSimulator"]
