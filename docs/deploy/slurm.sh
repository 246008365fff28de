#!/bin/bash
# A training on two nodes with the MPI of the site: sbatch docs/deploy/slurm.sh
#SBATCH --job-name=fastconv
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the time is over all ranks are told, end after the same step and write the state of the run.
#SBATCH --signal=USR1@120
set -euo pipefail

run=${RUN:-runs/slurm}

# Numba, OpenMP and OpenBLAS read these when Python starts; each rank gets the cores of its task.
export FASTCONV_NUM_THREADS=$SLURM_CPUS_PER_TASK NUMBA_NUM_THREADS=$SLURM_CPUS_PER_TASK
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK OPENBLAS_NUM_THREADS=$SLURM_CPUS_PER_TASK
# A rank that the others have waited for this many seconds ends the job, which can then be requeued.
export FASTCONV_PARALLEL_TIMEOUT=600

# A job that was requeued goes on from the last state of its run.
if [[ -e $run/run.toml ]]; then
  command=(resume "$run")
else
  command=(train --dataset cifar10 --model resnet20 --epochs 30 --save-every-steps 100 --output "$run")
fi
status=0
srun --mpi=pmi2 python -m fastconv.parallel.rank -m fastconv "${command[@]}" || status=$?
# 75: the training has stopped as it was told to, and goes on in the next run of this job.
if ((status == 75)); then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
