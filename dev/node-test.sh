#!/usr/bin/env bash
# node-test.sh VENV [PYTEST-ARGUMENT...]: the suite of tests/node, on one node in namespaces of its own. As root.
#
# When the process that is PID 1 in there ends, the kernel ends whatever was started, and nothing stays mounted; what is
# left are the node's cgroups, which are removed here.
set -euo pipefail

venv=$1
shift
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
    echo "node-test.sh: a kubelet needs root." >&2
    exit 1
fi
KUBEBUILDER_ASSETS=$(dev/cluster-assets.sh)
PODICORN_NODE_ASSETS=$(dev/node-assets.sh)
dev/helm.sh >/dev/null
cd tests
# Archives that are there already can be named: the last ones are in podicorn-images/archives of the cache.
if [ -z "${PODICORN_NODE_IMAGES:-}" ]; then
    echo "Building the images (the first time takes some ten minutes)"
    PODICORN_NODE_IMAGES=$("$venv/bin/python" -B -m node.archives)
fi
PODICORN_NODE_CGROUP=podicorn-node-$$
export KUBEBUILDER_ASSETS PODICORN_NODE_ASSETS PODICORN_NODE_IMAGES PODICORN_NODE_CGROUP
# A whole cluster on two cores takes its time where others want them, too.
export PODTEST_DEADLINE=${PODTEST_DEADLINE:-240}

# Only if the temporary directory is of the disk can containerd stack layers in it.
directory=$(mktemp -d "${PODICORN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/podicorn-node.XXXXXX")
clean() {
    local group
    # The kernel needs a moment to let go of what it has just ended.
    for _ in $(seq 50); do
        find /sys/fs/cgroup -depth -type d \( -name "$PODICORN_NODE_CGROUP" -o -path "*/$PODICORN_NODE_CGROUP/*" \) -exec rmdir {} + 2>/dev/null || true
        group=$(find /sys/fs/cgroup -type d -name "$PODICORN_NODE_CGROUP" -print -quit 2>/dev/null)
        [ -n "$group" ] || break
        sleep 0.2
    done
    rm -rf "$directory"
}
trap clean EXIT

# The shell is PID 1: it reaps what containerd leaves behind.
unshare --mount --net --pid --uts --ipc --fork --kill-child --mount-proc bash -c '"$@"; exit $?' node \
    "$venv/bin/python" -m pytest --quiet -p no:cacheprovider --basetemp="$directory/t" node "$@"
