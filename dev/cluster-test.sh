#!/usr/bin/env bash
# cluster-test.sh PODICORN [SUITE] [ARGUMENT...]: runs the suites of tests/cluster, or one of them. PODICORN is the server
# that the pods run, of a virtual environment with Flask.
#
# Each suite has a control plane of its own. The reconciler's waits two minutes for nothing to be written, so it runs beside
# the others; what it says comes at the end.
set -euo pipefail

export PODICORN_PROGRAM=$1
suite=${2:-}
shift $(($# > 1 ? 2 : 1))
cd "$(dirname "$0")/.."
KUBEBUILDER_ASSETS=$(dev/cluster-assets.sh)
PODICORN_HELM=$(dev/helm.sh)
export KUBEBUILDER_ASSETS PODICORN_HELM
cargo build --quiet --locked --package podicorn-operator --bins
test=(cargo test --quiet --locked --package podicorn-testbed --features cluster)
"${test[@]}" --no-run

if [ -n "$suite" ]; then
    exec "${test[@]}" --test "$suite" -- "$@"
fi
failed=()
said=$(mktemp)
"${test[@]}" --test reconcile -- "$@" >"$said" 2>&1 &
beside=$!
trap 'kill "$beside" 2>/dev/null || true; rm -f "$said"' EXIT
"${test[@]}" --lib --bins || failed+=(lib)
for suite in install bed crd rbac leader faults scaling trace scale; do
    echo "--- $suite"
    "${test[@]}" --test "$suite" -- "$@" || failed+=("$suite")
done
wait "$beside" || failed+=(reconcile)
echo "--- reconcile"
cat "$said"
if [ ${#failed[@]} != 0 ]; then
    echo "Failed: ${failed[*]}" >&2
    exit 1
fi
