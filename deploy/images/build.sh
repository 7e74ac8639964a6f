#!/usr/bin/env bash
# Builds one image into an OCI archive: build.sh CONTEXT IMAGE ARCHIVE [BUILDAH-OPTION...]
# HOLDFAST_BUILDER=docker uses Docker instead of buildah (the archive is then Docker's own format).
set -euo pipefail
. "$(dirname "$0")/../cluster/env.sh"
context=$1 image=$2 archive=$3
shift 3
mkdir -p "$(dirname "$archive")"
if [ "${HOLDFAST_BUILDER:-buildah}" = docker ]; then
  docker build -q -t "$image" "$@" "$context" >/dev/null
  docker save -o "$archive.new" "$image"
else
  storage=(--root "$hf_cache/buildah" --runroot "$hf_cache/buildah-run" --storage-driver vfs)
  buildah "${storage[@]}" bud -q --isolation chroot --layers=false -t "$image" "$@" "$context" >/dev/null
  rm -f "$archive.new"
  buildah "${storage[@]}" push -q "$image" "oci-archive:$archive.new:$image"
  # The archive is what is kept: the store would grow with every build.
  buildah "${storage[@]}" rmi -f "$image" >/dev/null
fi
mv "$archive.new" "$archive"
