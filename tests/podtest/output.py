"""What a program has written to a pipe."""

import array
import fcntl
import os
import re
import select
import termios
import threading
import time

from podtest.waiting import DEADLINE


class Output:
    """Reads a pipe in a thread of its own until its end, and keeps all of it. ``pause`` lets the pipe fill."""

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self._fd = fd
        self._bytes = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self._reading = threading.Event()
        self._reading.set()
        self._thread = threading.Thread(target=self._read, name=f"read-{name}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        waiting = select.poll()
        waiting.register(self._fd, select.POLLIN)
        while True:
            self._reading.wait()
            # Outside the lock: what is read is there for everybody at once, see `_take_in`.
            readable = waiting.poll(1000)
            with self._changed:
                if not readable or not self._reading.is_set():
                    continue
                try:
                    piece = os.read(self._fd, 65536)
                except OSError:
                    piece = b""
                self._bytes += piece
                self._ended = not piece
                self._changed.notify_all()
                if not piece:
                    os.close(self._fd)
                    return

    def _take_in(self) -> None:
        """Waits, with the lock held, for what is in the pipe by now: its writer knows nothing of this thread."""
        if self._ended or not self._reading.is_set():
            return
        unread = array.array("i", [0])
        fcntl.ioctl(self._fd, termios.FIONREAD, unread)
        wanted = len(self._bytes) + unread[0]
        self._changed.wait_for(lambda: len(self._bytes) >= wanted or self._ended, DEADLINE)

    def pause(self) -> None:
        """Stop reading."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again."""
        self._reading.set()

    def hang_up(self) -> None:
        """Close the reading end under the writers. Nothing more is kept."""
        # The thread waits for something to read: an empty pipe's end in its place lets it see the end of file then.
        read, write = os.pipe()
        os.close(write)
        os.dup2(read, self._fd)
        os.close(read)

    @property
    def text(self) -> str:
        """Everything that was written before."""
        with self._changed:
            self._take_in()
            return self._bytes.decode(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether every process that could write here is gone."""
        with self._changed:
            return self._ended

    def lines(self) -> list[str]:
        """The complete lines so far."""
        return self.text.splitlines()

    def mark(self) -> int:
        """A position for ``wait_for(since=…)``."""
        with self._changed:
            self._take_in()
            return len(self._bytes)

    def since(self, mark: int) -> str:
        """What came after a mark."""
        with self._changed:
            self._take_in()
            return self._bytes[mark:].decode(errors="replace")

    def wait_for(self, pattern: str, since: int = 0, deadline: float = DEADLINE) -> re.Match[str]:
        """The first match of the regular expression (multi-line mode)."""
        end = time.monotonic() + deadline
        expression = re.compile(pattern, re.MULTILINE)
        with self._changed:
            while True:
                found = expression.search(self._bytes[since:].decode(errors="replace"))
                if found:
                    return found
                rest = end - time.monotonic()
                if self._ended or rest <= 0:
                    why = "it ended" if self._ended else f"{deadline:g} s passed"
                    raise AssertionError(
                        f"{self.name} never said {pattern!r} ({why}); it said:\n"
                        + self._bytes[since:].decode(errors="replace")
                    )
                self._changed.wait(min(rest, 1.0))

    def join(self, deadline: float = DEADLINE) -> None:
        """Wait for the end of the pipe."""
        self._thread.join(deadline)
