"""TensorFlow without its start-up noise; its real errors stay visible."""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NOISE = [
    # Logged before TensorFlow sets up its log, whatever TF_CPP_MIN_LOG_LEVEL says: XLA and
    # TensorFlow register the same CUDA plug-ins twice, harmlessly, also where there is no GPU.
    rb"Unable to register cu(FFT|DNN|BLAS) factory",
    rb"All log messages before absl::InitializeLog\(\) is called are written to STDERR",
    rb"computation_placer already registered",
]
_NOISE_WITHOUT_GPU = [
    rb"failed call to cuInit",
    rb"Could not find cuda drivers",
    rb"Cannot dlopen some GPU libraries",
    rb"retrieving CUDA diagnostic information|hostname: |reported version|no NVIDIA GPU device",
]


_NOISE_OF_CONVERSION = [
    rb"Number of eligible GPUs",
    rb"Starting new session",
    rb"MLIR V1 optimization pass is not enabled",
    rb"Ignored (output_format|drop_control_dependency)",
    rb"NodeDef mentions attribute .* which is not in the op definition",
    rb"Created TensorFlow Lite XNNPACK delegate",
]
_NOISE_OF_XLA = [
    rb"XLA service .* initialized",
    rb"StreamExecutor device \(\d+\)",
    rb"Compiled cluster using XLA!",
]


# Keras imports these, where they are installed, for wrappers and pictures that nobody here uses: a
# third of the time that TensorFlow takes to start, and a thousand files, on every rank.
_NEEDLESS = ("IPython", "matplotlib", "sklearn")


def import_tensorflow() -> Any:
    """Import TensorFlow and find its devices, which is where it is loud.

    To Keras, scikit-learn and Matplotlib are not installed where they have not been imported before
    (keras.wrappers then refuses); to others they are.

    Raises:
        ImportError: TensorFlow is not there or does not load.

    """
    # 2: errors are shown, information and warnings are not.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    patterns = list(_NOISE)
    if not has_gpu():
        patterns += _NOISE_WITHOUT_GPU
    quiet = _without_lines(re.compile(b"|".join(patterns)))
    with quiet, _without_modules(_NEEDLESS), _without_collections():
        import tensorflow as tf

        tf.config.list_physical_devices()
    return tf


@contextmanager
def _without_collections() -> Iterator[None]:
    """What is imported here stays, so the garbage collector need not look for what to free in it.

    400 000 objects: a fifth of the time that TensorFlow and Keras take to start, and some of every
    collection afterwards.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what TensorFlow says while it converts a model, and is nobody's concern, from stderr.

    Other lines appear on leaving.
    """
    noise = re.compile(b"|".join([*_NOISE, *_NOISE_OF_CONVERSION, *_NOISE_OF_XLA]))
    logger = logging.getLogger("tensorflow")
    level = logger.level
    sys.stderr.flush()
    stderr = os.dup(2)
    # Not a pipe as below: the C++ code that writes may hold Python's lock, TensorFlow's threads
    # are running and do not outlive a fork.
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            for line in said:
                if not noise.search(line):
                    os.write(2, line)


def start_xla(tf: Any) -> None:
    """Let XLA compile something small, as what it says of itself it says once."""
    with quietly():
        tf.function(lambda one: one + one, jit_compile=True)(tf.ones(()))


def has_gpu() -> bool:
    """Whether the kernel shows an NVIDIA GPU."""
    return Path("/proc/driver/nvidia/version").exists() or any(Path("/dev").glob("nvidia[0-9]*"))


@contextmanager
def _without_modules(names: Sequence[str]) -> Iterator[None]:
    """Let imports of `names` fail, as where they are not installed, unless they are loaded."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _without_lines(noise: re.Pattern[bytes]) -> Iterator[None]:
    """Drop lines that match `noise` from file descriptor 2, written by C++ code too.

    A forked process filters: what is written before a crash of this one still comes out.
    """
    sys.stderr.flush()
    read_end, write_end = os.pipe()
    stderr = os.dup(2)
    child = os.fork()
    if child == 0:
        os.close(write_end)
        _filter(read_end, stderr, noise)
        os._exit(0)
    os.close(read_end)
    os.dup2(write_end, 2)
    os.close(write_end)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        os.waitpid(child, 0)


def _filter(source: int, target: int, noise: re.Pattern[bytes]) -> None:
    with os.fdopen(source, "rb", buffering=0) as lines:
        for line in lines:
            if not noise.search(line):
                os.write(target, line)
