#!/usr/bin/env bash
# Checks the dependencies' licences, sources and versions against deny.toml. Installs cargo-deny once, into the cache.
# The advisory database lives in a git repository, so that part is asked for only with ADVISORIES=1.
set -euo pipefail

version=0.20.2
tools=${PODICORN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/podicorn-tools
if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
    echo "Installing cargo-deny $version (once; takes some minutes)"
    cargo install --quiet --locked --version "$version" --root "$tools" cargo-deny
fi
cd "$(dirname "$0")/.."
checks=(bans licenses sources)
[ "${ADVISORIES:-}" = 1 ] && checks+=(advisories)
for manifest in Cargo.toml server/http/fuzz/Cargo.toml; do
    "$tools/bin/cargo-deny" --log-level warn --manifest-path "$manifest" --all-features --locked \
        --config "$(dirname "$manifest")/deny.toml" check --hide-inclusion-graph "${checks[@]}"
done
