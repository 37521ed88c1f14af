"""The part of README.md that says how the corpus comes out. ``make parity UPDATE=1`` writes it."""

from collections.abc import Iterable
from pathlib import Path

from parity.corpus import VERSION, Case, cases, repaired
from parity.differences import DIFFERENCES, NOT_YET

README = Path(__file__).with_name("README.md")
BEGIN = "<!-- written by `make parity UPDATE=1` -->\n"
END = "<!-- end of what it writes -->\n"


def waits_for(case: Case) -> str | None:
    """The setting by which a case needs a feature that is not there yet."""
    return next((name for name, _ in case.settings if name in NOT_YET), None)


def current() -> str:
    """README.md as it should be: what the tests hold true, around it what is written by hand."""
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + result() + END + after


def result() -> str:
    """The counts and the tables."""
    return "\n".join(["", *counts(), "", *differences(), "", *(waiting() if NOT_YET else ()), ""])


def counts() -> list[str]:
    """How many cases come out how."""
    lines = ["| verdict | valid | invalid | repaired |", "|---|---|---|---|"]
    columns = [
        [case for case in cases() if case.name.startswith("valid/")],
        [case for case in cases() if case.name.startswith("invalid/")],
        list(repaired()),
    ]
    rows = {"the same": same, "different on purpose": differs}
    if NOT_YET:
        rows["waits for a feature"] = waits_for
    lines += [
        row(name, *(sum(1 for case in column if kind(case)) for column in columns)) for name, kind in rows.items()
    ]
    return [*lines, row(f"all of Gunicorn {VERSION}", *map(len, columns))]


def same(case: Case) -> bool:
    """Whether both servers give the same verdict."""
    return not differs(case) and not waits_for(case)


def differs(case: Case) -> bool:
    """Whether they do not, on purpose."""
    return case.name in DIFFERENCES


def differences() -> list[str]:
    """A row for each verdict that differs on purpose, with all cases that have it."""
    names: dict[tuple[str, str, str], list[str]] = {}
    for name, one in DIFFERENCES.items():
        names.setdefault((one.reason, one.gunicorn, one.podicorn), []).append(name)
    lines = ["### Different on purpose", "", "| Gunicorn | Podicorn | why | cases |", "|---|---|---|---|"]
    return lines + [row(f"`{key[1]}`", f"`{key[2]}`", key[0], listed(each)) for key, each in names.items()]


def waiting() -> list[str]:
    """A row for each feature that is missed."""
    lines = ["### Waits for a feature", "", "| setting | why | cases |", "|---|---|---|"]
    for setting, why in NOT_YET.items():
        names = [case.name for case in (*cases(), *repaired()) if waits_for(case) == setting]
        lines.append(row(f"`{setting}`", why, listed(names)))
    return [*lines, ""]


def listed(names: Iterable[str]) -> str:
    """Names of cases, in a cell."""
    return ", ".join(f"`{name}`" for name in names)


def row(*cells: object) -> str:
    """A row of a table."""
    return f"| {' | '.join(map(str, cells))} |"
