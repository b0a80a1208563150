"""Shower files: read, checked, divided among ranks, and written.

A shower's way: `formats` opens the file with the reader for its content (`lcd`), `split` decides
which showers a rank owns, `loader` makes batches of them; `writer` is the way back.
"""

from gan3d.data.aside import check_folder, make_folder, written_aside
from gan3d.data.formats import expand_patterns, open_shower_file, read_showers
from gan3d.data.loader import ShardLoader, read_part
from gan3d.data.shower_file import ShowerFile
from gan3d.data.showers import Showers, apply_threshold
from gan3d.data.split import Division, FileRows, count_showers, divide, shard
from gan3d.data.summary import Summary, combine, summarise
from gan3d.data.writer import write_showers

__all__ = [
    "Division",
    "FileRows",
    "ShardLoader",
    "ShowerFile",
    "Showers",
    "Summary",
    "apply_threshold",
    "check_folder",
    "combine",
    "count_showers",
    "divide",
    "expand_patterns",
    "make_folder",
    "open_shower_file",
    "read_part",
    "read_showers",
    "shard",
    "summarise",
    "write_showers",
    "written_aside",
]
