"""What /proc says of a server's processes."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """One line of /proc/PID/stat, as far as tests need it."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    started: int

    @property
    def zombie(self) -> bool:
        return self.state == "Z"


def read(pid: int) -> Process | None:
    """The process, or None where there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    name_end = text.rindex(")")
    fields = text[name_end + 2 :].split()
    return Process(
        pid=pid,
        name=text[text.index("(") + 1 : name_end],
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        started=int(fields[19]),
    )


def everything() -> list[Process]:
    """All processes of this /proc."""
    found = (read(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    return [process for process in found if process]


def children(pid: int) -> list[Process]:
    """Direct children, zombies too, oldest first."""
    return sorted((p for p in everything() if p.parent == pid), key=lambda p: (p.started, p.pid))


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    process = read(pid)
    return process is not None and not process.zombie


def status_field(pid: int, name: str) -> str | None:
    """A line of /proc/PID/status."""
    try:
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
    except OSError:
        pass
    return None


def inner_pid(pid: int) -> int | None:
    """The pid that the process itself sees."""
    value = status_field(pid, "NSpid")
    return int(value.split()[-1]) if value else None


def minds(pid: int, number: int) -> bool:
    """Whether the process catches, or has blocked in order to read, the signal."""
    bit = 1 << (number - 1)
    return any(int(status_field(pid, name) or "0", 16) & bit for name in ("SigCgt", "SigBlk"))


def command_line(pid: int) -> list[str]:
    """argv."""
    try:
        return [part.decode(errors="replace") for part in (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[:-1]]
    except OSError:
        return []


def resident(pid: int) -> int:
    """RSS in KiB."""
    return int((status_field(pid, "VmRSS") or "0 kB").split()[0])


def proportional_set_size(pid: int) -> int:
    """PSS in KiB: shared pages counted by their share."""
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError(f"no Pss in smaps_rollup of {pid}")


def marked(mark: str) -> list[int]:
    """Processes whose environment carries the mark: everything a server has started, however it detached."""
    needle = mark.encode()
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if needle in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def kill_marked(mark: str) -> list[int]:
    """SIGKILL to each marked process until none is left; returns whom it found at first."""
    first: list[int] = []
    for _ in range(50):
        found = [pid for pid in marked(mark) if alive(pid)]
        first = first or found
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    return first
