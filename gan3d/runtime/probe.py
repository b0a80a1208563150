"""Loads TensorFlow, then Horovod, and prints a line of JSON for each.

Run by `diagnose` as a process of its own: a native library that does not fit the machine may
crash it.
"""

from __future__ import annotations

import json

from gan3d.runtime.distributed import load_horovod
from gan3d.runtime.quiet import import_tensorflow


def main() -> None:
    """Print what loaded: versions and GPUs of TensorFlow, then Horovod's controllers."""
    tf = import_tensorflow()
    describe = tf.config.experimental.get_device_details
    gpus = [{"name": gpu.name} | describe(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    print(json.dumps({"version": tf.__version__, "gpus": gpus}), flush=True)
    horovod = load_horovod()
    controllers = [
        name
        for name, built in (("Gloo", horovod.gloo_built), ("MPI", horovod.mpi_built))
        if built()
    ]
    print(json.dumps({"controllers": controllers, "nccl": bool(horovod.nccl_built())}))


if __name__ == "__main__":
    main()
