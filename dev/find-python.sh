#!/bin/sh
# Prints the interpreter to build for: $PYTHON if set, else python3, else the newest python3.N on PATH.
# CPython 3.10 or newer that can make virtual environments.
set -eu

fits() {
    "$1" -c 'import sys, venv, ensurepip
raise SystemExit(not (sys.implementation.name == "cpython" and sys.version_info >= (3, 10)))' >/dev/null 2>&1
}

if [ -n "${PYTHON:-}" ]; then
    if fits "$PYTHON"; then
        command -v "$PYTHON"
        exit 0
    fi
    echo "PYTHON=$PYTHON is not a CPython 3.10 or newer with the venv module." >&2
    exit 1
fi
for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if command -v "$name" >/dev/null 2>&1 && fits "$name"; then
        # A version manager's shim stands for different interpreters in different directories: name the real one.
        "$name" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
        exit 0
    fi
done
echo "No CPython 3.10 or newer with the venv module was found. Debian: apt-get install python3-venv. Or set PYTHON." >&2
exit 1
