"""The `server` object of hooks. Gunicorn hands them its arbiter; ours is another process, so this is its likeness."""

from __future__ import annotations

import os

from podicorn.settings import listener_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from podicorn.app import Application
    from podicorn.log import Logger
    from podicorn.settings import Settings
    from podicorn.worker_view import WorkerView


class Listener:
    """A listening socket that the arbiter has bound."""

    def __init__(self, fd: int, description: Mapping[str, Any]) -> None:
        self._fd = fd
        self.description = description

    def __str__(self) -> str:
        return str(self.description["address"])

    def fileno(self) -> int:
        """The descriptor in this process."""
        return self._fd

    def getsockname(self) -> tuple[str, int] | str:
        """`(host, port)` or the path of a unix socket."""
        return listener_address(self.description)


class ArbiterView:
    """What hooks commonly use of Gunicorn's arbiter. Hooks may keep attributes of their own here, as they do there."""

    master_name = "Master"
    #: In Gunicorn the pid of the master that started this one by USR2. Here that is between the arbiters.
    master_pid = 0
    pidfile = None
    systemd = False

    def __init__(
        self, *, pid: int, cfg: Settings, log: Logger, app: Application, listeners: list[Listener], generation: int
    ) -> None:
        self.pid = pid
        self.cfg = cfg
        self.log = log
        self.app = app
        self.LISTENERS = listeners
        self.generation = generation
        self.num_workers = _fewest(cfg.workers)
        self.timeout = cfg.timeout
        self.proc_name = cfg.proc_name
        self.worker_age = 0
        self._workers: dict[int, WorkerView] = {}

    def __str__(self) -> str:
        return f"<Arbiter {self.pid}>"

    @property
    def address(self) -> list[tuple[str, int] | str]:
        """Where the server listens."""
        return self.cfg.address

    @property
    def WORKERS(self) -> dict[int, WorkerView]:
        """The living workers that this fork server has forked, by pid."""
        # The fork server is not their parent and hears of an exit only if there is a hook child_exit.
        for pid in [pid for pid in self._workers if not _exists(pid)]:
            del self._workers[pid]
        return self._workers

    def add_worker(self, worker: WorkerView) -> None:
        """A worker was forked."""
        self.WORKERS[worker.pid] = worker

    def remove_worker(self, pid: int) -> WorkerView | None:
        """A worker has exited; what hooks know of it."""
        return self._workers.pop(pid, None)


def _fewest(workers: Any) -> int:
    """The number of workers to begin with; the setting may be a range `MIN..MAX`."""
    if isinstance(workers, int):
        return workers
    first = str(workers).partition("..")[0]
    return int(first) if first.isdecimal() else 1


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
