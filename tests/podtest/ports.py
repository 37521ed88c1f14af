"""Free TCP ports outside the kernel's ephemeral range, so that no client socket takes one meanwhile."""

import os
import random
import socket

FIRST, LAST = 20000, 32000

_random = random.Random(os.urandom(8))
_given: set[int] = set()


def free_port() -> int:
    """A port that nothing listens on, never given twice by this process."""
    while True:
        port = _random.randrange(FIRST, LAST)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
