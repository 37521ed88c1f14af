"""The client's socket in the hands of the app: `environ["gunicorn.socket"]`."""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ClientSocket(socket.socket):
    """A blocking socket that first gives what the server has already read after the request."""

    def __init__(self, fileno: int, residue: bytes) -> None:
        super().__init__(fileno=fileno)
        self._residue = residue
        self.setblocking(True)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """As `socket.recv`."""
        if not self._residue:
            return super().recv(bufsize, flags)
        taken = self._residue[:bufsize]
        if not flags & socket.MSG_PEEK:
            self._residue = self._residue[bufsize:]
        return taken

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `socket.recv_into`."""
        if not self._residue:
            return super().recv_into(buffer, nbytes, flags)
        view = memoryview(buffer).cast("B")
        taken = self.recv(nbytes or len(view), flags)
        view[: len(taken)] = taken
        return len(taken)
