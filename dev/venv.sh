#!/usr/bin/env bash
# venv.sh DIR server|tests|bench: brings the virtual environment DIR up to date with the checkout.
#
# "server" installs the server from source; "tests" adds what the suites need, "bench" the benchmark's peers. What is there is kept as long as the
# content of the sources, the requirements and the interpreter are the same.
set -euo pipefail

directory=$1
what=$2
cd "$(dirname "$0")/.."
mkdir -p "$(dirname "$directory")"
exec 9>"$directory.lock"
flock 9

python=$(dev/find-python.sh)
version=$("$python" -c 'import sys; print(sys.version)' | sha256sum | cut -c1-16)
if [ ! -x "$directory/bin/python" ] || [ "$(cat "$directory/python.stamp" 2>/dev/null)" != "$python $version" ]; then
    rm -rf "$directory"
    "$python" -m venv "$directory"
    echo "$python $version" >"$directory/python.stamp"
fi

pip() {
    "$directory/bin/python" -m pip --quiet --disable-pip-version-check --no-input "$@" 9>&-
}

stamp=$(dev/content-hash.sh server Cargo.toml Cargo.lock)
if [ "$(cat "$directory/server.stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "Building and installing the server (the first time takes some minutes)"
    rm -f "$directory/server.stamp"
    # setuptools keeps what earlier builds left there, removed modules too.
    rm -rf server/build
    pip install --force-reinstall ./server
    echo "$stamp" >"$directory/server.stamp"
fi

case $what in
    tests) requirements=tests/requirements.txt ;;
    bench) requirements=tests/bench/requirements.txt ;;
    *) exit 0 ;;
esac
stamp=$(sha256sum "$requirements" dev/venv.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$directory/$what.stamp" 2>/dev/null)" != "$stamp" ]; then
    pip install --requirement "$requirements"
    # Not where everything finds it: it changes how `--reload` notices changes.
    [ "$what" != tests ] || pip install --no-deps --upgrade --target "$directory/inotify" inotify==0.2.12
    # The last Gunicorn with an eventlet worker, beside the current one.
    [ "$what" != bench ] || pip install --no-deps --upgrade --target "$directory/gunicorn-25.3" gunicorn==25.3.0
    echo "$stamp" >"$directory/$what.stamp"
fi
