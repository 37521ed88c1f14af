#!/usr/bin/env bash
# own-target.sh DIRECTORY: makes what Cargo builds there this checkout's. Checkouts share the directory, and Cargo goes by paths
# inside the workspace and by times of files: what another one has built from other sources would pass for ours.
set -euo pipefail
cd "$(dirname "$0")/.."

owner=$1/.checkout
here=$(pwd -P)
if [ -d "$1" ] && [ "$(cat "$owner" 2>/dev/null)" != "$here" ]; then
  # Dependencies stay.
  find "$1" -type d -path '*/.fingerprint/podicorn-*' -prune -exec rm -rf {} +
fi
mkdir -p "$1"
echo "$here" >"$owner"
