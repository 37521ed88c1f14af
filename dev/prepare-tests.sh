#!/bin/sh
# Makes sure that the real clients and tools are there that the black-box suites run against the server. As root on a
# Debian-like system it installs what is missing; elsewhere it says what to install. Prints nothing when all is well.
set -eu

missing=""
# need PROGRAM PACKAGE
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }

need curl curl
need wrk wrk
need h2load nghttp2-client
need slowhttptest slowhttptest
need node nodejs
need go golang-go
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing$missing (Debian packages)" >&2
    apt-get update -qq
    # Another make may be at the same.
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 $missing >/dev/null
else
    echo "The black-box suites need these Debian packages (or their like):$missing" >&2
    echo "Install them, for example: sudo apt-get install$missing" >&2
    exit 1
fi
