"""The worker type eventlet: its hub watches the engine, and each request is a green thread."""

from __future__ import annotations

import os

import eventlet
import eventlet.hubs
import eventlet.hubs.epolls
import eventlet.patcher
from eventlet.event import Event
from eventlet.greenio import GreenSocket
from eventlet.greenthread import GreenThread
from eventlet.hubs.hub import BaseHub
from greenlet import getcurrent

from podicorn import green
from podicorn.client_socket import Residue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def patch() -> None:
    """Makes the standard library's blocking calls cooperative."""
    eventlet.monkey_patch()


def renew() -> None:
    """In a forked worker: an epoll of its own for the hub, which would else change the epoll of the fork server."""
    hub = eventlet.hubs.get_hub()
    if isinstance(hub, eventlet.hubs.epolls.Hub):
        _renew_epoll(hub)
        return
    if type(hub).__module__ == "eventlet.hubs.asyncio":
        from asyncio import _set_running_loop

        # The hub has said in this child that its loop runs; another one is to.
        _set_running_loop(None)
    eventlet.hubs.use_hub()
    eventlet.hubs.get_hub()


def _renew_epoll(hub: Any) -> None:
    """What waits in the hub, it goes on waiting for."""
    hub.poll.close()
    hub.poll = eventlet.patcher.original("select").epoll()
    for fileno in {*hub.listeners[hub.READ], *hub.listeners[hub.WRITE]}:
        try:
            hub.register(fileno, new=True)
        except OSError:
            # It was closed and never taken out: nothing will come from it.
            for listeners in hub.listeners.values():
                listeners.pop(fileno, None)


class ClientSocket(Residue, GreenSocket):  # type: ignore[misc]
    """A cooperative socket that first gives what the server has already read."""

    def __init__(self, fileno: int, residue: bytes) -> None:
        eventlet.hubs.notify_opened(fileno)
        super().__init__(eventlet.patcher.original("socket").socket(fileno=fileno))
        self._residue = residue
        self.setblocking(True)


class _Expired(Exception):  # noqa: N818
    pass


def wait(fd: int, writing: bool, seconds: float) -> bool:
    """Lets other green threads run until the descriptor is ready; false if it is not, so many seconds later."""
    try:
        eventlet.hubs.trampoline(fd, read=not writing, write=writing, timeout=seconds, timeout_exc=_Expired)
    except _Expired:
        return False
    return True


def in_hub() -> bool:
    """Whether this is the hub's own greenlet, in which nothing may wait."""
    return getcurrent() is eventlet.hubs.get_hub().greenlet


def spawn(act: Callable[[], None]) -> None:
    """Calls in a green thread of its own, soon."""
    eventlet.spawn_n(act)


def serve(engine: Any) -> None:
    """Serves until the engine is stopped; what ends the worker at once comes out of it."""
    hub = eventlet.hubs.get_hub()
    done = Event()
    errors: list[BaseException] = []

    def finish() -> None:
        if not done.ready():
            done.send(None)

    # The hub would take the listener out if this raised.
    def turn(_: int) -> None:
        try:
            for _ in range(engine.poll()):
                request = engine.take()
                if request is None:
                    break
                # Runs until it has to wait, without a detour through the hub's timers.
                GreenThread(hub.greenlet).switch(request, (), {})
            if engine.settle():
                finish()
        except BaseException as error:
            errors.append(error)
            finish()

    listener = hub.add(hub.READ, engine.fileno(), turn, lambda *_: None, None)
    serving = True

    def leave_in_child() -> None:
        green.remember_forker()
        if serving:
            # Only out of the hub's own account: the epoll is still the parent's.
            BaseHub.remove(hub, listener)
        if isinstance(hub, eventlet.hubs.epolls.Hub):
            _renew_epoll(hub)

    os.register_at_fork(after_in_child=leave_in_child)
    try:
        done.wait()
    finally:
        serving = False
        hub.remove(listener)
        engine.close()
    if errors:
        raise errors[0]
