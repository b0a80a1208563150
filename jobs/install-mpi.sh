#!/bin/bash
# Install gan3d with Horovod built against a site's MPI. Load the MPI and a C++17 compiler first:
#   module load gcc openmpi && jobs/install-mpi.sh [configs/nodes/stampede2-skx.yaml]
# With a node file, `gan3d doctor` says at the end whether the node, and Horovod, have what it asks for.
# Needs uv, cmake's and Horovod's sources from the internet (or a mirror: UV_INDEX_URL), and mpicxx. pyproject.toml is
# left alone: its build of Horovod is without MPI. The environment is .venv, or $UV_PROJECT_ENVIRONMENT.
#
# Afterwards run .venv/bin/gan3d, as the scripts of `gan3d jobs render` do, or `uv run --no-sync`: a plain `uv run` may
# put Horovod back as pyproject.toml has it.
set -euo pipefail
node=${1:+$(realpath -- "$1")}
cd -- "$(dirname -- "$0")/.."

command -v uv >/dev/null || { echo "install: no uv: pip install uv" >&2; exit 1; }
command -v mpicxx >/dev/null || { echo "install: no mpicxx: load the site's MPI (module avail)" >&2; exit 1; }
environment=${UV_PROJECT_ENVIRONMENT:-.venv}
horovod=$(sed -n 's/^horovod = \["horovod==\(.*\)"\]$/\1/p' pyproject.toml | head -n1)
: "${horovod:?not found in pyproject.toml}"

# All but Horovod, and what builds it. `uv sync` removes what it does not know, so it comes first.
uv sync --no-install-package horovod
uv pip install --no-config --python "$environment" 'cmake<4' ninja 'setuptools<81' wheel

# Built where TensorFlow is seen, and not from a cache: the cache does not know of another MPI.
export PATH=$PWD/$environment/bin:$PATH
[[ $environment == /* ]] && PATH=$environment/bin:$PATH
HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITH_TENSORFLOW=1 \
    HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
    uv pip install --no-config --python "$environment" --no-cache --reinstall --no-deps \
    --no-build-isolation --no-binary horovod "horovod==$horovod"

export TF_CPP_MIN_LOG_LEVEL=3
horovodrun --check-build | tee /dev/stderr | grep -q '\[X\] MPI' ||
    { echo "install: Horovod was built without MPI" >&2; exit 1; }
gan3d doctor ${node:+--node "$node"}
