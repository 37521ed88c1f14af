#!/usr/bin/env bash
# Prints the directory with what a node adds to the programs of dev/cluster-assets.sh: kubelet and kube-scheduler, of the
# same Kubernetes, built once from their Go modules (tests/cluster/tools/node; two to five minutes on two cores).
set -euo pipefail

self=$(realpath "$0")
cd "$(dirname "$self")/../tests/cluster/tools/node"
cache=${PODICORN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/podicorn-cluster-assets
built=$cache/node-$(cat go.{mod,sum} "$self" | sha256sum | cut -c1-16)
mkdir -p "$cache"
exec 9>"$cache/.node-lock"
flock 9
if [ ! -x "$built/kubelet" ] || [ ! -x "$built/kube-scheduler" ]; then
    needed=$(sed -n 's/^go //p' go.mod)
    present=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed 's/^go//') || present=none
    if [ "$(printf '%s\n' "$needed" "$present" | sort -V | head -1)" != "$needed" ] || [ "$present" = none ]; then
        echo "node-assets.sh: Go $needed or newer is needed to build Kubernetes; here it is: $present (https://go.dev/dl)." >&2
        exit 1
    fi
    version=$(sed -n 's/^require k8s.io\/kubernetes //p' go.mod)
    echo "Building kubelet and kube-scheduler $version from their Go modules (once; two to five minutes on two cores)" >&2
    work=$(mktemp -d "$cache/.building.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
    # Without a stamp the node would say that its kubelet is of no version.
    IFS=. read -r major minor _ <<<"${version#v}"
    stamps=(-s -w)
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        stamps+=(-X "$package.gitVersion=$version" -X "$package.gitMajor=$major" -X "$package.gitMinor=$minor"
            -X "$package.gitCommit=0000000000000000000000000000000000000000" -X "$package.gitTreeState=clean"
            -X "$package.buildDate=2026-01-01T00:00:00Z")
    done
    go build -trimpath -ldflags "${stamps[*]}" -o "$work/" k8s.io/kubernetes/cmd/kubelet k8s.io/kubernetes/cmd/kube-scheduler \
        >&2 9>&-
    mkdir -p "$built"
    mv "$work"/* "$built/"
fi
echo "$built"
