#!/usr/bin/env bash
# Builds both majors of Helm from their Go modules, once, into the cache, and prints the directory with helm3 and helm4.
# Charts have to work with either: what one accepts the other may refuse.
set -euo pipefail

helm3=3.22.0
# The minor version of Kubernetes whose client Helm 3.22 has.
kubernetes3=37
helm4=4.3.1
tools=${PODICORN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/podicorn-tools
bin=$tools/bin

# build MAJOR VERSION: the module has no replace directives, so that `go install` of the version is enough. Versions are
# stamped as in Helm's own Makefile: its own one, and for Helm 3 that of Kubernetes, which is 1.20 otherwise and too old
# for a chart's kubeVersion. Helm 4 finds it in the build information.
build() {
    local major=$1 version=$2
    local program=$bin/helm$major
    [ "$(cat "$program.stamp" 2>/dev/null)" = "$version $kubernetes3" ] && return
    echo "Building Helm $version (once; takes some minutes)" >&2
    local build
    build=$(mktemp -d)
    local stamps="-X helm.sh/helm/v$major/internal/version.version=v$version"
    local package
    for package in pkg/lint/rules pkg/chartutil; do
        stamps+=" -X helm.sh/helm/v3/$package.k8sVersionMajor=1 -X helm.sh/helm/v3/$package.k8sVersionMinor=$kubernetes3"
    done
    CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=mod GOBIN=$build go install -trimpath -p 2 \
        -ldflags "-s -w $stamps" \
        "helm.sh/helm/v$major/cmd/helm@v$version"
    mkdir -p "$bin"
    mv "$build/helm" "$program"
    echo "$version $kubernetes3" >"$program.stamp"
    rmdir "$build"
}

mkdir -p "$tools"
exec 9>"$tools/helm.lock"
flock 9
build 3 "$helm3"
build 4 "$helm4"
echo "$bin"
