"""TensorFlow Lite, with built-in operations alone, so that its small interpreters run it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.convert_phase import ConverterError
from tensorflow.lite.tools import flatbuffer_utils
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

from gan3d.data import temporary_folder
from gan3d.errors import RunError
from gan3d.export.metadata import Metadata

METADATA = "gan3d"
"""Name of the metadata's entry in the model."""


def write_tflite(function: Any, metadata: Metadata, path: Path) -> None:
    """Write `function` to `path`, metadata as JSON in the buffer `gan3d`.

    Raises RunError where the network has operations that TensorFlow Lite has not.
    """
    with temporary_folder("gan3d-export-") as folder:
        module = tf.Module()
        module.function = _frozen(function)
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.function})
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        try:
            content = converter.convert()
        except ConverterError as error:
            lacking = re.search(r"^(?:Custom|TF Select) ops: (.+)$", str(error), re.MULTILINE)
            reason = f"it has no {lacking[1]}" if lacking else str(error).splitlines()[0]
            raise RunError(f"{path}: TensorFlow Lite cannot express it: {reason}") from error
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    entry, buffer = schema.MetadataT(), schema.BufferT()
    buffer.data = metadata.model_dump_json().encode()
    entry.name, entry.buffer = METADATA, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def read_metadata(path: Path) -> str | None:
    """The metadata of a model file as JSON; None where it has none."""
    model = flatbuffer_utils.read_model(str(path))
    for entry in model.metadata or []:
        if entry.name in (METADATA, METADATA.encode()):
            return bytes(model.buffers[entry.buffer].data).decode()
    return None


def _frozen(function: Any) -> Any:
    """Make a function with constants for weights, and what TensorFlow Lite lacks replaced."""
    concrete = function.get_concrete_function()
    graph = convert_variables_to_constants_v2(concrete).graph.as_graph_def()
    _replace(graph, "Erf", _erf)
    names = [spec.name for spec in function.input_signature]
    # Outputs keep their order: a dictionary's are sorted by name.
    outputs = [tensor.name for tensor in convert_variables_to_constants_v2(concrete).outputs]

    def imported(*inputs: Any) -> dict[str, Any]:
        given = {f"{name}:0": tensor for name, tensor in zip(names, inputs, strict=True)}
        (cells,) = tf.graph_util.import_graph_def(graph, input_map=given, return_elements=outputs)
        return {"cells": cells}

    return tf.function(imported, input_signature=function.input_signature)


def _replace(graph: Any, operation: str, substitute: Any) -> None:
    """Let all nodes of `operation`, which has one float32 input, call a function in its place."""
    spec = tf.TensorSpec(None, tf.float32)
    made = tf.function(substitute, input_signature=[spec]).get_concrete_function()
    found = False
    for node in graph.node:
        if node.op == operation:
            node.op, found = made.function_def.signature.name, True
            del node.attr["T"]
    if found:
        graph.library.function.append(made.function_def)


def _erf(x: Any) -> Any:
    """Error function to 1.5e-7 (Abramowitz and Stegun 1964, formula 7.1.26)."""
    t = 1.0 / (1.0 + 0.3275911 * tf.abs(x))
    series = 0.0
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + coefficient) * t
    return tf.sign(x) * (1.0 - series * tf.exp(-tf.square(x)))
