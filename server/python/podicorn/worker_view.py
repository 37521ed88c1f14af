"""The `worker` object of hooks, with the attributes of Gunicorn's workers."""

from __future__ import annotations

from podicorn.heartbeat import Heartbeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from podicorn.app import Application
    from podicorn.arbiter_view import ArbiterView, Listener
    from podicorn.log import Logger
    from podicorn.settings import Settings


class WorkerView:
    """Made before the fork; one copy lives in the fork server, the other in the worker. Hooks may add attributes."""

    aborted = False
    #: Under `reload`: what watches the files.
    reloader: Any = None

    def __init__(self, server: ArbiterView, age: int, max_requests: int) -> None:
        self.age = age
        #: Gunicorn says this until the worker runs; hooks that are called before see it.
        self.pid: Any = "[booting]"
        self.ppid: int = server.pid
        self.cfg: Settings = server.cfg
        self.log: Logger = server.log
        self.app: Application = server.app
        self.sockets: list[Listener] = server.LISTENERS
        self.timeout: float = (server.cfg.timeout or 0) / 2
        self.max_requests = max_requests
        self.tmp = Heartbeat(server.cfg)
        self.alive = True
        self.booted = False
        self.wsgi: Any = None
        #: What serves, once the worker is ready.
        self.engine: Any = None

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"

    @property
    def nr(self) -> int:
        """How many requests this worker has begun."""
        return 0 if self.engine is None else int(self.engine.requests)

    def notify(self) -> None:
        """Gunicorn's heartbeat; here the engine beats by itself."""
        self.tmp.notify()
