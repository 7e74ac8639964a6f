#!/usr/bin/env bash
# Checks the chart without a cluster: lint, rendering of the ways it is installed, and what must be true of all of them.
set -euo pipefail
. "$(dirname "$0")/../cluster/env.sh"
chart=$hf_root/charts/holdfast
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
helm lint --quiet --strict "$chart"
render() { local name=$1; shift; helm template holdfast "$chart" --namespace holdfast-system --kube-version 1.34.4 "$@" >"$out/$name.yaml"; }
render default
render without-csi --set csi.enabled=false
render scaled --set executor.replicas=5 --set 'credentialNamespaces={team-a,team-b}' --set nats.storageClassName=fast --set otlpEndpoint=http://collector:4317 \
  --set-string executor.podAnnotations.build=7 --set-string csi.podAnnotations.build=8
expect() { grep -qE -- "$2" "$out/$1.yaml" || fail "chart, $1: expected $2"; }
refuse() { ! grep -qE -- "$2" "$out/$1.yaml" || fail "chart, $1: did not expect $2"; }
count() { [ "$(grep -cE -- "$2" "$out/$1.yaml")" = "$3" ] || fail "chart, $1: expected $2 $3 times, found $(grep -cE -- "$2" "$out/$1.yaml")"; }
count default '^kind: Deployment$' 5
count default '^kind: StatefulSet$' 1
count default '^kind: DaemonSet$' 1
count default '^kind: StorageProvider$' 8
count default '^kind: ValidatingAdmissionPolicy$' 1
count default 'privileged: true' 1
count default 'readOnlyRootFilesystem: true' 8
expect default '^  replicas: 1$'
refuse default 'verbs: \["?\*"?\]'
refuse default 'resources: \["?\*"?\]'
refuse without-csi 'csi\.holdfast\.io'
count without-csi '^kind: StorageProvider$' 7
expect scaled '^  replicas: 5$'
count scaled 'name: holdfast-credentials' 6
expect scaled 'storageClassName: fast'
expect scaled 'HOLDFAST_OTLP_ENDPOINT'
count scaled '^        build: "7"$' 1
count scaled '^      annotations: \{"build":"8"\}$' 1
# Secrets are read in the release's namespace and in those named, never in the whole cluster.
for file in "$out"/*.yaml; do
  awk -v RS='\n---' '/kind: ClusterRole\n/ && /secrets/ {found = 1} END {exit found}' "$file" || fail "chart: a ClusterRole may read Secrets"
done
for bad in executor.replicas=-1 executor.replicas=many image.tag= csi.kubeletDir=relative unknown=1; do
  ! helm template holdfast "$chart" --set "$bad" >/dev/null 2>&1 || fail "chart: the schema accepts $bad"
done
say "chart: 3 renderings checked"
