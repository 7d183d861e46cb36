#!/usr/bin/env bash
# Test on several GPUs (or CPU processes) of this machine, or of several as in dist_train.sh:
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
set -euo pipefail
usage='usage: dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]'
config=${1:?$usage} checkpoint=${2:?$usage} gpus=${3:?$usage}
exec torchrun --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" --nproc-per-node="$gpus" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "${@:4}"
