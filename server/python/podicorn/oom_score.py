"""Whom the kernel kills when the container is out of memory: a worker, and not PID 1 or the fork server."""

from __future__ import annotations

#: In thousandths of the memory limit: as if a worker held a tenth of it more than it does.
RAISE_BY = 100
MOST = 1000


def offer_to_the_oom_killer() -> None:
    """Raises this process's score; that takes no privilege. What it starts inherits it."""
    try:
        # Not as text: that would import the module of an encoding, in each worker.
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
            present = int(file.read())
            file.seek(0)
            file.write(b"%d" % min(present + RAISE_BY, MOST))
    except (OSError, ValueError):
        # A read-only /proc: the largest process is chosen, which is a worker anyway.
        pass
