# Certificates, kubeconfigs and component configuration of the local cluster. Sourced by up.sh.
# shellcheck shell=bash
. "$hf_here/parts.sh"

umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" -days 3650 -subj /CN=holdfast-cluster 2>/dev/null
openssl ecparam -name prime256v1 -genkey -noout -out "$pki/sa.key" 2>/dev/null
openssl ec -in "$pki/sa.key" -pubout -out "$pki/sa.pub" 2>/dev/null
client=extendedKeyUsage=clientAuth
certificate apiserver /CN=kube-apiserver "subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:$hf_node_ip,IP:10.96.0.1"
certificate kubelet /CN=holdfast "subjectAltName=DNS:holdfast,IP:$hf_node_ip"
certificate admin /O=system:masters/CN=admin $client
certificate manager /CN=system:kube-controller-manager $client
certificate scheduler /CN=system:kube-scheduler $client
certificate node /O=system:nodes/CN=system:node:holdfast $client
certificate proxy /CN=system:kube-proxy $client
certificate front-proxy /CN=front-proxy $client
for user in manager scheduler node proxy; do kubeconfig $user "$pki/$user.kubeconfig"; done
kubeconfig admin "$KUBECONFIG"
umask 022

node_config "$hf_state" $hf_node_ip $hf_pod_cidr /holdfast
cat >"$hf_state/config/proxy.yaml" <<C
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $pki/proxy.kubeconfig}
clusterCIDR: $hf_pod_cidr
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
nodePortAddresses: [$hf_node_ip/32]
C
cat >"$hf_state/config/Corefile" <<C
cluster.local 10.in-addr.arpa {
  bind $hf_node_ip
  errors
  kubernetes cluster.local 10.in-addr.arpa {
    kubeconfig $KUBECONFIG holdfast
  }
  cache 5
}
. {
  bind $hf_node_ip
  template ANY ANY {
    rcode NXDOMAIN
  }
}
C
