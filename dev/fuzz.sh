#!/usr/bin/env bash
# fuzz.sh run SECONDS [TARGET...]: runs the fuzz targets of server/http one after the other; all of them by default.
# fuzz.sh repro TARGET FILE...: runs a target once on each file, for an input that was found to fail.
#
# Stable Rust is enough: what libFuzzer is guided by are passes of LLVM, which stable options switch on. A sanitizer
# would need nightly, and would find little more: the crate has no unsafe code, and debug assertions and overflow
# checks are on. Builds, corpus and failing inputs lie in the cache; cargo-fuzz is installed there once.
set -euo pipefail

version=0.13.2
cache=${PODICORN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}
tools=$cache/podicorn-tools
corpus=$cache/podicorn-fuzz-corpus
failures=$cache/podicorn-fuzz-failures
build=${CARGO_TARGET_DIR:-$cache/podicorn-cargo-target}/fuzz

usage() {
    sed -n '2,3s/^# //p' "$0" >&2
    exit 2
}
case ${1:-} in
run) [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage ;;
repro) [ $# -ge 3 ] || usage ;;
*) usage ;;
esac

if [ "$("$tools/bin/cargo-fuzz" --version 2>/dev/null)" != "cargo-fuzz $version" ]; then
    echo "Installing cargo-fuzz $version (once; takes some minutes)"
    cargo install --quiet --locked --version "$version" --root "$tools" cargo-fuzz
fi
export PATH=$tools/bin:$PATH

here=$PWD
cd "$(dirname "$0")/../server/http"
host=$(rustc -vV | sed -n 's/^host: //p')
# cargo-fuzz cannot be told to take the versions of Cargo.lock and no others.
cargo fetch --quiet --locked --manifest-path fuzz/Cargo.toml
cargo fuzz build --sanitizer none --target "$host" --target-dir "$build"
program() { echo "$build/$host/release/$1"; }
# What counts as stuck or as a leak is generous: a busy machine must not look like a bug.
limits=(-timeout=60 -rss_limit_mb=2048)

# Says what failed and how to see it again.
report() {
    local target=$1 log=$2 input=$3
    echo
    if grep -aq 'panicked at' "$log"; then
        sed -n '/panicked at/,/^==[0-9]/p' "$log" | grep -av '^==[0-9]' | head -40 | cut -c1-2000
    else
        tail -30 "$log" | cut -c1-2000
    fi
    if [ -e "$input" ]; then
        echo "Input: $input"
        echo "As base64: $(base64 -w0 "$input")"
        echo "Again: dev/fuzz.sh repro $target $input"
        echo "When it is mended, a test in server/http/tests should tell what was wrong."
    fi
    echo
}

fuzz() {
    local target=$1 seconds=$2 log=$3 code=0 begin=$SECONDS
    mkdir -p "$corpus/$target" "$failures/$target"
    rm -f "$log".input-*
    RUST_BACKTRACE=0 "$(program "$target")" "${limits[@]}" -max_total_time="$seconds" -max_len=4096 \
        -dict=fuzz/http.dict -artifact_prefix="$log.input-" \
        "$corpus/$target" "fuzz/seeds/$target" "$failures/$target" >"$log" 2>&1 || code=$?

    local runs coverage found="nothing found"
    runs=$(grep -aoE '^#[0-9]+' "$log" | tail -1 | tr -d '#')
    coverage=$(grep -aoE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -1)
    if [ "$code" != 0 ]; then
        found=FAILED
        local input kept=""
        for input in "$log".input-*; do
            [ -e "$input" ] || continue
            kept=$failures/$target/${input##*.input-}
            mv "$input" "$kept"
        done
        report "$target" "$log" "$kept"
    fi
    echo "fuzz $target: ${runs:-0} runs in $((SECONDS - begin)) s, $(find "$corpus/$target" -type f | wc -l) inputs in" \
        "the corpus, ${coverage:-no coverage}: $found"
    return "$code"
}

if [ "$1" = repro ]; then
    target=$2
    shift 2
    cd "$here"
    exec "$(program "$target")" "${limits[@]}" -artifact_prefix="$(mktemp -d)/" "$@"
fi

seconds=$2
shift 2
mapfile -t known < <(cargo fuzz list)
[ $# -gt 0 ] || set -- "${known[@]}"
for target in "$@"; do
    if ! printf '%s\n' "${known[@]}" | grep -qxF -- "$target"; then
        echo "There is no fuzz target $target but: ${known[*]}" >&2
        exit 2
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
for target in "$@"; do
    fuzz "$target" "$seconds" "$work/$target" || failed=1
done
exit "$failed"
