"""The worker type gevent: its hub watches the engine, and each request is a greenlet."""

from __future__ import annotations

import os

import gevent
import gevent.monkey
import gevent.socket
from gevent.event import Event
from gevent.hub import get_hub
from gevent.timeout import Timeout
from greenlet import getcurrent, greenlet

from podicorn import green
from podicorn.client_socket import Residue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: libev's.
_READ, _WRITE = 1, 2


def patch() -> None:
    """Makes the standard library's blocking calls cooperative."""
    gevent.monkey.patch_all()


def renew() -> None:
    """In a forked worker: a hub that is there already gets an epoll of its own."""
    gevent.reinit()


class ClientSocket(Residue, gevent.socket.socket):  # type: ignore[misc]
    """A cooperative socket that first gives what the server has already read."""

    def __init__(self, fileno: int, residue: bytes) -> None:
        super().__init__(fileno=fileno)
        self._residue = residue
        self.setblocking(True)


def wait(fd: int, writing: bool, seconds: float) -> bool:
    """Lets other greenlets run until the descriptor is ready; false if it is not, so many seconds later."""
    hub = get_hub()
    watcher = hub.loop.io(fd, _WRITE if writing else _READ)
    timeout = Timeout.start_new(seconds)
    try:
        hub.wait(watcher)
    except Timeout as expired:
        if expired is not timeout:
            raise
        return False
    finally:
        timeout.close()
        watcher.close()
    return True


def in_hub() -> bool:
    """Whether this is the hub's own greenlet, in which nothing may wait."""
    return getcurrent() is get_hub()


def spawn(act: Callable[[], None]) -> None:
    """Calls in a greenlet of its own, soon."""
    gevent.spawn_raw(act)


def serve(engine: Any) -> None:
    """Serves until the engine is stopped; what ends the worker at once comes out of it."""
    hub = get_hub()
    done = Event()
    errors: list[BaseException] = []

    def turn() -> None:
        try:
            for _ in range(engine.poll()):
                request = engine.take()
                if request is None:
                    break
                # Runs until it has to wait, without a detour through the loop.
                greenlet(request, hub).switch()
            if engine.settle():
                done.set()
        except BaseException as error:
            errors.append(error)
            done.set()

    watcher = hub.loop.io(engine.fileno(), _READ)
    serving = True

    def leave_in_child() -> None:
        green.remember_forker()
        if serving:
            # Only a mark for the loop, which makes an epoll of its own before it next waits.
            watcher.stop()

    # gevent itself listens for SIGCHLD only after the first fork: a quicker child would be waited for for ever.
    os.register_at_fork(before=hub.loop.install_sigchld, after_in_child=leave_in_child)
    watcher.start(turn)
    try:
        done.wait()
    finally:
        serving = False
        watcher.close()
        engine.close()
    if errors:
        raise errors[0]
