#!/usr/bin/env bash
# Ends the local cluster and removes everything of it: processes, mounts, links, rules, cgroups, folders,
# settings. Then checks that nothing is left, and says what is.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$hf_here/remains.sh"
[ "$(id -u)" = 0 ] || fail "the local cluster needs root"
lock_cluster
before=$hf_before
keep=$(cat $before 2>/dev/null || true)
remove_remains
restore_machine
left=$(list_remains)
while read -r what value; do
  case $what in
    absent) [ ! -e "$value" ] || left+=$'\n'"folder $value" ;;
    sysctl) [ "$(sysctl -n "${value%%=*}" 2>/dev/null | tr '\t' ' ')" = "$(echo "${value#*=}" | tr '\t' ' ')" ] || left+=$'\n'"setting ${value%%=*}" ;;
  esac
done <<<"$keep"
[ -z "$left" ] || fail "left on this machine: $left"
say "the local cluster is gone, and nothing of it is left"
