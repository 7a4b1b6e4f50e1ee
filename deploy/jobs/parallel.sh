#!/bin/sh
# A gallery filled by all cores of one machine, a shard a core, by GNU parallel or, without it, by xargs:
#   sh deploy/jobs/parallel.sh GALLERY PHOTOS WORK [SHARDS] [PROCESSES]
# Killed at any moment, it goes on where it was when the same line is run again.
set -eu
export GALLERY=$1 PHOTOS=$2 WORK=$3 SHARDS=${4:-16}
processes=${5:-$(nproc)}
# Exit status 1 means that some photos cannot be read: they are listed, and the others are done.
shard='veduta jobs add "$GALLERY" "$PHOTOS" --work "$WORK" --shard "$1/$SHARDS" || test $? -eq 1'
if command -v parallel >/dev/null; then
    seq "$SHARDS" | parallel --will-cite --jobs "$processes" --line-buffer sh -c "'$shard'" shard {}
else
    seq "$SHARDS" | xargs -P "$processes" -n 1 sh -c "$shard" shard
fi
veduta jobs merge "$WORK" || test $? -eq 1
