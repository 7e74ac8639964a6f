#!/usr/bin/env bash
# Builds this tree's images, gives them to the local cluster and installs or upgrades Holdfast there.
set -euo pipefail
. "$(dirname "$0")/cluster/env.sh"
"$hf_root/deploy/cluster/tools.sh" helm
"$hf_root/deploy/images/ours.sh" --load
"$hf_root/deploy/images/postgres.sh" --load
chart=$hf_root/charts/holdfast
say "installing the chart"
kubectl apply --server-side --force-conflicts -f "$chart/crds" >/dev/null
# Images keep their tag while their contents change: their digests, as pod annotations, roll what changed and nothing else.
digests=()
for of in scheduler=scheduler executor=executor repoManager=repo-manager gc=gc restore=restore csi=csi; do
  image=localhost/holdfast/holdfast-${of#*=}:dev
  digests+=(--set-string "${of%=*}.podAnnotations.holdfast\\.io/image=$(ctr -a "$hf_socket" -n k8s.io images ls "name==$image" | awk 'NR == 2 {print $3}')")
done
helm upgrade --install holdfast "$chart" --namespace holdfast-system --create-namespace --skip-crds \
  --set csi.kubeletDir="$hf_state/kubelet" --set csi.dataDir="$hf_state/volumes" "${digests[@]}" "$@" >/dev/null || fail "helm could not install the chart"
for workload in statefulset/holdfast-nats daemonset/holdfast-csi deployment/holdfast-{scheduler,executor,repo-manager,gc,restore}; do
  kubectl -n holdfast-system rollout status "$workload" --timeout=120s >/dev/null || {
    kubectl -n holdfast-system get pods -o wide >&2
    kubectl -n holdfast-system logs "$workload" --all-containers --tail=20 >&2 || true
    fail "$workload did not become ready within 120 s"
  }
done
say "Holdfast runs in namespace holdfast-system"
