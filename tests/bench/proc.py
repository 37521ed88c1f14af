"""What /proc says of a server's process tree: who belongs to it, CPU time, memory."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """One process' line in /proc/PID/stat. The times are ticks and hold those of reaped children, too."""

    pid: int
    parent: int
    state: str
    user: int
    system: int


def parse_stat(text: str) -> Stat:
    """A process' name may hold spaces and parentheses: the fields begin after the last one."""
    fields = text[text.rindex(")") + 2 :].split()
    user, system, children_user, children_system = (int(field) for field in fields[11:15])
    return Stat(
        pid=int(text.split(" ", 1)[0]),
        parent=int(fields[1]),
        state=fields[0],
        user=user + children_user,
        system=system + children_system,
    )


def parse_pss(text: str) -> int:
    """The PSS in KiB from the text of smaps_rollup."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError("smaps_rollup without a Pss line")


def descendants(root: int, stats: Mapping[int, Stat]) -> list[int]:
    """The root and all below it, parents before children."""
    by_parent: dict[int, list[int]] = {}
    for stat in stats.values():
        by_parent.setdefault(stat.parent, []).append(stat.pid)
    found = [root] if root in stats else []
    for pid in found:
        found.extend(sorted(by_parent.get(pid, [])))
    return found


def snapshot(pids: Iterable[int] | None = None) -> dict[int, Stat]:
    """The stat of the given processes, or of all; those that are gone are left out."""
    if pids is None:
        pids = [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]
    found = {}
    for pid in pids:
        try:
            found[pid] = parse_stat((PROC / str(pid) / "stat").read_text())
        except OSError:
            continue
    return found


def tree(root: int) -> list[int]:
    """The pids of a server's living processes, parents before children."""
    stats = {pid: stat for pid, stat in snapshot().items() if stat.state != "Z"}
    return descendants(root, stats)


def pss_kib(pid: int) -> int:
    """The proportional set size: shared pages counted by their share."""
    return parse_pss((PROC / str(pid) / "smaps_rollup").read_text())


@dataclass(frozen=True)
class Cpu:
    """CPU seconds of a tree between two snapshots, and the process that used most: the one that serves."""

    user: float
    system: float
    busiest: int

    @property
    def total(self) -> float:
        return self.user + self.system


def own_seconds(pid: int, before: Mapping[int, Stat], after: Mapping[int, Stat]) -> float:
    """CPU seconds of one process between two snapshots."""
    start = before.get(pid)
    spent = after[pid].user + after[pid].system - (start.user + start.system if start else 0)
    return spent / TICKS_PER_SECOND


def used(before: Mapping[int, Stat], after: Mapping[int, Stat]) -> Cpu:
    """What was used in between. A child that ended meanwhile is in its parent's sums."""

    def ticks(name: str) -> int:
        return sum(getattr(stat, name) for stat in after.values()) - sum(getattr(s, name) for s in before.values())

    busiest = max(after, key=lambda pid: own_seconds(pid, before, after))
    return Cpu(ticks("user") / TICKS_PER_SECOND, ticks("system") / TICKS_PER_SECOND, busiest)
