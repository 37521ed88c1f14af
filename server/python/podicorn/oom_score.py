"""Whom the kernel kills when the container is out of memory: a worker, and not PID 1 or the fork server."""

from __future__ import annotations

#: In thousandths of the memory limit: as if a worker held a tenth of it more than it does.
RAISE_BY = 100
MOST = 1000


def offer_to_the_oom_killer() -> None:
    """Raises this process's score; that takes no privilege. What it starts inherits it."""
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            present = int(file.read())
            file.seek(0)
            file.write(str(min(present + RAISE_BY, MOST)))
    except (OSError, ValueError):
        # A read-only /proc: the largest process is chosen, which is a worker anyway.
        pass
