#!/usr/bin/env bash
# cluster-tour.sh PODICORN [--stay]: builds the operator and the test bed and walks the tour. PODICORN is the server that
# the pods run, of a virtual environment with Flask.
set -euo pipefail

export PODICORN_PROGRAM=$1
shift
cd "$(dirname "$0")/.."
KUBEBUILDER_ASSETS=$(dev/cluster-assets.sh)
export KUBEBUILDER_ASSETS
target=${CARGO_TARGET_DIR:-target}
echo "Building the operator and the test bed (the first time takes some minutes)"
cargo build --quiet --locked --package podicorn-operator --package podicorn-testbed --bins
exec "$target/debug/cluster" "$@"
