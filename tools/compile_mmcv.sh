#!/usr/bin/env bash
# Give an environment the compiled operators of mmcv, which MMDetection and MMSegmentation need.
# They are compiled once for a version of torch, with or without a GPU, and kept in the user's cache:
#   tools/compile_mmcv.sh PYTHON
# FORCE_CUDA=1 compiles those for GPUs on a machine that has none. PIP_OPTIONS go to every pip.
set -euo pipefail
usage='usage: compile_mmcv.sh PYTHON, the one of an environment with torch and onedl-mmcv'
python=${1:?$usage}
options=${PIP_OPTIONS:-}
version=$("$python" -c 'from importlib.metadata import version; print(version("onedl-mmcv"))')
# As mmcv's setup.py decides.
built_for=$("$python" -c '
import os, sys, torch
device = "gpu" if torch.cuda.is_available() or os.getenv("FORCE_CUDA") == "1" else "cpu"
print(f"torch-{torch.__version__}-{sys.implementation.cache_tag}-{device}")')
case $built_for in *+cu*-cpu) echo "No GPU here: the operators will run on CPUs only (else FORCE_CUDA=1)" ;; esac
wheels=${XDG_CACHE_HOME:-$HOME/.cache}/mmconvnext/mmcv-$version-$built_for

if [ ! -d "$wheels" ]; then
    "$python" -m pip install $options ninja setuptools wheel
    mkdir -p "$(dirname "$wheels")"
    work=$(mktemp -d "$wheels.XXXX")  # beside it, so that it appears whole
    trap 'rm -rf "$work"' EXIT
    # mmcv asks for C++17; torch's headers need C++20 from 2.15 on. They take most of the time, so they are
    # compiled once, for all files: GCC takes what comes out wherever the other options agree.
    echo '#include <torch/types.h>' > "$work/torch.h"
    flags=$("$python" -c '
import shlex, sysconfig
from torch.utils.cpp_extension import include_paths
print(sysconfig.get_config_var("CFLAGS"), "-fPIC", *(shlex.quote(f"-I{path}") for path in include_paths()))')
    compiler=${CXX:-c++}
    eval "$compiler $flags -std=c++20 -g0 -x c++-header '$work/torch.h' -o '$work/torch.h.gch'"
    # The last option counts.
    printf '#!/bin/sh\nexec %s "$@" -std=c++20 -g0 -include "%s"\n' "$compiler" "$work/torch.h" > "$work/c++"
    chmod +x "$work/c++"
    # ninja comes with the environment. Without a cache: pip may have kept a wheel without operators.
    PATH=$(dirname "$("$python" -c 'import sys; print(sys.executable)')"):$PATH \
        CXX=$work/c++ NVCC_APPEND_FLAGS=-std=c++20 MMCV_WITH_OPS=1 \
        "$python" -m pip wheel ${options//--no-compile/} --no-build-isolation --no-deps --no-cache-dir \
        --no-binary onedl-mmcv --wheel-dir "$work/wheels" "onedl-mmcv==$version"
    mv "$work/wheels" "$wheels"
fi
"$python" -m pip install $options --no-deps --force-reinstall "$wheels"/*.whl
