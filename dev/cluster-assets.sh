#!/usr/bin/env bash
# Prints the directory with the programs of a control plane: etcd, kube-apiserver, kube-controller-manager, kubectl.
#
# KUBEBUILDER_ASSETS is taken where it holds all four. Else they are built once from their Go modules (tests/cluster/tools)
# into the cache, under a hash of what they are made of; a build takes 8 to 15 minutes on two cores and 3 GB of disk.
# The versions are those of the modules' go.mod, which go.sum pins to the byte.
set -euo pipefail

programs=(etcd kube-apiserver kube-controller-manager kubectl)
complete() {
    local program
    for program in "${programs[@]}"; do
        [ -x "$1/$program" ] || return 1
    done
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ] && complete "$KUBEBUILDER_ASSETS"; then
    echo "$KUBEBUILDER_ASSETS"
    exit
fi

self=$(realpath "$0")
cd "$(dirname "$self")/../tests/cluster/tools"
hash=$(cat kubernetes/go.{mod,sum} etcd/go.{mod,sum} "$self" | sha256sum | cut -c1-16)
cache=${PODICORN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/podicorn-cluster-assets
if complete "$cache/$hash"; then
    echo "$cache/$hash"
    exit
fi

# What the modules' go lines ask for; an older Go would have to fetch another itself, which GOTOOLCHAIN=local forbids.
needed=$(sed -n 's/^go //p' kubernetes/go.mod)
if ! command -v go >/dev/null 2>&1; then
    echo "cluster-assets.sh: Go $needed or newer is needed to build Kubernetes, and there is no go on PATH." >&2
    echo "Install it (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a directory with ${programs[*]}." >&2
    exit 1
fi
present=$(GOTOOLCHAIN=local go env GOVERSION | sed 's/^go//')
if [ "$(printf '%s\n' "$needed" "$present" | sort -V | head -1)" != "$needed" ]; then
    echo "cluster-assets.sh: Go $needed or newer is needed to build Kubernetes; this is Go $present." >&2
    echo "Install a newer one (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a directory with ${programs[*]}." >&2
    exit 1
fi

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
# Another run may have built them while this one waited.
if complete "$cache/$hash"; then
    echo "$cache/$hash"
    exit
fi

version=$(sed -n 's/^require k8s.io\/kubernetes //p' kubernetes/go.mod)
etcd=$(sed -n 's/^require go.etcd.io\/etcd\/server\/v3 //p' etcd/go.mod)
echo "Building Kubernetes $version and etcd $etcd from their Go modules (once; 8 to 15 minutes on two cores)" >&2
work=$(mktemp -d "$cache/.building.XXXXXX")
trap 'rm -rf "$work"' EXIT

export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
# Without a stamp /version would be no version, which Helm and others refuse.
IFS=. read -r major minor _ <<<"${version#v}"
stamps=(-s -w)
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    stamps+=(-X "$package.gitVersion=$version" -X "$package.gitMajor=$major" -X "$package.gitMinor=$minor"
        -X "$package.gitCommit=0000000000000000000000000000000000000000" -X "$package.gitTreeState=clean"
        -X "$package.buildDate=2026-01-01T00:00:00Z")
done
build() {
    local module=$1 program=$2 package=$3
    echo "  $program" >&2
    # The lock ends with this script, not with a compiler that outlives it.
    if ! (cd "$module" && go build -trimpath -ldflags "${stamps[*]}" -o "$work/$program" "$package") >&2 9>&-; then
        echo "cluster-assets.sh: $program could not be built (see above)." >&2
        exit 1
    fi
}
build etcd etcd go.etcd.io/etcd/server/v3
for program in kube-apiserver kube-controller-manager kubectl; do
    build kubernetes "$program" "k8s.io/kubernetes/cmd/$program"
done
chmod 755 "$work"
mv "$work" "$cache/$hash"
trap - EXIT
echo "$cache/$hash"
