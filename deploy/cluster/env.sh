# Where the local cluster keeps what it has. Sourced by the scripts beside it, and by anyone who wants
# kubectl and helm to talk to this cluster and to nothing else:  . deploy/cluster/env.sh
# shellcheck shell=bash
hf_cache=${XDG_CACHE_HOME:-$HOME/.cache}/holdfast
hf_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hf_root=$(cd "$hf_here/../.." && pwd)
hf_bin=${HOLDFAST_BIN:-$hf_cache/bin}
hf_state=/var/lib/holdfast-cluster
hf_run=/run/holdfast-cluster
hf_socket=$hf_run/containerd/containerd.sock
hf_node_ip=10.89.0.1
hf_service_cidr=10.96.0.0/16
hf_pod_cidr=10.244.0.0/24
export HOLDFAST_BIN=$hf_bin
export KUBECONFIG=$hf_state/kubeconfig KUBECACHEDIR=$hf_state/home/kubectl
export HELM_CACHE_HOME=$hf_state/home/helm HELM_CONFIG_HOME=$hf_state/home/helm HELM_DATA_HOME=$hf_state/home/helm
export PATH=$hf_bin:$PATH

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }
fail() { say "failed: $*" >&2; exit 1; }

# wait_for SECONDS WHAT COMMAND...: polls COMMAND until it succeeds.
wait_for() {
  local limit=$1 what=$2 until
  shift 2
  until=$((SECONDS + limit))
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $until ] || { say "waited $limit s for $what" >&2; return 1; }
    sleep 0.2
  done
}

# One run at a time over the whole machine. The lock is on a folder that exists anyway, so nothing is left.
lock_cluster() {
  exec 9</var/lib
  flock -w "${1:-600}" 9 || fail "another run of the local cluster's scripts holds the lock on /var/lib; wait for it to end"
}
