# Certificates, kubeconfigs and what each node of the local cluster is configured with. Sourced by config.sh and node.sh.
# shellcheck shell=bash
pki=$hf_state/pki

certificate() { # NAME SUBJECT EXTENSION
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/$1.key" -out "$pki/$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 -out "$pki/$1.crt" -extfile <(echo "$3") 2>/dev/null
}
kubeconfig() { # NAME FILE
  cat >"$2" <<C
apiVersion: v1
kind: Config
current-context: holdfast
contexts: [{name: holdfast, context: {cluster: holdfast, user: $1}}]
clusters: [{name: holdfast, cluster: {server: "https://$hf_node_ip:6443", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}}]
C
  chmod 600 "$2"
}

# node_config FOLDER ADDRESS POD-CIDR CGROUP: what containerd and kubelet of one node read. Every node has the same paths.
node_config() {
  local folder=$1 address=$2 pod_cidr=$3 group=$4
cat >"$folder/cni/10-holdfast.conflist" <<C
{"cniVersion": "0.4.0", "name": "holdfast-cluster", "plugins": [{"type": "bridge", "bridge": "holdfast-cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
 "ipam": {"type": "host-local", "dataDir": "$hf_state/cni/addresses", "ranges": [[{"subnet": "$pod_cidr"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
C
cat >"$folder/config/containerd.toml" <<C
version = 2
root = "$hf_state/containerd"
state = "$hf_run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "$hf_socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/holdfast/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$hf_state/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "$hf_run/runc"
C
# kubelet touches no iptables and no folder outside the state; images are never collected, since they cannot be pulled again.
cat >"$folder/config/kubelet.yaml" <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $address
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
cgroupDriver: cgroupfs
cgroupRoot: $group
containerRuntimeEndpoint: unix://$hf_socket
clusterDNS: [$hf_node_ip]
clusterDomain: cluster.local
failSwapOn: false
resolvConf: ""
podLogsDir: $hf_state/pod-logs
volumePluginDir: $hf_state/volume-plugins
makeIPTablesUtilChains: false
serializeImagePulls: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
syncFrequency: 10s
volumeStatsAggPeriod: 10s
C
}
