"""A gate between a test and an app: the app reports at a chosen line and waits there until the test lets it go.

So tests hold a request, an import or a hook exactly where they want it, without sleeping. The app's side is
``tests/apps/gate_client.py``.
"""

import os
import socket
import threading

from podtest.waiting import DEADLINE, wait_until


class Visitor:
    """One app that waits at the gate."""

    def __init__(self, connection: socket.socket, pid: int, label: str) -> None:
        self._connection = connection
        #: The app's pid as the app sees it.
        self.pid = pid
        self.label = label

    def release(self) -> None:
        """Let it go on."""
        try:
            self._connection.sendall(b"go\n")
        except OSError:
            pass
        self._connection.close()


class Gate:
    """Listens on a unix socket in ``directory``; ``environment`` tells the app where."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        os.chmod(path, 0o777)  # apps of other users come here too
        self._listener.listen(1024)
        self._lock = threading.Lock()
        self._waiting: list[Visitor] = []
        self._open = False
        #: Labels of all that ever came, in order.
        self.seen: list[str] = []
        threading.Thread(target=self._accept, name="gate", daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        return {"PODTEST_GATE": self.path}

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._greet, args=(connection,), daemon=True).start()

    def _greet(self, connection: socket.socket) -> None:
        line = b""
        while not line.endswith(b"\n"):
            piece = connection.recv(4096)
            if not piece:
                connection.close()
                return
            line += piece
        pid, _, label = line.decode().strip().partition(" ")
        visitor = Visitor(connection, int(pid), label)
        with self._lock:
            self.seen.append(label)
            self._waiting.append(visitor)
            released = self._open
        if released:
            self.release_all()

    def wait(self, count: int = 1, label: str | None = None, deadline: float = DEADLINE) -> list[Visitor]:
        """Wait until ``count`` visitors (of that label) are held at once, and return them."""

        def held() -> list[Visitor]:
            with self._lock:
                found = [v for v in self._waiting if label is None or v.label == label]
            return found if len(found) >= count else []

        def missing() -> str:
            with self._lock:
                labels = [v.label for v in self._waiting]
            return f"{count} visitors at the gate (label {label!r}); waiting: {labels}; ever: {self.seen}"

        return wait_until(held, missing, deadline)

    def release(self, *visitors: Visitor) -> None:
        """Let these go."""
        for visitor in visitors:
            with self._lock:
                if visitor in self._waiting:
                    self._waiting.remove(visitor)
            visitor.release()

    def release_all(self) -> None:
        """Let all go who wait now."""
        with self._lock:
            waiting = list(self._waiting)
        self.release(*waiting)

    def open(self) -> None:
        """Let all go, now and from now on."""
        with self._lock:
            self._open = True
        self.release_all()

    def shut(self) -> None:
        """Hold from now on."""
        with self._lock:
            self._open = False

    def close(self) -> None:
        """The test is over."""
        self.open()
        self._listener.close()
