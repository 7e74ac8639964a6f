#!/usr/bin/env bash
# Licences, sources and duplicates of the dependencies. Installs cargo-deny once, into the cache.
set -euo pipefail
. "$(dirname "$0")/../cluster/env.sh"
version=0.20.2
tool=$hf_bin/cargo-deny-$version
if [ ! -x "$tool" ]; then
  say "building cargo-deny $version (once)"
  # Outside this tree: its settings for static binaries are not for tools.
  (cd / && CARGO_TARGET_DIR=$hf_cache/deny-target CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install --quiet --locked --root "$hf_cache/deny" "cargo-deny@$version")
  mv "$hf_cache/deny/bin/cargo-deny" "$tool"
  rm -rf "$hf_cache/deny" "$hf_cache/deny-target"
fi
cd "$hf_root" && "$tool" --offline check --hide-inclusion-graph bans licenses sources
