#!/bin/sh
# A gallery filled by an array of Slurm tasks, one a shard, and the merge when all of them are done:
#   sh deploy/jobs/slurm.sh GALLERY PHOTOS WORK [SHARDS] [TASKS AT A TIME]
# GALLERY, PHOTOS and WORK lie in a folder that all nodes share; make the gallery first, with veduta create.
# A task that was cancelled, preempted or killed goes on where it was when the same line is run again.
set -eu
export GALLERY=$1 PHOTOS=$2 WORK=$3 SHARDS=${4:-16}
if [ -z "${SLURM_JOB_ID:-}" ]; then
    # Logs lie beside the work folder, which has to be empty at first.
    first=$(sbatch --parsable --array="1-$SHARDS%${5:-16}" --cpus-per-task=2 --mem=4G --time=12:00:00 --requeue \
        --export=ALL,STEP=shard --output="$WORK.%a.log" --open-mode=append "$0" "$GALLERY" "$PHOTOS" "$WORK" "$SHARDS")
    sbatch --dependency="afterok:$first" --cpus-per-task=2 --mem=4G --time=12:00:00 \
        --export=ALL,STEP=merge --output="$WORK.merge.log" "$0" "$GALLERY" "$PHOTOS" "$WORK" "$SHARDS"
    exit
fi
# Exit status 1 means that some photos cannot be read: they are listed, and the others are done.
if [ "$STEP" = shard ]; then
    veduta jobs add "$GALLERY" "$PHOTOS" --work "$WORK" --shard "$SLURM_ARRAY_TASK_ID/$SHARDS" || test $? -eq 1
else
    veduta jobs merge "$WORK" || test $? -eq 1
fi
