"""The fork server's end of the control socket: one packet is one JSON object, descriptors ride along."""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket

# As it is before anything is patched: the fork server waits here, and is no hub.
from select import POLLIN, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The most that one message may be, as far as the system's limits on socket buffers allow it.
MESSAGE_BYTES = 1 << 20
#: The kernel's SCM_MAX_FD.
MOST_DESCRIPTORS = 253


class ProtocolError(Exception):
    """The other end does not speak the protocol."""


class ControlSocket:
    """A `SOCK_SEQPACKET` socket that carries requests and replies."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(True)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, MESSAGE_BYTES)

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next request and its descriptors (close-on-exec), or None at the end of the connection."""
        try:
            packet, ancillary, flags, _ = self._socket.recvmsg(
                MESSAGE_BYTES,
                socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize),
                socket.MSG_CMSG_CLOEXEC,
            )
        except ConnectionError:
            return None
        fds = _descriptors(ancillary)
        if not packet:
            _close(fds)
            return None
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ProtocolError(f"a request is larger than {MESSAGE_BYTES} bytes or has too many descriptors")
            message = json.loads(packet)
            if not isinstance(message, dict) or not isinstance(message.get("id"), int):
                raise ProtocolError("a request has no id")
        except ValueError as error:
            _close(fds)
            raise ProtocolError(f"a request is not JSON: {error}") from error
        except ProtocolError:
            _close(fds)
            raise
        return message, fds

    def send(self, message: dict[str, Any]) -> bool:
        """Sends a reply; False if the message is too large for the socket. Raises ConnectionError if nobody listens."""
        # A lone surrogate (from a name that is not UTF-8) has no form in JSON that every reader takes.
        text = json.dumps(message, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        if len(text) > MESSAGE_BYTES:
            return False
        try:
            self._socket.sendmsg([text], [], socket.MSG_NOSIGNAL)
        except ConnectionError:
            raise
        except OSError as error:
            import errno

            if error.errno == errno.EMSGSIZE:
                return False
            raise
        return True

    def wait(self, others: list[Any]) -> None:
        """Waits until the arbiter has a request, or has gone. What comes from `others` meanwhile, they `pass_on`."""
        everything = poll()
        for one in (self._socket, *others):
            everything.register(one.fileno(), POLLIN)
        while True:
            ready = [fd for fd, _ in everything.poll()]
            for one in others:
                if one.fileno() in ready:
                    one.pass_on()
            if self._socket.fileno() in ready:
                return

    def close(self) -> None:
        """Closes this process's copy."""
        self._socket.close()


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def _close(fds: list[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
