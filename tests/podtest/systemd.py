"""Plays systemd to a server: opens its sockets, and hears what it says of itself."""

import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from podtest.waiting import DEADLINE, wait_until

#: Puts the sockets where sd_listen_fds(3) looks for them, in the process that becomes the server.
PASS = """
import os, sys
numbers = [int(number) for number in sys.argv[1].split(",") if number]
held = [os.dup2(number, 100 + index) for index, number in enumerate(numbers)]
for index, number in enumerate(held):
    os.dup2(number, 3 + index, inheritable=True)
    os.close(number)
os.environ["LISTEN_PID"] = sys.argv[2].replace("self", str(os.getpid()))
os.environ["LISTEN_FDS"] = str(len(numbers))
os.environ["LISTEN_FDNAMES"] = ":".join("http" for _ in numbers)
os.execv(sys.argv[3], sys.argv[3:])
"""


def listening(*command: str, sockets: Sequence[socket.socket] = (), pid: str = "self") -> list[str]:
    """The command, with these listening sockets as systemd passes them; to be started with ``pass_fds`` of them."""
    numbers = ",".join(str(one.fileno()) for one in sockets)
    return [sys.executable, "-I", "-S", "-c", PASS, numbers, pid, *command]


class Service:
    """The socket on which a service tells its state, with everything that it has said."""

    def __init__(self, directory: Path, abstract: bool = False) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = f"@podtest-{os.getpid()}-{id(self)}" if abstract else str(directory / "notify")
        self._socket.bind("\0" + address[1:] if abstract else address)
        self.address = address
        self.heard: list[str] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            self.heard.append(message.decode())

    def environment(self, **more: str) -> Mapping[str, str]:
        """What systemd sets."""
        return {"NOTIFY_SOCKET": self.address, **more}

    def count(self, first: str) -> int:
        """Messages that begin with this line."""
        return sum(message.split("\n")[0] == first for message in list(self.heard))

    def wait(self, first: str, times: int = 1, deadline: float = DEADLINE) -> str:
        """Wait for so many messages that begin with this line; the last of them."""
        wait_until(
            lambda: self.count(first) >= times, lambda: f"{first} for the {times}. time in {self.heard}", deadline
        )
        return [message for message in self.heard if message.split("\n")[0] == first][times - 1]

    def close(self) -> None:
        """Hear no more."""
        # An empty message is the end of `_listen`.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join(DEADLINE)
        self._socket.close()
