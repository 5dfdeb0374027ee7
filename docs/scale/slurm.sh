#!/usr/bin/env bash
# A suite as an array of eight jobs, one shard each, on a cache that all nodes see; then the merge.
#   jobs=$(sbatch --parsable docs/scale/slurm.sh) && sbatch --dependency=afterany:"$jobs" docs/scale/slurm.sh merge
# `bench submit my_suite.yaml --shards 8 --job-set timeout_min=600 --job-set gpus_per_node=1 …` does the same by submitit.
#SBATCH --job-name=bench
#SBATCH --array=1-8
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=10:00:00
#SBATCH --requeue
#SBATCH --output=runs/jobs/%A_%a.log
set -euo pipefail
export BENCH_CACHE=${BENCH_CACHE:-/shared/bench-cache}

if [ "${1:-}" = merge ]; then
  if [ "${SLURM_ARRAY_TASK_ID:-1}" = 1 ]; then
    bench merge runs/my_suite-{1..8}of8 -o runs/my_suite
  fi
else
  bench run my_suite.yaml --shard "$SLURM_ARRAY_TASK_ID/8" --output "runs/my_suite-${SLURM_ARRAY_TASK_ID}of8" \
    --device cuda --task-timeout 7200 --retries 1 --no-report
fi
