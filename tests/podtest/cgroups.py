"""Memory groups of a test's own, with a limit that the kernel enforces."""

import errno
import functools
import os
import sys
import uuid
from pathlib import Path

from podtest.waiting import wait_until

ROOT = Path("/sys/fs/cgroup")
MIB = 1 << 20
#: Whether this machine has cgroup v2 and nothing else.
V2 = (ROOT / "cgroup.controllers").exists()


class MemoryGroup:
    """A group with a limit; what is started by ``entering`` lives in it. ``close()`` it when all that has ended."""

    def __init__(self, mib: int, together: bool = False) -> None:
        """``together``: the kernel kills all of it at once, as in Kubernetes on v2."""
        self.v2 = V2
        self.path = (ROOT if self.v2 else ROOT / "memory") / f"podicorn-test-{uuid.uuid4().hex[:12]}"
        self.path.mkdir()
        self._write("memory.max" if self.v2 else "memory.limit_in_bytes", mib * MIB)
        if together:
            (self.path / "memory.oom.group").write_text("1\n")
        # No way out by swap, where the machine has any.
        self._write("memory.swap.max" if self.v2 else "memory.memsw.limit_in_bytes", 0 if self.v2 else mib * MIB)

    def grow(self, mib: int) -> None:
        """Raises the limit."""
        if not self.v2:
            # The sum with swap first: it is never below the limit.
            self._write("memory.memsw.limit_in_bytes", mib * MIB)
        self._write("memory.max" if self.v2 else "memory.limit_in_bytes", mib * MIB)

    def _write(self, name: str, number: int) -> None:
        file = self.path / name
        if file.exists():
            file.write_text(f"{number}\n")

    def entering(self, *command: str) -> list[str]:
        """The command, started in the group."""
        return ["/bin/sh", "-c", f'echo 0 > "{self.path}/cgroup.procs" && exec "$@"', "sh", *command]

    @property
    def kills(self) -> int:
        """Processes that the kernel has killed for want of memory."""
        text = (self.path / ("memory.events" if self.v2 else "memory.oom_control")).read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))

    def close(self) -> None:
        """Remove the group; its processes must be gone."""

        def removed() -> bool:
            try:
                self.path.rmdir()
            except OSError as error:
                # Processes that are still being taken down are not listed any more, and keep the group all the same.
                if error.errno != errno.EBUSY:
                    raise
                return False
            return True

        wait_until(removed, lambda: f"the end of all processes in {self.path}")


@functools.cache
def why_not() -> str | None:
    """None if this machine lets us make such groups, else the reason."""
    if os.geteuid():
        return "only root may make cgroups"
    try:
        group = MemoryGroup(64)
    except OSError as error:
        return str(error)
    limited = (group.path / ("memory.max" if group.v2 else "memory.limit_in_bytes")).exists()
    group.close()
    return None if limited else "the memory controller is not there"


def under(tree: Path, *command: str) -> list[str]:
    """The command, in a mount namespace where ``tree`` is what the kernel seems to show of cgroups."""
    script = (
        "import ctypes, os, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(result):\n"
        "    if result: raise OSError(ctypes.get_errno(), 'cannot mount')\n"
        "call(libc.unshare(0x20000))\n"  # CLONE_NEWNS
        "call(libc.mount(None, b'/', None, (1 << 18) | 16384, None))\n"  # private, recursive
        "call(libc.mount(os.fsencode(sys.argv[1]), b'/sys/fs/cgroup', None, 4096, None))\n"  # bind
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    return [sys.executable, "-I", "-S", "-c", script, str(tree), *command]
