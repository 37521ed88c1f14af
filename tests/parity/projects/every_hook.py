"""Every hook of a server and of its workers, each noting what it can see of the objects that it is given."""

import os
import threading

from parity.projects.record import note

bind = os.environ["HOOKS_BIND"]
workers = 1
graceful_timeout = 10
timeout = int(os.environ.get("HOOKS_TIMEOUT", "30"))
proc_name = "every-hook"


def _server(server):
    return {
        "address": [type(address).__name__ for address in server.address], "workers": server.num_workers,
        "pid": isinstance(server.pid, int), "log": hasattr(server.log, "info"), "name": server.proc_name,
        "setting": server.cfg.graceful_timeout,
    }  # fmt: skip


def _worker(worker):
    return {
        "age": worker.age, "booted": worker.booted, "alive": worker.alive, "log": hasattr(worker.log, "info"),
        "tmp": callable(worker.tmp.last_update), "worker_timeout": worker.timeout, "setting": worker.cfg.workers,
    }  # fmt: skip


def on_starting(server):
    note("on_starting", **_server(server))


def on_reload(server):
    note("on_reload", workers=server.num_workers)


def when_ready(server):
    note("when_ready", **_server(server))


def pre_fork(server, worker):
    note("pre_fork", **_server(server), **{f"worker_{name}": value for name, value in _worker(worker).items()})


def post_fork(server, worker):
    note("post_fork", own=worker.pid == os.getpid(), booted=worker.booted, age=worker.age)
    # As metrics and tracing libraries do: the thread must live in the worker.
    threading.Thread(target=lambda: note("thread", own=worker.pid == os.getpid())).start()


def post_worker_init(worker):
    note("post_worker_init", own=worker.pid == os.getpid(), booted=worker.booted, wsgi=callable(worker.wsgi))


def worker_int(worker):
    note("worker_int", own=worker.pid == os.getpid())


def worker_abort(worker):
    note("worker_abort", own=worker.pid == os.getpid())


def pre_request(worker, req):
    headers = [name for name, _ in req.headers]
    note(
        "pre_request", own=worker.pid == os.getpid(), method=req.method, path=req.path, query=req.query, uri=req.uri,
        version=req.version, headers=headers,
    )  # fmt: skip


def post_request(worker, req, environ, resp):
    note(
        "post_request", own=worker.pid == os.getpid(), method=req.method, environ=environ["PATH_INFO"],
        status=resp.status, code=getattr(resp, "status_code", None), sent=resp.sent, length=resp.response_length,
        headers=[name for name, _ in resp.headers],
    )  # fmt: skip


def child_exit(server, worker):
    note("child_exit", own=worker.pid == os.getpid(), there=worker.pid in server.WORKERS)


def worker_exit(server, worker):
    note("worker_exit", own=worker.pid == os.getpid(), booted=worker.booted)


def nworkers_changed(server, new_value, old_value):
    note("nworkers_changed", new=new_value, old=old_value)


def on_exit(server):
    note("on_exit", setting=server.cfg.graceful_timeout)
