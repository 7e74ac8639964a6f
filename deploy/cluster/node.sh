#!/usr/bin/env bash
# A further node of the local cluster, for tests of nodes that are lost: kubelet and containerd in namespaces of their
# own (mounts, network, processes), with folders of their own that have the same paths inside. The first node routes
# for it, and translates service addresses. Its name ends with its number, 2 to 9.
#   node.sh up NAME      starts it, again after a kill, and connects it again after a cut
#   node.sh kill NAME    ends all of it at once, as if power was lost; its disk stays
#   node.sh cut NAME     cuts its network; all that runs on it goes on
#   node.sh down NAME    removes it, its Node, its pods and its disk
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$hf_here/remains.sh"
. "$hf_here/parts.sh"
verb=${1:-} name=${2:-}
number=${name##*[!0-9]}
[[ $number =~ ^[2-9]$ ]] || fail "usage: node.sh up|kill|cut|down NAME, where NAME ends with a number from 2 to 9"
alive kubelet || fail "the cluster does not run: bring it up first (make cluster)"
lock_cluster
home=$hf_state/nodes/$name
address=${hf_node_ip%.*}.$number
pods=10.244.$number.0/24
link=holdfast$number

# The one process in which all of the node lives, as the first node sees it.
inner() { pgrep -P "$(cat "$hf_state/node-$name.pid")"; }
node_ctr() { ctr -a "/proc/$(inner)/root$hf_socket" -n k8s.io "$@"; }
# Its kubelet answers: what its Node says may be from before.
ready() { kubectl get --raw "/api/v1/nodes/$name/proxy/healthz" >/dev/null && [ "$(kubectl get node "$name" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ]; }
stopped() { ! alive "node-$name"; }
given() { [ -z "$(comm -13 <(images node_ctr) <(images ctr -a "$hf_socket" -n k8s.io))" ]; }
images() { "$@" images ls | awk 'NR > 1 && $1 !~ /^sha256:/ {print $1, $3}' | sort; }

connect() {
  ip link set "$link" up
  ip addr replace $hf_node_ip/32 dev "$link"
  ip route replace "$address/32" dev "$link" src $hf_node_ip
  ip route replace "$pods" via "$address" dev "$link" src $hf_node_ip
}
prepare() { # its disk, once
  mkdir -p "$home"/{pki,log,config,cni,kubelet,volume-plugins,home,shared,containers} "$hf_state/shared"
  node_config "$home" "$address" $pods "/holdfast/$name"
  [ ! -f "$home/pki/node.kubeconfig" ] || return 0
  (
    umask 077
    certificate "$name" "/O=system:nodes/CN=system:node:$name" "extendedKeyUsage=clientAuth"
    kubeconfig "$name" "$home/pki/node.kubeconfig"
    certificate "$name-kubelet" "/CN=$name" "subjectAltName=DNS:$name,IP:$address"
    mv "$pki/$name-kubelet.key" "$home/pki/kubelet.key"
    mv "$pki/$name-kubelet.crt" "$home/pki/kubelet.crt"
    cp "$pki/ca.crt" "$home/pki/ca.crt"
  )
}
boot() {
  prepare
  remove_groups "holdfast/$name"
  for controller in /sys/fs/cgroup/*/holdfast; do mkdir -p "$controller/$name"; done
  for file in cpuset.cpus cpuset.mems; do
    [ ! -f /sys/fs/cgroup/cpuset/$file ] || cat /sys/fs/cgroup/cpuset/$file >"/sys/fs/cgroup/cpuset/holdfast/$name/$file"
  done
  setsid nohup unshare --mount --net --pid --fork --kill-child --mount-proc "$hf_here/node-main.sh" "$name" "$address" "$home" \
    >"$home/log/main.log" 2>&1 </dev/null 9<&- &
  echo $! >"$hf_state/node-$name.pid"
  wait_for 10 "the node's first process" inner
  ip link add "$link" type veth peer name eth0 netns "$(inner)"
  connect
  # Until then its paths, and the socket there, are the first node's.
  wait_for 30 "its folders" test -e "/proc/$(inner)/root$hf_run/$name"
  wait_for 30 "its containerd" node_ctr version
}
give_images() { # those of the first node, since nothing can be pulled
  local missing
  missing=$(comm -13 <(images node_ctr) <(images ctr -a "$hf_socket" -n k8s.io) | cut -d' ' -f1)
  # shellcheck disable=SC2086
  [ -z "$missing" ] || ctr -a "$hf_socket" -n k8s.io images export - $missing | node_ctr images import - >/dev/null
  wait_for 20 "$name to take the images" given
}
end_at_once() {
  stopped || kill -9 "$(cat "$hf_state/node-$name.pid")"
  wait_for 20 "the processes of $name to end" stopped
  wait_for 20 "its link to go" eval "! ip link show $link"
}

case $verb in
  up)
    if stopped; then boot; else connect; fi
    give_images
    wait_for 90 "node $name to be Ready" ready || { tail -n 5 "$home"/log/*.log >&2; exit 1; }
    ;;
  kill) end_at_once ;;
  cut) ip link set "$link" down ;;
  down)
    end_at_once
    kubectl delete node "$name" --ignore-not-found >/dev/null
    # Nothing of them can run any more.
    kubectl delete pods -A --field-selector "spec.nodeName=$name" --force --grace-period=0 >/dev/null 2>&1
    remove_groups "holdfast/$name"
    rm -rf --one-file-system "$home" "$hf_state/node-$name.pid"
    ;;
  *) fail "usage: node.sh up|kill|cut|down NAME" ;;
esac
say "node $name: $verb"
