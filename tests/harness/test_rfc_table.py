"""server/http/RFC*.md: every requirement has a test that exists, or a reason, and none is missing."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from podtest.suites import suite_of

ROOT = Path(__file__).resolve().parents[2]
HTTP = ROOT / "server" / "http"
#: Of each RFC how often the words stand in its text, but for the paragraphs that define them, by the file of its table.
TABLES = {
    "RFC9112.md": {
        "RFC 9112": {"MUST": 64, "MUST NOT": 21, "SHOULD": 24, "SHOULD NOT": 5, "RECOMMENDED": 1, "ought": 12},
        "RFC 9110": {"MUST": 128, "MUST NOT": 76, "SHOULD": 92, "SHOULD NOT": 31, "RECOMMENDED": 1, "ought": 75},
    },
    "RFC6455.md": {
        "RFC 6455": {"MUST": 112, "MUST NOT": 25, "SHOULD": 23, "SHOULD NOT": 4},
        "RFC 7692": {"MUST": 31, "MUST NOT": 9, "RECOMMENDED": 2},
    },
}
#: The black-box tests that are made for a table.
MADE_FOR = {"RFC9112.md": "test_rfc.py::", "RFC6455.md": "test_websocket_rfc.py::"}

LEVEL = re.compile(r"(?:(\d+) )?(MUST NOT|MUST|SHOULD NOT|SHOULD|RECOMMENDED|ought)")
REASON = re.compile(r"\b(App|Does not apply|Deviates)\b(?:: | by itself: )(\S.*)")
RUST_TEST = re.compile(r"#\[test\]\s+(?:#\[[^\]]*\]\s+)*fn (\w+)\(")


@dataclass
class Part:
    """What the table says of one RFC. Rows are lists of cells."""

    own: list[list[str]] = field(default_factory=list)
    others: list[list[str]] = field(default_factory=list)
    count: list[list[str]] = field(default_factory=list)


def read(text: str) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    rows: list[list[str]] | None = None
    for line in text.splitlines():
        if line.startswith("## "):
            rfc, rows = line.removeprefix("## "), None
            if rfc.startswith("RFC "):
                parts[rfc] = Part()
        elif line.startswith("### "):
            part = parts[rfc]
            own = ("Of an origin server", "Of a server")
            rows = part.own if line[4:] in own else {"Of others": part.others, "Count": part.count}[line[4:]]
        elif line.startswith("|"):
            assert rows is not None, f"a table outside of any part: {line}"
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if cells[0] not in ("§", "Chapter") and not line.startswith("|---"):
                rows.append(cells)
    return parts


def levels(text: str) -> Counter[str]:
    """``2 MUST, SHOULD NOT`` as numbers."""
    found: Counter[str] = Counter()
    for piece in text.split(", "):
        match = LEVEL.fullmatch(piece)
        assert match, f"that is no level: {piece!r} in {text!r}"
        found[match[2]] += int(match[1] or 1)
    return found


def known_tests() -> set[str]:
    names = set()
    for file in (ROOT / "server" / "http" / "tests").glob("*.rs"):
        names |= {f"{file.stem}::{name}" for name in RUST_TEST.findall(file.read_text())}
    return names | set(suite_of(ROOT / "tests" / "blackbox"))


def faults(parts: dict[str, Part], known: set[str]) -> list[str]:
    """All that is wrong, in words."""
    found = []
    for rfc, part in parts.items():
        sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in part.own:
            where = f"{rfc} §{' | '.join(row)}"
            if len(row) != 4:
                found.append(f"not four cells: {where}")
                continue
            section, _, level, shown = row
            tests = [name for name in re.findall(r"`([^`]*)`", shown) if "::" in name]
            found += [f"no test {name}: {where}" for name in tests if name not in known]
            reason = REASON.search(shown)
            if level != "MAY" and not tests and not reason:
                found.append(f"neither test nor reason: {where}")
            if reason and reason[1] == "Deviates" and not tests:
                found.append(f"no test shows the deviation: {where}")
            if level not in ("MAY", "-"):
                sums[section.split()[0]] += levels(level)
        for row in part.others:
            if len(row) != 4 or not all(row):
                found.append(f"not four cells: {rfc} §{' | '.join(row)}")
                continue
            sums[row[0]] += levels(row[1])
        counts = {
            section: levels(level)
            for chapter, text in part.count
            if chapter != "all"
            for section, _, level in [entry.partition(": ") for entry in text.split("; ")]
        }
        found += [
            f"{rfc} §{section}: the rows have {dict(sums[section])}, the text has {dict(counts.get(section, {}))}"
            for section in sorted(counts.keys() | sums.keys())
            if sums[section] != counts.get(section)
        ]
        all_rows = [levels(text) for chapter, text in part.count if chapter == "all"]
        if all_rows != [sum(counts.values(), Counter())]:
            found.append(f"{rfc}: the chapters add up to {dict(sum(counts.values(), Counter()))}, not to {all_rows}")
    return found


@pytest.mark.parametrize("table", TABLES)
def test_the_table_has_no_gap(table):
    parts = read((HTTP / table).read_text())
    assert {rfc: levels(part.count[-1][1]) for rfc, part in parts.items()} == TABLES[table]
    assert faults(parts, known_tests()) == []


@pytest.mark.parametrize("table", TABLES)
def test_the_tests_that_are_made_for_it_stand_in_it(table):
    named = (HTTP / table).read_text()
    made = [name for name in known_tests() if name.startswith(MADE_FOR[table])]
    assert made
    assert [name for name in made if f"`{name}`" not in named] == []


GOOD = """\
## RFC 1
### Of an origin server
| § | Requirement | Level | Shown by |
|---|---|---|---|
| 2 | a | 2 MUST | `file::test` |
| 2 (1) | b | SHOULD | App: it decides |
### Of others
| § | Level | Who | What about |
|---|---|---|---|
| 2 | MUST NOT | client | c |
### Count
| Chapter | In the text |
|---|---|
| 2 | 2: 2 MUST, MUST NOT, SHOULD |
| all | 2 MUST, MUST NOT, SHOULD |
"""


def test_a_good_table_has_no_faults():
    assert faults(read(GOOD), {"file::test"}) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("file::test", "file::gone", "no test file::gone"),
        ("`file::test`", "the engine", "neither test nor reason"),
        ("App: it decides", "App", "neither test nor reason"),
        ("App: it decides", "Deviates: as we like", "no test shows the deviation"),
        ("| 2 | a | 2 MUST | `file::test` |\n", "", "the rows have"),
        ("| a | 2 MUST |", "| a | MUST |", "the rows have"),
        ("| client | c |", "| client |", "not four cells"),
        ("| 2 | 2: 2 MUST,", "| 2 | 3: SHOULD; 2: 2 MUST,", "the rows have"),
        ("| all | 2 MUST,", "| all | 3 MUST,", "add up to"),
    ],
)
def test_each_fault_is_found(old, new, fault):
    assert GOOD.count(old) == 1
    found = faults(read(GOOD.replace(old, new)), {"file::test"})
    assert any(fault in text for text in found), found
