"""Shower files: read, checked, divided among ranks, and written.

A shower's way: `survey` finds the files, `split` decides which showers are trained on, `order`
which of them a rank sees and when; `loader` reads them ahead (`threads`), through `formats`, which
opens a file with the reader for its content, and `preprocessing`, and makes batches. `writer` is
the way back. On the way showers are lists of lit cells (`sparse`); those of several images of a
shower, such as ECAL and HCAL, are one list (`joint`).

Of files: `summary` says what they hold, `checking` what is wrong with them, `conversion` and
`splitting` make others of them, and `fetching` brings public ones.
"""

from gan3d.data.aside import check_folder, make_folder, temporary_folder, written_aside
from gan3d.data.blocks import LARGEST_FRACTION
from gan3d.data.file_cells import FileCells
from gan3d.data.formats import (
    expand_patterns,
    holds_challenge,
    open_for,
    open_shower_file,
    read_showers,
    stream_images,
    stream_showers,
)
from gan3d.data.joint import refuse_several
from gan3d.data.labels import (
    check_labels,
    find_fault,
    label_inputs,
    network_labels,
    pick_columns,
)
from gan3d.data.loader import ShowerLoader, read_part, sample_layers, sample_sums, stream_part
from gan3d.data.order import count_steps, order_epoch, shuffle_quality
from gan3d.data.preprocessing import regrid
from gan3d.data.shower_file import ShowerFile
from gan3d.data.showers import Showers, apply_threshold
from gan3d.data.sparse import Shape, SparseShowers
from gan3d.data.split import Division, Part, divide, whole
from gan3d.data.stated import (
    geometry_attributes,
    refuse_other_cells,
    refuse_other_cylinder,
    stated_cell_size,
    stated_geometry,
)
from gan3d.data.summary import Summary, combine, summarise
from gan3d.data.survey import Survey, check_unchanged, leave_out, survey_files
from gan3d.data.writer import write_showers

__all__ = [
    "LARGEST_FRACTION",
    "Division",
    "FileCells",
    "Part",
    "Shape",
    "ShowerFile",
    "ShowerLoader",
    "Showers",
    "SparseShowers",
    "Summary",
    "Survey",
    "apply_threshold",
    "check_folder",
    "check_labels",
    "check_unchanged",
    "combine",
    "count_steps",
    "divide",
    "expand_patterns",
    "find_fault",
    "geometry_attributes",
    "holds_challenge",
    "label_inputs",
    "leave_out",
    "make_folder",
    "network_labels",
    "open_for",
    "open_shower_file",
    "order_epoch",
    "pick_columns",
    "read_part",
    "read_showers",
    "refuse_other_cells",
    "refuse_other_cylinder",
    "refuse_several",
    "regrid",
    "sample_layers",
    "sample_sums",
    "shuffle_quality",
    "stated_cell_size",
    "stated_geometry",
    "stream_images",
    "stream_part",
    "stream_showers",
    "summarise",
    "survey_files",
    "temporary_folder",
    "whole",
    "write_showers",
    "written_aside",
]
