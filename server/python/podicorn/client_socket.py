"""The client's socket in the hands of the app: `environ["gunicorn.socket"]`."""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Residue:
    """Goes before a class of sockets, and first gives what the server has already read after the request."""

    _residue = b""

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """What is left over, then what comes."""
        if not self._residue:
            received: bytes = super().recv(bufsize, flags)  # type: ignore[misc]
            return received
        taken = self._residue[:bufsize]
        if not flags & socket.MSG_PEEK:
            self._residue = self._residue[bufsize:]
        return taken

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv`, into a buffer."""
        if not self._residue:
            count: int = super().recv_into(buffer, nbytes, flags)  # type: ignore[misc]
            return count
        view = memoryview(buffer).cast("B")
        taken = self.recv(nbytes or len(view), flags)
        view[: len(taken)] = taken
        return len(taken)


class ClientSocket(Residue, socket.socket):
    """The one of apps on threads: it blocks."""

    def __init__(self, fileno: int, residue: bytes) -> None:
        super().__init__(fileno=fileno)
        self._residue = residue
        self.setblocking(True)
