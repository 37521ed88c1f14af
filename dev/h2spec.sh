#!/usr/bin/env bash
# Builds h2spec, the conformance tests of HTTP/2, from its Go module, once, into the cache, and prints the program's path.
# tests/clients/h2spec pins the module and what it is made of.
set -euo pipefail

cd "$(dirname "$0")/../tests/clients/h2spec"
tools=${PODICORN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/podicorn-tools
program=$tools/bin/h2spec

mkdir -p "$tools/bin"
exec 9>"$tools/h2spec.lock"
flock 9
stamp=$(sha256sum go.sum | cut -d' ' -f1)
if [ "$(cat "$program.stamp" 2>/dev/null)" != "$stamp" ]; then
    if ! command -v go >/dev/null 2>&1; then
        echo "h2spec is built from its Go module, and go is not on PATH: as root on Debian \`dev/prepare.sh tests\` installs it" >&2
        exit 1
    fi
    echo "Building h2spec (once; takes a minute)" >&2
    CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=mod go build -trimpath -p 2 -ldflags "-s -w" \
        -o "$program.new" github.com/summerwind/h2spec/cmd/h2spec >&2
    mv "$program.new" "$program"
    echo "$stamp" >"$program.stamp"
fi
echo "$program"
