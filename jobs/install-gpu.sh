#!/bin/bash
# Install gan3d for NVIDIA GPUs: TensorFlow with the CUDA libraries it wants, and Horovod with NCCL. Load a CUDA 12
# toolkit (nvcc) and a C++17 compiler first, and an MPI if ranks are to be started by it:
#   module load gcc cuda/12.5 && jobs/install-gpu.sh [configs/nodes/gpu.yaml]
# With a node file, `gan3d doctor` says at the end whether the node, and Horovod, have what it asks for.
# Needs uv, the internet (or a mirror: UV_INDEX_URL), and about 8 GB. A GPU is not needed to build. pyproject.toml is
# left alone: its build of Horovod is for CPUs. The environment is .venv, or $UV_PROJECT_ENVIRONMENT.
#
# Afterwards run .venv/bin/gan3d, as the scripts of `gan3d jobs render` do, or `uv run --no-sync`: a plain `uv run` may
# put Horovod back as pyproject.toml has it.
set -euo pipefail
node=${1:+$(realpath -- "$1")}
cd -- "$(dirname -- "$0")/.."

command -v uv >/dev/null || { echo "install: no uv: pip install uv" >&2; exit 1; }
command -v nvcc >/dev/null || { echo "install: no nvcc: load a CUDA 12 toolkit (module avail cuda)" >&2; exit 1; }
environment=${UV_PROJECT_ENVIRONMENT:-.venv}
horovod=$(sed -n 's/^horovod = \["horovod==\(.*\)"\]$/\1/p' pyproject.toml | head -n1)
: "${horovod:?not found in pyproject.toml}"

# All but Horovod, the CUDA libraries, and what builds Horovod. `uv sync` removes what it does not know, so it comes
# first.
uv sync --extra gpu --no-install-package horovod
uv pip install --no-config --python "$environment" 'cmake<4' ninja 'setuptools<81' wheel

export PATH=$PWD/$environment/bin:$PATH
[[ $environment == /* ]] && PATH=$environment/bin:$PATH

# The NCCL that TensorFlow brings; its wheel has libnccl.so.2, and linkers look for libnccl.so.
nccl=$(python -c 'import nvidia.nccl, pathlib; print(pathlib.Path(next(iter(nvidia.nccl.__path__))).resolve())')
ln -sf libnccl.so.2 "$nccl/lib/libnccl.so"

mpi=(HOROVOD_WITHOUT_MPI=1)
if command -v mpicxx >/dev/null; then mpi=(HOROVOD_WITH_MPI=1); fi
env "${mpi[@]}" HOROVOD_GPU=CUDA HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_HOME="$nccl" \
    HOROVOD_CUDA_HOME="$(dirname -- "$(dirname -- "$(command -v nvcc)")")" \
    HOROVOD_WITH_GLOO=1 HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
    uv pip install --no-config --python "$environment" --no-cache --reinstall --no-deps \
    --no-build-isolation --no-binary horovod "horovod==$horovod"

export TF_CPP_MIN_LOG_LEVEL=3
horovodrun --check-build | tee /dev/stderr | grep -q '\[X\] NCCL' ||
    { echo "install: Horovod was built without NCCL" >&2; exit 1; }
gan3d doctor ${node:+--node "$node"}
