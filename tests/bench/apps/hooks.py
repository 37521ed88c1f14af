"""A config file for Podicorn and Gunicorn alike: writes when a worker's fork begins and when the worker can serve.

Both servers call the hooks at the same points: pre_fork just before the fork, post_worker_init after the app is loaded.
"""

import os
import time


def _write(*words):
    line = " ".join(map(str, (*words, time.monotonic_ns()))) + "\n"
    handle = os.open(os.environ["BENCH_HOOK_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, line.encode())
    os.close(handle)


def pre_fork(server, worker):
    _write("fork", worker.age)


def post_worker_init(worker):
    _write("ready", worker.age, os.getpid())
