"""A document archive's: the environment says most of it, and a worker that is told to leave logs its stacks."""

import os
import sys
import threading
import traceback

from parity.projects.record import note

bind = f"127.0.0.1:{os.getenv('ARCHIVE_PORT', '8000')}"
workers = int(os.getenv("ARCHIVE_WORKERS", "2"))
worker_class = "parity.projects.classes.ArchiveWorker"
timeout = 120
preload_app = bool(os.getenv("ARCHIVE_PRELOAD"))


def pre_fork(server, worker):
    """Nothing to do, but it is there."""


def pre_exec(server):
    server.log.info("Forked child, re-executing.")


def when_ready(server):
    server.log.info("Server is ready. Spawning workers")
    note("when_ready", timeout=server.cfg.timeout, address=type(server.address).__name__)


def worker_int(worker):
    worker.log.info("worker received INT or QUIT signal")
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = []
    for ident, frame in sys._current_frames().items():
        stacks.append(f"\n# Thread: {names.get(ident, '')}({ident})")
        stacks.extend(
            f"File: {name}, line {line}, in {function}" for name, line, function, _ in traceback.extract_stack(frame)
        )
    worker.log.debug("\n".join(stacks))
    note("worker_int", main_thread="MainThread" in names.values(), alive=worker.alive)


def worker_abort(worker):
    worker.log.info("worker received SIGABRT signal")
