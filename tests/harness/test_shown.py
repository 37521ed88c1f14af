"""tests/parity/SHOWN.md: every setting, hook, signal and message has a row, and the row names a test that exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from gunicorn.config import KNOWN_SETTINGS
from parity.messages import table
from podtest.suites import suite_of

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "tests" / "parity" / "SHOWN.md"
SIGNALS = {"TERM", "INT", "QUIT", "HUP", "TTIN", "TTOU", "USR1", "USR2", "WINCH", "CHLD"}


@cache
def known() -> dict[str, bool]:
    """Every test of the suites, by its id; true: it is run on Gunicorn as well."""
    found = {}
    for folder in ("blackbox", "parity"):
        for name, test in suite_of(ROOT / "tests" / folder).items():
            marks = " ".join(ast.unparse(decorator) for decorator in test.decorator_list)
            found[f"{folder}/{name}"] = folder == "parity" or "mark.parity" in marks
    return found


@cache
def rows() -> dict[str, dict[str, tuple[str, str]]]:
    """By the heading of the table, then by the name: the test, and what is said of Gunicorn."""
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    for line in TABLES.read_text().splitlines():
        if line.startswith("## "):
            table = tables[line.removeprefix("## ")] = {}
        elif line.startswith("| `"):
            name, shown, also = (cell.strip().strip("`") for cell in line.strip("|").split(" | "))
            assert name not in table, f"{name} stands there twice"
            table[name] = (shown, also)
    return tables


def test_every_message_is_there():
    """`parity/test_messages.py` brings each of them about."""
    _, _, section = TABLES.read_text().partition("## Messages\n")
    assert [line for line in section.splitlines() if line.startswith("|")] == table()


def test_every_setting_is_there():
    names = set(re.findall(r"^### (\w+)$", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))
    assert set(rows()["Settings"]) == names


def test_every_hook_is_there():
    hooks = {setting.name for setting in KNOWN_SETTINGS if setting.section == "Server Hooks"}
    assert set(rows()["Hooks"]) == hooks


def test_every_signal_is_there():
    assert {name.split()[0] for name in rows()["Signals"]} == SIGNALS


@pytest.mark.parametrize("table", ["Settings", "Hooks", "Signals"])
def test_the_tests_exist_and_are_run_where_it_says(table):
    for name, (shown, also) in rows()[table].items():
        if "::" in shown:
            assert shown in known(), f"{name}: there is no {shown}"
            # Of Gunicorn's own, there is a reason where it is not asked.
            theirs = table != "Settings" or name in {setting.name for setting in KNOWN_SETTINGS}
            reason = len(also.split()) > 5 if theirs else not also
            assert also == "yes" if known()[shown] else reason, f"{name}: {shown}"
        else:
            assert len(shown.split()) > 5 and not also, f"{name}: a test, or the reason why there is none"
