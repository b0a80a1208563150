"""Run by every rank under a launcher: writes what it takes for the cores of the ranks and its own.

Arguments: folder to write to, `node.affinity`.
"""

import json
import os
import sys
from pathlib import Path

from gan3d.config import Node
from gan3d.errors import NodeError
from gan3d.runtime.cores import is_bound, usable_cores
from gan3d.runtime.launch import read_launch
from gan3d.runtime.node import rank_cores
from gan3d.runtime.topology import read_topology

launch = read_launch()
said = {"bound": is_bound(), "cores": usable_cores(launch.local_size).logical}
try:
    cores = rank_cores(Node(affinity=sys.argv[2]), read_topology(), launch)
    said["placed"] = sorted(cores.cpus) if cores.cpus else None
except NodeError as error:
    said["refused"] = str(error)
said["mask"] = sorted(os.sched_getaffinity(0))
Path(sys.argv[1], f"{launch.local_rank}.json").write_text(json.dumps(said))
