"""An identity provider's: each worker has a number that is used again, for metrics in files by that number."""

import os
import tempfile

from parity.projects.record import note
from prometheus_client.values import MultiProcessValue

_directory = os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp())

worker_class = "gthread"
threads = 4
workers = 2
preload = True
preload_app = True
max_requests = 1000
max_requests_jitter = 50
logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "identity %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}},
    "loggers": {
        "gunicorn.error": {"handlers": ["console"], "level": "INFO", "propagate": False},
        "gunicorn.access": {"handlers": ["console"], "level": "INFO", "propagate": False},
    },
}


def on_starting(server):
    note("on_starting", workers=server.cfg.workers)
    server._numbers_to_reuse = set()


def nworkers_changed(server, new_value, old_value):
    note("nworkers_changed", new=new_value, old=old_value)
    server._numbers_wanted = new_value


def _free_number(server):
    if server._numbers_to_reuse:
        return server._numbers_to_reuse.pop()
    taken = {worker._number for worker in tuple(server.WORKERS.values()) if worker.alive}
    return (set(range(1, server._numbers_wanted + 1)) - taken).pop()


def on_reload(server):
    note("on_reload", workers=server.cfg.workers)
    server._numbers_to_reuse = set(range(1, server.cfg.workers + 1))


def pre_fork(server, worker):
    worker._number = _free_number(server)
    note("pre_fork", number=worker._number, pid=worker.pid)


def post_fork(server, worker):
    from prometheus_client import values

    values.ValueClass = MultiProcessValue(lambda: worker._number)


def post_worker_init(worker):
    note("post_worker_init", number=worker._number, callable=callable(worker.app.callable))


def worker_exit(server, worker):
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker._number)
    note("worker_exit", number=worker._number)
