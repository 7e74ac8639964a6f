#!/usr/bin/env bash
# Kills every process of the local cluster at once, as a lost machine would, and starts it
# again over what is left: mounts, network namespaces, sockets, locks, state.
set -euo pipefail
. "$(dirname "$0")/../cluster/env.sh"
. "$hf_here/remains.sh"
for name in etcd apiserver manager scheduler containerd kubelet proxy dns; do
  alive $name || fail "$name does not run: bring the cluster up first (make cluster)"
  kill -9 "$(cat "$hf_state/$name.pid")"
done
for pid in $(our_shims); do kill -9 "$pid" 2>/dev/null || true; done
# A group may end while it is looked at.
for group in $(our_cgroups); do { cat "$group/cgroup.procs" 2>/dev/null || true; } | xargs -r kill -9 2>/dev/null || true; done
left=$(our_mounts | wc -l)
[ "$left" -gt 0 ] || fail "nothing was left to start over: the cluster ran no pods"
say "killed all processes of the cluster, $left mounts are left"
"$hf_here/up.sh"
[ -z "$(kubectl get pods -A -o name)" ] || fail "the new cluster holds pods of the old one"
kubectl create namespace after-a-crash >/dev/null
kubectl delete namespace after-a-crash --wait --timeout=60s >/dev/null
say "the cluster started cleanly over the remains of a killed one"
