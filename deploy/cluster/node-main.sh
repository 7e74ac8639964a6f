#!/usr/bin/env bash
# The first process of a further node, in namespaces of its own; started by node.sh. When it ends, the kernel ends all
# of the node and takes its mounts and its network away: NAME ADDRESS HOME
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$hf_here/remains.sh"
name=$1 address=$2 home=$3
# What the first node has mounted is none of its business.
our_mounts | while read -r mount; do umount -l "$mount" 2>/dev/null || true; done
mount --bind "$hf_state/shared" "$home/shared"
mount --rbind "$home" "$hf_state"
for folder in "$hf_run" /run/containerd /var/lib/kubelet; do [ ! -d "$folder" ] || mount -t tmpfs node "$folder"; done
# From now on what is under these paths is the node's own.
: >"$hf_run/$name"
[ ! -d /var/log/containers ] || mount --bind "$hf_state/containers" /var/log/containers
mount --bind "$hf_state/kubelet" "$hf_state/kubelet"
mount --make-rshared "$hf_state/kubelet"
wait_for 10 "the link to the first node" ip link show eth0
ip link set lo up
ip link set eth0 up
ip addr add "$address/32" dev eth0
ip route add $hf_node_ip dev eth0
ip route add default via $hf_node_ip
sysctl -qw net.ipv4.ip_forward=1
containerd --config "$hf_state/config/containerd.toml" >"$hf_state/log/containerd.log" 2>&1 &
wait_for 30 "containerd" ctr -a "$hf_socket" version
wait_for 60 "the images" ctr -a "$hf_socket" -n k8s.io images label localhost/holdfast/pause:1 "io.cri-containerd.pinned=pinned"
kube kubelet --config="$hf_state/config/kubelet.yaml" --kubeconfig="$hf_state/pki/node.kubeconfig" --hostname-override="$name" \
  --node-ip="$address" --root-dir="$hf_state/kubelet" --cert-dir="$hf_state/pki/kubelet" >"$hf_state/log/kubelet.log" 2>&1 &
wait
