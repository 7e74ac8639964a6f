#!/usr/bin/env bash
# Brings up one real Kubernetes node on this machine, as root: etcd, API server, controller manager,
# scheduler, kubelet on containerd, kube-proxy and DNS as processes of the host. Idempotent: a cluster
# that is up stays as it is; the remains of one that was killed are removed first.
set -euo pipefail
. "$(dirname "$0")/env.sh"
. "$hf_here/remains.sh"
[ "$(id -u)" = 0 ] || fail "the local cluster needs root: it runs containerd and kubelet"
"$hf_here/packages.sh"
"$hf_here/tools.sh" kube coredns
lock_cluster

healthy() {
  local name
  for name in etcd apiserver manager scheduler containerd kubelet proxy dns; do alive "$name" || return 1; done
  kubectl get --raw /readyz >/dev/null 2>&1 && node_ready
}
node_ready() { [ "$(kubectl get node holdfast -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ]; }
start() {
  local name=$1
  shift
  setsid nohup "$@" >"$hf_state/log/$name.log" 2>&1 </dev/null 9<&- &
  echo $! >"$hf_state/$name.pid"
}
trouble() {
  say "the cluster did not come up; logs are in $hf_state/log" >&2
  tail -n 5 "$hf_state"/log/*.log >&2 || true
}

if healthy; then say "the local cluster is up (KUBECONFIG=$KUBECONFIG)"; exit 0; fi
remove_remains
began=$SECONDS
trap trouble ERR
say "starting the local cluster (logs in $hf_state/log)"
mkdir -p "$hf_state"/{pki,log,config,cni,kubelet,volume-plugins,home} "$hf_run"
remember_machine

# Addresses: a bridge of our own carries the node's address. Service addresses are routed onto it and pods
# may forward to nothing else, so no packet for the cluster can ever leave this machine.
ip link add holdfast0 type bridge
ip addr add $hf_node_ip/32 dev holdfast0
ip link set holdfast0 up
ip route add $hf_service_cidr dev holdfast0
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
sysctl -qw fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=1048576
nft -f - <<N
table inet holdfast-cluster {
  chain forward {
    type filter hook forward priority -10; policy accept;
    iifname "holdfast*" oifname != "holdfast*" drop
  }
}
N
mount --bind "$hf_state/kubelet" "$hf_state/kubelet"
mount --make-rshared "$hf_state/kubelet"
for controller in /sys/fs/cgroup/*/; do mkdir -p "${controller}holdfast"; done
for file in cpuset.cpus cpuset.mems; do
  [ ! -f /sys/fs/cgroup/cpuset/$file ] || cat /sys/fs/cgroup/cpuset/$file >/sys/fs/cgroup/cpuset/holdfast/$file
done

say "certificates and configuration"
. "$hf_here/config.sh"

say "etcd and API server"
start etcd kube etcd --data-dir "$hf_state/etcd" --listen-client-urls http://127.0.0.1:12379 --advertise-client-urls http://127.0.0.1:12379 \
  --listen-peer-urls http://127.0.0.1:12380 --initial-advertise-peer-urls http://127.0.0.1:12380 --initial-cluster default=http://127.0.0.1:12380 \
  --unsafe-no-fsync --log-level warn
start apiserver kube kube-apiserver --etcd-servers=http://127.0.0.1:12379 --advertise-address=$hf_node_ip --bind-address=$hf_node_ip --secure-port=6443 \
  --cert-dir="$hf_state/pki" --tls-cert-file="$hf_state/pki/apiserver.crt" --tls-private-key-file="$hf_state/pki/apiserver.key" --client-ca-file="$hf_state/pki/ca.crt" \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$hf_state/pki/sa.pub" --service-account-signing-key-file="$hf_state/pki/sa.key" \
  --authorization-mode=Node,RBAC --service-cluster-ip-range=$hf_service_cidr --allow-privileged \
  --kubelet-client-certificate="$hf_state/pki/admin.crt" --kubelet-client-key="$hf_state/pki/admin.key" --kubelet-preferred-address-types=InternalIP \
  --requestheader-client-ca-file="$hf_state/pki/ca.crt" --requestheader-allowed-names=front-proxy --requestheader-extra-headers-prefix=X-Remote-Extra- \
  --requestheader-group-headers=X-Remote-Group --requestheader-username-headers=X-Remote-User \
  --proxy-client-cert-file="$hf_state/pki/front-proxy.crt" --proxy-client-key-file="$hf_state/pki/front-proxy.key"
start containerd containerd --config "$hf_state/config/containerd.toml"
wait_for 60 "the API server" kubectl get --raw /readyz

say "controllers, node and DNS"
start manager kube kube-controller-manager --kubeconfig="$hf_state/pki/manager.kubeconfig" --authentication-kubeconfig="$hf_state/pki/manager.kubeconfig" \
  --authorization-kubeconfig="$hf_state/pki/manager.kubeconfig" --bind-address=127.0.0.1 --service-account-private-key-file="$hf_state/pki/sa.key" \
  --root-ca-file="$hf_state/pki/ca.crt" --use-service-account-credentials --leader-elect=false --cluster-signing-cert-file="$hf_state/pki/ca.crt" \
  --cluster-signing-key-file="$hf_state/pki/ca.key" --allocate-node-cidrs=false --flex-volume-plugin-dir="$hf_state/volume-plugins"
start scheduler kube kube-scheduler --kubeconfig="$hf_state/pki/scheduler.kubeconfig" --authentication-kubeconfig="$hf_state/pki/scheduler.kubeconfig" \
  --authorization-kubeconfig="$hf_state/pki/scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
wait_for 30 "containerd" ctr -a $hf_socket version
"$hf_here/pause.sh"
start kubelet kube kubelet --config="$hf_state/config/kubelet.yaml" --kubeconfig="$hf_state/pki/node.kubeconfig" --hostname-override=holdfast \
  --node-ip=$hf_node_ip --root-dir="$hf_state/kubelet" --cert-dir="$hf_state/pki/kubelet"
start proxy kube kube-proxy --config="$hf_state/config/proxy.yaml" --hostname-override=holdfast
start dns coredns -conf "$hf_state/config/Corefile"
wait_for 90 "the node to be Ready" node_ready
wait_for 30 "the default service account" kubectl -n default get serviceaccount default
trap - ERR
say "the local cluster is up after $((SECONDS - began)) s (KUBECONFIG=$KUBECONFIG)"
