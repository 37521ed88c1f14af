"""The app's side of ``podtest.gate``: report, then wait to be let go."""

import os
import socket


def pause(label: str) -> None:
    """Wait at the test's gate; without a gate go straight on."""
    path = os.environ.get("PODTEST_GATE")
    if not path:
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(f"{os.getpid()} {label}\n".encode())
        connection.recv(16)
