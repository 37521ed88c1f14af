#!/usr/bin/env bash
# simulate.sh PODICORN: compares the scaling policies and puts tables and plot into docs.
set -euo pipefail

podicorn=$1
cd "$(dirname "$0")/.."
tables=$(mktemp)
page=$(mktemp)
trap 'rm -f "$tables" "$page"' EXIT

"$podicorn" simulate --format markdown --plot docs/scaling.svg >"$tables"
# Between the two marks everything is replaced.
awk -v tables="$tables" '
    /<!-- simulate:end -->/ { inside = 0 }
    !inside { print }
    /<!-- simulate:begin -->/ {
        inside = 1
        print ""
        while ((getline line < tables) > 0) print line
        print ""
    }
' docs/scaling.md >"$page"
cat "$page" >docs/scaling.md
cat "$tables"
echo "Written to docs/scaling.md and docs/scaling.svg."
