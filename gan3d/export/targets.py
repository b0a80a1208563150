"""The formats, and what each needs to be installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from gan3d.errors import NodeError

Format = Literal["savedmodel", "onnx", "tflite"]

FORMATS: tuple[Format, ...] = ("savedmodel", "onnx", "tflite")

SUFFIXES: dict[Format, str] = {"savedmodel": "", "onnx": ".onnx", "tflite": ".tflite"}
"""How the names of models end; a SavedModel is a folder of any name."""

_TO_RUN: dict[Format, tuple[str, ...]] = {
    "savedmodel": ("tensorflow",),
    "onnx": ("onnxruntime",),
    "tflite": ("tensorflow",),
}
_TO_WRITE: dict[Format, tuple[str, ...]] = {
    "savedmodel": (),
    "onnx": ("onnx", "tf2onnx"),
    "tflite": (),
}


def check_runtime(kind: Format) -> None:
    """Raise NodeError if what runs models of this format is not installed."""
    _check(kind, _TO_RUN[kind], "running")


def check_target(kind: Format) -> None:
    """Raise NodeError if what makes models of this format, and tries them, is not installed."""
    _check(kind, (*_TO_WRITE[kind], *_TO_RUN[kind]), "exporting to")


def _check(kind: Format, packages: tuple[str, ...], doing: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise NodeError(
            f"{doing} {kind} needs {' and '.join(missing)}, not installed here: "
            "`pip install 'gan3d[export]'`, in a checkout `uv sync --extra export`"
        )
