#!/usr/bin/env bash
# Train under Slurm in a job that requeues itself and resumes when its time is up or after preemption:
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=12] [SBATCH_ARGS='--time=24:00:00 ...'] [SRUN_ARGS=...] \
#       tools/slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [options of tools/train.py]
# The output of the job is slurm-JOBID.out in the current folder.
set -euo pipefail
usage='usage: slurm_train.sh PARTITION JOB_NAME CONFIG [WORK_DIR] [options of tools/train.py]'

# SBATCH_ARGS and SRUN_ARGS hold several words on purpose.
# shellcheck disable=SC2086
if [[ ${1:-} != --in-job ]]; then
    partition=${1:?$usage} job=${2:?$usage} config=${3:?$usage}
    shift 3
    if [[ ${1:--} != -* ]]; then
        set -- --work-dir "$1" "${@:2}"
    fi
    gpus=${GPUS:-8}
    gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    # Slurm runs a copy of this script, which needs the path of the tools.
    tools=$(cd "$(dirname "$0")" && pwd)
    # USR1 reaches the training processes two minutes before the time limit.
    exec sbatch --partition="$partition" --job-name="$job" --ntasks="$gpus" --ntasks-per-node="$gpus_per_node" \
        --gres="gpu:$gpus_per_node" --cpus-per-task="${CPUS_PER_TASK:-12}" --export=ALL \
        --requeue --open-mode=append --signal=USR1@120 ${SBATCH_ARGS:-} \
        "$tools/slurm_train.sh" --in-job "$tools/train.py" "$config" "$@"
fi

train=$2 config=$3
shift 3
if ((${SLURM_RESTART_COUNT:-0} > 0)); then
    set -- "$@" --resume auto
fi
# Jobs can share a node, so each has its port.
export MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 10000))}
export stopped=$PWD/slurm-$SLURM_JOB_ID.stopped
rm -f "$stopped"
# Slurm also signals the shells; with a trap they wait for the training, which saves.
trap : TERM USR1
# 75, saved and to be continued, is no bad exit, after which Slurm would kill the other processes. TERM comes
# from scancel, or with a pre-emption after which Slurm requeues by itself: only USR1 is for us to requeue.
# shellcheck disable=SC2016,SC2086
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=1 ${SRUN_ARGS:-} bash -c '
    trap : USR1
    trap ended=1 TERM
    "$@" || { code=$?; ((code == 75)) || exit "$code"; [[ ${ended-} ]] || touch "$stopped"; }
' task python -u "$train" "$config" --launcher slurm "$@"
if [[ -e $stopped ]]; then
    rm "$stopped"
    scontrol requeue "$SLURM_JOB_ID"
fi
