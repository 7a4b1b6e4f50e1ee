#!/bin/sh
# A gallery filled by a Ray cluster that runs already, from one of its machines:
#   sh deploy/jobs/ray.sh GALLERY PHOTOS WORK [SHARDS] [WORKERS] [ADDRESS]
# Every machine has veduta[ray] installed, the same version, and GALLERY, PHOTOS and WORK under the same names.
# From outside the cluster ADDRESS is ray://HOST:10001; those folders have to be there, too.
set -eu
veduta jobs add "$1" "$2" --work "$3" --ray --shards "${4:-16}" --workers "${5:-8}" --address "${6:-auto}" --cpus 2
