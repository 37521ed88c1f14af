"""A non-daemon thread that never ends: a worker must leave all the same."""

import threading

import probe


@probe.route("thread")
def thread(environ, start_response, rest, query):
    threading.Thread(target=threading.Event().wait, name="forgotten").start()
    return probe.answer(start_response, "started")


application = probe.application
