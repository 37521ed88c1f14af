#!/usr/bin/env python3
"""Writes the table of values in each chart's README.md, from the comments in its values.yaml.

    chart-readme.py           writes what is between the two marks
    chart-readme.py --check   exit code 1 if a README is not what it would write

The comment directly above a key describes it. A comment of the form `#key: value` is a key with the default that holds
without it. Maps are gone into, down to scalars, lists and what is empty.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

CHARTS = Path(__file__).resolve().parent.parent / "charts"
BEGIN, END = "<!-- values:begin -->", "<!-- values:end -->"
COMMENTED_KEY = re.compile(r"^( *)#([A-Za-z_][A-Za-z0-9_]*): (.*)$")


@dataclass
class Value:
    """A key with its path, its default as YAML in one line, and what the comment says."""

    path: str
    default: str
    description: str
    line: int


def comment_above(lines: list[str], line: int) -> str:
    """The comment block that ends on the line above `line`, headings and commented keys excepted."""
    words: list[str] = []
    for text in reversed(lines[:line]):
        stripped = text.strip()
        if not stripped.startswith("# "):
            break
        words.insert(0, stripped[2:])
    return " ".join(words)


def in_one_line(node: yaml.Node) -> str:
    """A default for the table; text is quoted only where it is empty."""
    value = yaml.safe_load(yaml.serialize(node))
    if isinstance(value, str) and value:
        return value
    return json.dumps(value, ensure_ascii=False)


def keys(node: yaml.MappingNode, lines: list[str], path: str = "", above: str = "") -> Iterator[Value]:
    """Every value below a map. A map's own comment goes to its first value, unless that has one."""
    for key, value in node.value:
        line = key.start_mark.line
        here = f"{path}{key.value}"
        description = comment_above(lines, line) or above
        above = ""
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from keys(value, lines, f"{here}.", description)
            yield from commented(lines, value, here)
        else:
            yield Value(here, in_one_line(value), description, line)


def commented(lines: list[str], node: yaml.MappingNode, path: str) -> Iterator[Value]:
    """The commented keys within a map, at its indentation."""
    first = min(key.start_mark.line for key, _ in node.value)
    # A map begins with its first live key; commented ones may stand before that.
    while first > 0 and (not lines[first - 1].strip() or lines[first - 1].startswith(" ")):
        first -= 1
    indentation = node.value[0][0].start_mark.column
    for line in range(first, node.end_mark.line):
        found = COMMENTED_KEY.match(lines[line])
        if found and len(found[1]) == indentation:
            yield Value(f"{path}.{found[2]}", found[3], comment_above(lines, line), line)


def table(values: Path) -> str:
    """The table of a values.yaml."""
    text = values.read_text(encoding="utf-8")
    rows = ["| Value | Default | |", "|---|---|---|"]
    found = keys(yaml.compose(text), text.splitlines())
    for value in sorted(found, key=lambda value: value.line):
        default = (
            value.default.strip('"') if value.default.startswith('"') and len(value.default) > 2 else value.default
        )
        cells = (f"`{value.path}`", f"`{default}`", value.description)
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(row.replace("|  |", "| |") for row in rows)


def main() -> int:
    """Writes or compares; the exit code."""
    check = "--check" in sys.argv[1:]
    stale = []
    for values in sorted(CHARTS.glob("*/values.yaml")):
        readme = values.with_name("README.md")
        kept = readme.read_text(encoding="utf-8")
        before, rest = kept.split(BEGIN)
        after = rest.split(END)[1]
        made = f"{before}{BEGIN}\n\n{table(values)}\n\n{END}{after}"
        if made != kept:
            stale.append(str(readme.relative_to(CHARTS.parent)))
            if not check:
                readme.write_text(made, encoding="utf-8")
    if stale and check:
        print(f"stale: {', '.join(stale)}; run dev/chart-readme.py", file=sys.stderr)
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
