#!/usr/bin/env bash
# Builds the images of Holdfast from this tree, and those of NATS and the CSI provisioner, each anew only
# when its binary changed; with --load gives them to the local cluster. Prints each image's size.
set -euo pipefail
. "$(dirname "$0")/../cluster/env.sh"
load=${1:-}
limit=$((25 * 1000 * 1000))
services=(holdfast-scheduler holdfast-executor holdfast-repo-manager holdfast-gc holdfast-restore holdfast-agent holdfast-csi)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$hf_cache/target}
(cd "$hf_root" && cargo build --quiet $(printf -- '--package %s ' "${services[@]}") --bins)
"$hf_here/tools.sh" nats csi-provisioner

one() { # BINARY-FILE NAME
  local file=$1 name=$2 folder archive size
  folder=$hf_cache/images/context/$name
  mkdir -p "$folder"
  strip -s -o "$folder/$name.new" "$file"
  if ! cmp -s "$folder/$name.new" "$folder/$name"; then mv "$folder/$name.new" "$folder/$name"; else rm -f "$folder/$name.new"; fi
  archive=$hf_cache/images/$name-$(cat "$folder/$name" "$hf_root/deploy/Dockerfile" | sha256sum | cut -c1-12).tar
  if [ ! -f "$archive" ]; then
    rm -f "$hf_cache/images/$name"-????????????.tar
    "$hf_root/deploy/images/build.sh" "$folder" "localhost/holdfast/$name:dev" "$archive" -f "$hf_root/deploy/Dockerfile" --build-arg "BIN=$name"
  fi
  size=$(stat -c %s "$folder/$name")
  printf '%-24s %5.1f MB\n' "$name" "$(echo "$size" | awk '{print $1 / 1e6}')"
  case $name in holdfast-*) [ "$size" -lt $limit ] || fail "$name is larger than $((limit / 1000000)) MB" ;; esac
  if [ "$load" = --load ]; then "$hf_root/deploy/images/load.sh" "$archive"; fi
}

for name in "${services[@]}"; do one "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/debug/$name" "$name"; done
one "$hf_bin/nats-server" nats-server
one "$hf_bin/csi-provisioner" csi-provisioner
