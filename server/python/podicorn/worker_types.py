"""What the fork server and the process of a worker differ in by worker type."""

from __future__ import annotations

import importlib

from podicorn import shared_modules, tls
from podicorn.log import Logger
from podicorn.worker_view import WorkerView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from podicorn.arbiter_view import ArbiterView
    from podicorn.hooks import Hooks
    from podicorn.settings import Settings
    from podicorn.worker import Claim, WorkerProcess


class WorkerType:
    """The engine types: the sockets, and the worker object of hooks, are our own."""

    #: What adds to a dump of the threads' stacks in the fork server, where that is not all.
    dump_more: Callable[[int], None] | None = None
    #: What the app takes for threads lives on in workers that are forked from its process.
    threads_survive = False

    def __init__(self, cfg: Settings) -> None:
        self.cfg = cfg
        #: What connections speak; None: plain HTTP.
        self.tls: Any = None
        #: Why they speak it by Python's ssl.
        self.why_python_tls: str | None = None

    def prepare_tls(self) -> None:
        """Reads certificates and keys. Raises Failure."""
        self.tls, self.why_python_tls = tls.engine_context(self.cfg)

    def import_shared(self) -> None:
        """Imports what workers are to share."""
        shared_modules.load()
        # The engine would, in each worker.
        importlib.import_module("podicorn.client_socket")

    def make_log(self) -> Any:
        """The `log` of server and workers: a `Logger`, or what the settings put in its place."""
        if not self.cfg.python_logging:
            return Logger(self.cfg)
        # Imported where it is used: logging.config is large.
        from podicorn import loggers

        return loggers.make(self.cfg)

    def failing_app(self) -> Callable[[str], Any] | None:
        """Makes what is served under `reload` where the app cannot be loaded; None: nothing is."""
        from functools import partial

        from podicorn.failing_app import failing_app

        return partial(failing_app, asgi=self.cfg.worker_type == "asgi")

    def take_sockets(self, server: ArbiterView) -> None:
        """The server's listeners are known."""

    def make_worker(self, server: ArbiterView, age: int) -> Any:
        """The worker object of hooks, before the fork."""
        return WorkerView(server, age, _drawn_max_requests(self.cfg))

    def make_process(self, worker: Any, server: ArbiterView, hooks: Hooks, claim: Claim) -> WorkerProcess:
        """What runs in the process after the fork."""
        from podicorn.worker import WorkerProcess

        return WorkerProcess(worker, server, hooks, claim)


class Asgi(WorkerType):
    """asgi: event loops are the larger part of what its workers import."""

    def import_shared(self) -> None:
        """Imports what workers are to share."""
        super().import_shared()
        from podicorn.asgi import import_loop

        import_loop(self.cfg)


def type_of(cfg: Settings) -> WorkerType:
    """The worker type of the settings. Raises Failure where something is not installed, or a class is not found."""
    # Imported where they are used: their libraries are large.
    if cfg.worker_type in ("gevent", "eventlet"):
        from podicorn.green import Green

        return Green(cfg)
    if cfg.worker_type == "tornado":
        from podicorn.tornado_worker import Tornado

        return Tornado(cfg)
    if cfg.worker_type == "third-party":
        from podicorn.third_party import ThirdParty

        return ThirdParty(cfg)
    if cfg.worker_type == "asgi":
        return Asgi(cfg)
    return WorkerType(cfg)


def _drawn_max_requests(cfg: Settings) -> int:
    """The worker's own number of requests, as Gunicorn draws it; 0: no limit."""
    if not cfg.max_requests:
        return 0
    if not cfg.max_requests_jitter:
        return int(cfg.max_requests)
    from random import randint

    return int(cfg.max_requests) + randint(0, cfg.max_requests_jitter)
