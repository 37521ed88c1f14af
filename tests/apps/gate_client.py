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


async def wait(label: str) -> None:
    """As ``pause``, while others go on in the event loop."""
    path = os.environ.get("PODTEST_GATE")
    if not path:
        return
    import asyncio  # WSGI apps have no use for it

    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(f"{os.getpid()} {label}\n".encode())
    try:
        await reader.read(16)
    finally:
        writer.close()


def report(label: str) -> None:
    """Says where the app is, and goes on. The visitor stays at the gate for nobody."""
    path = os.environ.get("PODTEST_GATE")
    if not path:
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(f"{os.getpid()} {label}\n".encode())
