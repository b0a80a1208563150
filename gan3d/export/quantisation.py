"""An ONNX model with convolutions and dense layers in 8-bit integers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from gan3d.data import temporary_folder, written_aside
from gan3d.data.aside import remove_leftovers
from gan3d.errors import RunError
from gan3d.export.metadata import Metadata
from gan3d.export.onnx_model import save

KINDS = ("Conv", "Gemm", "MatMul")
LEAST_WEIGHTS = 10_000
"""A smaller dense layer costs nothing, and is more likely a table of physics than a layer."""


class _Calibration(quantization.CalibrationDataReader):
    """Batches of inputs by name, as onnxruntime asks for them."""

    def __init__(self, batches: Iterable[dict[str, NDArray[Any]]]) -> None:
        self._batches: Iterator[dict[str, NDArray[Any]]] = iter(batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)


def quantise(
    source: Path, target: Path, batches: Iterable[dict[str, NDArray[Any]]], kept: int
) -> list[str]:
    """Write the ONNX model `source` to `target` with layers in int8; return their names.

    Weights get a scale per channel, activations one per tensor, from the range that they take on
    `batches`, inputs by name (static quantisation, onnxruntime). The last `kept` of the layers stay
    in float32: they make cell energies, and seven decades do not fit into 256 steps. Raises
    RunError where no layer is left.
    """
    with temporary_folder("gan3d-export-") as folder:
        prepared = folder / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        layers = _layers(onnx.load(str(prepared)))
        chosen = layers[: max(0, len(layers) - kept)]
        if not chosen:
            raise RunError(
                f"int8: the network has {len(layers)} convolutions and large dense layers, and the "
                f"last {kept} are to stay in float32 (--float-layers): nothing is left"
            )
        quantization.quantize_static(
            str(prepared),
            str(target),
            _Calibration(batches),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            nodes_to_quantize=chosen,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    return chosen


def write_quantised(source: Path, metadata: Metadata, path: Path) -> None:
    """Write the quantised model `source` to `path`, with `metadata`."""
    remove_leftovers([path])
    with written_aside(path) as aside:
        save(onnx.load(str(source)), metadata, aside)


def _layers(model: Any) -> list[str]:
    """Convolutions, and dense layers with many weights, in the order of the computation."""
    sizes = {each.name: prod(each.dims) for each in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in KINDS
        and node.input[1] in sizes
        and (node.op_type == "Conv" or sizes[node.input[1]] >= LEAST_WEIGHTS)
    ]
