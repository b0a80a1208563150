"""TensorFlow's SavedModel: a folder, with the metadata among its extra assets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from gan3d.export.metadata import Metadata
from gan3d.generation import TrainedRun

EXTRA = Path("assets.extra") / "gan3d.json"
"""Where the metadata is: the folder that TensorFlow leaves to those who add to a SavedModel."""


def write_savedmodel(
    run: TrainedRun, function: Any, metadata: Metadata | None, folder: Path
) -> None:
    """Write `function` as the signature `serving_default` into the empty `folder`."""
    module = tf.Module()
    module.generator = run.generator  # whose weights it keeps
    module.function = function
    tf.saved_model.save(module, str(folder), signatures={"serving_default": function})
    if metadata is not None:
        path = folder / EXTRA
        path.parent.mkdir()
        path.write_text(metadata.model_dump_json(indent=1), encoding="utf-8")
