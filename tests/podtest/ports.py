"""Free TCP ports outside the kernel's ephemeral range, so that no client socket takes one meanwhile.

Between the look and the bind of the server under test lies a second in which another process of the same run could be
given the port too; so each has a part of the range to itself.
"""

import os
import random
import socket
import subprocess
from collections import deque

FIRST, LAST = 20000, 32000
#: pytest-xdist calls its processes gw0, gw1, …
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

_random = random.Random(os.urandom(8))
_given: deque[int] = deque(maxlen=500)


def free_port() -> int:
    """A port that nothing listens on, and that this process was not given lately."""
    while True:
        port = _random.randrange(FIRST + PROCESS, LAST, PROCESSES)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.append(port)
        return port


def backlog(port: int) -> int:
    """What the kernel has as the backlog of the socket that listens there: its Send-Q."""
    shown = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    return int(shown.split()[2])
