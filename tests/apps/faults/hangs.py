"""Hangs in a request, in Python: only a stack dump says where."""

import threading

import probe


def wait_for_a_lock_nobody_frees():
    lock = threading.Lock()
    with lock:
        lock.acquire()


@probe.route("hang")
def hang(environ, start_response, rest, query):
    wait_for_a_lock_nobody_frees()


application = probe.application
