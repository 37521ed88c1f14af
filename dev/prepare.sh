#!/bin/sh
# Makes sure that what the build needs is there. As root on a Debian-like system it installs what is missing;
# elsewhere it says what to install. Prints nothing when all is well. "prepare.sh tests" asks for the clients and tools of
# the black-box suites, too, "prepare.sh bench" for the benchmark's, "prepare.sh c++" for what the fuzz targets need,
# "prepare.sh cgroup-v2" for an emulated machine, "prepare.sh charts", "prepare.sh images" and
# "prepare.sh node" for what these check.
set -eu

missing=""
need() { missing="$missing $1"; }

command -v cc >/dev/null 2>&1 || need gcc
[ "${1:-}" != c++ ] || command -v c++ >/dev/null 2>&1 || need g++
command -v make >/dev/null 2>&1 || need make
command -v git >/dev/null 2>&1 || need git
[ -e /usr/include/stdio.h ] || [ -n "$(find /usr/include -name stdio.h -print -quit 2>/dev/null)" ] || need libc6-dev
python=$("$(dirname "$0")/find-python.sh" 2>/dev/null) || need python3-venv

if [ "${1:-}" = tests ]; then
    command -v curl >/dev/null 2>&1 || need curl
    command -v wrk >/dev/null 2>&1 || need wrk
    command -v h2load >/dev/null 2>&1 || need nghttp2-client
    command -v slowhttptest >/dev/null 2>&1 || need slowhttptest
    command -v node >/dev/null 2>&1 || need nodejs
    command -v go >/dev/null 2>&1 || need golang-go
    command -v promtool >/dev/null 2>&1 || need prometheus
    command -v openssl >/dev/null 2>&1 || need openssl
    command -v ss >/dev/null 2>&1 || need iproute2
    # The dashboard is looked at in a browser; fontconfig alone brings no letters.
    command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || need "chromium fonts-dejavu-core"
fi
if [ "${1:-}" = charts ]; then
    command -v go >/dev/null 2>&1 || need golang-go
    command -v openssl >/dev/null 2>&1 || need openssl
    # For promtool, which checks the alerts.
    command -v promtool >/dev/null 2>&1 || need prometheus
fi
if [ "${1:-}" = node ]; then
    command -v containerd >/dev/null 2>&1 || need containerd
    [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || need containernetworking-plugins
    command -v ip >/dev/null 2>&1 || need iproute2
    command -v go >/dev/null 2>&1 || need golang-go
    command -v openssl >/dev/null 2>&1 || need openssl
fi
if [ "${1:-}" = images ] || [ "${1:-}" = node ]; then
    for tool in buildah podman runc mmdebstrap; do
        command -v "$tool" >/dev/null 2>&1 || need "$tool"
    done
fi
if [ "${1:-}" = cgroup-v2 ]; then
    command -v qemu-system-x86_64 >/dev/null 2>&1 || need qemu-system-x86
    [ -x /bin/busybox ] || need busybox-static
    command -v cpio >/dev/null 2>&1 || need cpio
fi
if [ "${1:-}" = bench ]; then
    command -v wrk >/dev/null 2>&1 || need wrk
    # bjoern is compiled: it needs libev and Python's headers.
    [ -e /usr/include/ev.h ] || need libev-dev
    if [ -n "${python:-}" ]; then
        headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
        [ -e "$headers/Python.h" ] || need python3-dev
    fi
fi

if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing$missing (Debian packages)" >&2
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
    else
        echo "These Debian packages (or their like) are needed:$missing" >&2
        echo "Install them, for example: sudo apt-get install$missing" >&2
        exit 1
    fi
fi

python=$("$(dirname "$0")/find-python.sh")
[ -n "$python" ]

if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is needed: cargo is not on PATH. Install it by rustup (https://rustup.rs), 1.90 or newer." >&2
    exit 1
fi
