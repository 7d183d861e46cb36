#!/usr/bin/env bash
# Train on several GPUs (or CPU processes) of this machine, or of several:
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh CONFIG GPUS   (on each node)
set -euo pipefail
usage='usage: dist_train.sh CONFIG GPUS [options of tools/train.py]'
config=${1:?$usage} gpus=${2:?$usage}
exec torchrun --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$gpus" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "${@:3}"
