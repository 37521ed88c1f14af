#!/usr/bin/env bash
# Prints a hash of the content of the named files and folders, so that a build knows whether its sources changed.
# In a git checkout that is what git tracks or would track; in an unpacked archive it is every file.
set -euo pipefail

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard -- "$@"
else
    find "$@" -type f -not -path '*/target/*' -not -name '*.pyc' -print0
fi | sort -zu | while IFS= read -r -d '' file; do
    # A file that is tracked and deleted has no content, but its absence counts.
    if [ -f "$file" ]; then sha256sum -- "$file"; else echo "absent $file"; fi
done | sha256sum | cut -d' ' -f1
