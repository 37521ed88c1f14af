"""A workflow scheduler's: its command line looks for a word in the titles of workers to know that they are ready."""

import setproctitle
from parity.projects.record import note

READY = "[ready] scheduler-worker"
_loaded = []

workers = 2
worker_class = "sync"


def post_worker_init(_):
    title = setproctitle.getproctitle()
    setproctitle.setproctitle(f"{READY} {title}")
    note("post_worker_init", shared=_loaded)


def on_starting(server):
    _loaded.append("providers")
    note("on_starting", name=server.proc_name, workers=server.num_workers)
