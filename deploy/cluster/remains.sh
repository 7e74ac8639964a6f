# Everything that the local cluster may leave on a machine, and how each goes away. Sourced by up.sh,
# down.sh and the check; never touches what was there before (see remember_machine).
# shellcheck shell=bash
hf_sysctls=(net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables fs.inotify.max_user_instances fs.inotify.max_user_watches
  vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes
  net.netfilter.nf_conntrack_max net.netfilter.nf_conntrack_tcp_timeout_established net.netfilter.nf_conntrack_tcp_timeout_close_wait
  net.ipv4.conf.all.route_localnet net.ipv4.vs.conntrack)
hf_folders=(/run/containerd /var/lib/cni /var/log/containers /var/log/pods /run/netns /opt/containerd /etc/cni /var/run/kubernetes /usr/libexec/kubernetes /var/lib/kubelet /opt/cni)
# Kept outside the state, so that it survives the removal of the state by hand.
hf_before=/var/lib/holdfast-cluster.before

# Writes down, once, how the machine was: settings to put back and folders that were not there.
remember_machine() {
  [ ! -e $hf_before ] || return 0
  {
    local key folder
    for key in "${hf_sysctls[@]}"; do sysctl -e "$key" 2>/dev/null | sed 's/^/sysctl /; s/ = /=/' || true; done
    for folder in "${hf_folders[@]}"; do [ -e "$folder" ] || echo "absent $folder"; done
  } >$hf_before.new
  mv $hf_before.new $hf_before
}

# alive NAME: whether the process that up.sh started under that name still runs (and is not another of the same pid).
alive() {
  local pid
  pid=$(cat "$hf_state/$1.pid" 2>/dev/null) || return 1
  [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qE "$hf_state|etcd|coredns"
}

end() { # NAME SECONDS: asks, waits, insists
  local pid until=$((SECONDS + $2))
  alive "$1" || return 0
  pid=$(cat "$hf_state/$1.pid")
  kill "$pid" 2>/dev/null || return 0
  while [ -e "/proc/$pid" ] && [ $SECONDS -lt $until ]; do sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
}

our_shims() { pgrep -f -- "containerd-shim.*-address $hf_socket" || true; }
our_cgroups() { find /sys/fs/cgroup -depth -type d \( -path '*/holdfast' -o -path '*/holdfast/*' \) 2>/dev/null || true; }
our_mounts() { awk -v a="$hf_state/" -v b="$hf_run/" '{gsub(/\\040/, " ", $2)} index($2, a) == 1 || index($2, b) == 1 || $2 == substr(a, 1, length(a) - 1) {print $2}' /proc/mounts | tac; }

# remove_groups PATH: the empty cgroups of that path below each controller.
remove_groups() {
  local group
  find /sys/fs/cgroup -depth -type d \( -path "*/$1" -o -path "*/$1/*" \) 2>/dev/null | while read -r group; do rmdir "$group" 2>/dev/null || true; done
}
# Every further node (see node.sh) ends with its first process.
our_nodes() { find "$hf_state" -maxdepth 1 -name 'node-*.pid' -printf '%f\n' 2>/dev/null | sed 's/\.pid$//'; }

remove_remains() {
  local pid name group mount
  for name in $(our_nodes); do ! alive "$name" || kill -9 "$(cat "$hf_state/$name.pid")" 2>/dev/null || true; done
  for name in kubelet; do end $name 10; done
  # A group may end while it is looked at.
  for group in $(our_cgroups); do { cat "$group/cgroup.procs" 2>/dev/null || true; } | xargs -r kill -9 2>/dev/null || true; done
  for pid in $(our_shims); do kill -9 "$pid" 2>/dev/null || true; done
  for name in proxy dns scheduler manager; do end $name 5; done
  end apiserver 5
  end etcd 5
  end containerd 10
  # A second pass: what ended late, and mounts over mounts.
  for pid in $(our_shims); do kill -9 "$pid" 2>/dev/null || true; done
  our_mounts | while read -r mount; do umount -l "$mount" 2>/dev/null || true; done
  remove_groups holdfast
  ip -o link show type veth 2>/dev/null | awk -F'[ @:]+' '/master holdfast-cni0/ {print $2}' | while read -r name; do ip link del "$name" 2>/dev/null || true; done
  for name in holdfast-cni0 holdfast{0,2,3,4,5,6,7,8,9}; do ip link del $name 2>/dev/null || true; done
  for name in "ip kube-proxy" "ip6 kube-proxy" "inet holdfast-cluster"; do nft delete table $name 2>/dev/null || true; done
  find /var/log/containers -type l -lname "$hf_state/*" -delete 2>/dev/null || true
  rm -f /var/lib/cni/results/holdfast-cluster-* 2>/dev/null || true
  rm -rf "$hf_run"
  wait_for 10 "the cluster's folder to be free" rm -rf --one-file-system "$hf_state" || fail "$hf_state is still in use; see 'grep $hf_state /proc/mounts'"
}

# Puts back what remember_machine wrote down.
restore_machine() {
  local what value
  [ -e $hf_before ] || return 0
  while read -r what value; do
    case $what in
      sysctl) sysctl -qw "$value" 2>/dev/null || true ;;
      absent) rm -rf --one-file-system "$value" 2>/dev/null || true ;;
    esac
  done <$hf_before
  rm -f $hf_before
}

# Prints one line for each thing of the cluster that is still on the machine; nothing when it is clean.
list_remains() {
  local name group
  for name in etcd apiserver manager scheduler containerd kubelet proxy dns; do ! alive $name || echo "process $name"; done
  our_shims | sed 's/^/process containerd-shim /'
  pgrep -fa "$hf_state" | grep -v "$$" | sed 's/^/process /' || true
  our_mounts | sed 's/^/mount /'
  our_cgroups | sed 's/^/cgroup /'
  for name in holdfast-cni0 holdfast{0,2,3,4,5,6,7,8,9}; do ! ip link show $name >/dev/null 2>&1 || echo "link $name"; done
  ip route show | grep -E "holdfast|10\.96\.0\.0|10\.244\.0\.0" | sed 's/^/route /' || true
  nft list tables 2>/dev/null | grep -E 'kube-proxy|holdfast-cluster' | sed 's/^/nft /' || true
  nft list ruleset 2>/dev/null | grep -oE 'KUBE-[A-Z0-9-]+|CNI-[A-Z0-9-]+' | sort -u | sed 's/^/chain /' || true
  for name in "$hf_state" "$hf_run" $hf_before; do [ ! -e "$name" ] || echo "folder $name"; done
  find /var/log/containers /var/log/pods /var/lib/cni /run/netns -lname "$hf_state/*" -o -name 'holdfast-cluster*' 2>/dev/null | sed 's/^/file /' || true
}
