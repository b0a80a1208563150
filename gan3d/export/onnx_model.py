"""ONNX: what Geant4's Par04, DDFastShowerML and onnxruntime load."""

from __future__ import annotations

import logging
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tf2onnx

from gan3d.export.metadata import Metadata

_ONE = np.ones((), np.float32)

ELEMENTWISE = frozenset(
    ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "Equal"]
    + [f"{kind}{equal}" for kind in ("Less", "Greater") for equal in ("", "OrEqual")]
)

OPSET = 18
"""The first with operations on bits, which drawing inside needs; onnxruntime has it since 1.14."""


def write_onnx(function: Any, metadata: Metadata, path: Path) -> None:
    """Write `function` to `path`, its batch dimension called N, metadata as `metadata_props`."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model, _ = tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=OPSET,
        custom_op_handlers={"SelectV2": (_select, []), "Sigmoid": (_sigmoid, [])},
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    _give_scalars_rank(model)
    model.graph.name = "generator"
    model.producer_name, model.producer_version = "gan3d", metadata.gan3d_version
    onnx.checker.check_model(model, full_check=True)
    save(model, metadata, path)


def save(model: Any, metadata: Metadata, path: Path) -> None:
    """Put `metadata` into an ONNX model, each value as JSON under its own key, and write it."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata.split())
    path.write_bytes(model.SerializeToString())


def _give_scalars_rank(model: Any) -> None:
    """Reshape constants of one element to the rank of what they are combined with.

    Beside images (N, x, y, layer, 1) onnxruntime goes through the other ones cell by cell, which
    makes an addition a hundred times slower.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
        if value.type.tensor_type.HasField("shape")
    }
    constants = {each.name: each for each in model.graph.initializer}
    single = {name for name, each in constants.items() if prod(each.dims) == 1}
    ranks |= {name: len(each.dims) for name, each in constants.items()}
    for node in model.graph.node:
        rank = max((ranks.get(name, 0) for name in node.input), default=0)
        for place, name in enumerate(node.input):
            if node.op_type not in ELEMENTWISE or name not in single or ranks[name] >= rank:
                continue
            reshaped = f"{name}_of_rank_{rank}"
            if reshaped not in ranks:
                value = onnx.numpy_helper.to_array(constants[name]).reshape((1,) * rank)
                model.graph.initializer.append(onnx.numpy_helper.from_array(value, reshaped))
                ranks[reshaped] = rank
            node.input[place] = reshaped
    used = {name for node in model.graph.node for name in node.input}
    for each in [each for each in model.graph.initializer if each.name not in used]:
        model.graph.initializer.remove(each)


def _select(context: Any, node: Any, name: str, _: Any) -> None:
    # tf2onnx multiplies with masks instead: NaN and infinity pass where they are not chosen.
    del context, name
    node.type = "Where"


def _sigmoid(context: Any, node: Any, name: str, _: Any) -> None:
    # onnxruntime's own is off by some 1e-7, and 0 below -18: no probability of a rare hit.
    shapes, dtypes = [context.get_shape(node.output[0])], [context.get_dtype(node.output[0])]
    inputs, outputs = list(node.input), list(node.output)
    context.remove_node(name)

    def make(kind: str, inputs: list[str], **named: Any) -> str:
        made = context.make_node(kind, inputs, shapes=shapes, dtypes=dtypes, **named)
        output: str = made.output[0]
        return output

    one = context.make_const(tf2onnx.utils.make_name(name), _ONE).output[0]
    exponential = make("Exp", [make("Neg", inputs)])
    make("Reciprocal", [make("Add", [exponential, one])], outputs=outputs, name=name)
