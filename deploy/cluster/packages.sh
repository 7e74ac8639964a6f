#!/usr/bin/env bash
# Installs the Debian packages that the local cluster and the images need; does nothing when all are there.
set -euo pipefail
. "$(dirname "$0")/env.sh"
packages=(buildah conntrack containerd containernetworking-plugins ethtool gcc iproute2 iptables jq libc6-dev mmdebstrap nftables openssl runc socat)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
say "installing Debian packages: ${missing[*]}"
# Packages start no service of their own: the cluster runs its own containerd.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e $policy ]; then printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; made_policy=1; fi
trap '[ -z "$made_policy" ] || rm -f '$policy EXIT
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
