#!/usr/bin/env bash
# Builds the PostgreSQL 15 image of the demo and the tests from Debian packages, once; with --load gives it
# to the local cluster.
set -euo pipefail
. "$(dirname "$0")/../cluster/env.sh"
here=$hf_root/deploy/images/postgres
archive=$hf_cache/images/postgres-$(cat "$here"/* | sha256sum | cut -c1-12).tar
if [ ! -f "$archive" ]; then
  say "building the PostgreSQL image from Debian packages (once)"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  rootfs=$hf_cache/images/rootfs-postgres-15.tar
  [ -f "$rootfs" ] || mmdebstrap --quiet --variant=minbase --include=postgresql-15,postgresql-contrib --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='Apt::Install-Recommends "false"' bookworm "$rootfs"
  cp "$rootfs" "$folder/rootfs.tar"
  cp "$here"/* "$folder/"
  "$hf_root/deploy/images/build.sh" "$folder" localhost/holdfast/postgres:15 "$archive"
fi
if [ "${1:-}" = --load ]; then "$hf_root/deploy/images/load.sh" "$archive"; fi
