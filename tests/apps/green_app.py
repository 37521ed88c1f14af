"""What an app on greenlets does: waits in many ways, blocks the hub, uses plain sockets and threads."""

import contextvars
import ctypes
import hashlib
import logging
import os
import random
import socket
import sys
import threading
import time

import probe

#: As the module found it when it was imported.
AT_IMPORT = {
    "socket": socket.socket.__module__,
    "sleep": time.sleep.__module__,
    "thread": threading.Thread.start.__globals__["_start_new_thread"].__module__,
}
TICKS = []


def tick():
    """Started at import: lives in every worker, also where the app was preloaded."""
    while True:
        time.sleep(0.05)
        TICKS.append(os.getpid())


threading.Thread(target=tick, daemon=True).start()

LOCAL = threading.local()
CONTEXT = contextvars.ContextVar("request", default="none")
WOKEN = threading.Event()
LOG = logging.getLogger("green")
LOG.addHandler(logging.NullHandler())
PATTERN = hashlib.sha512(b"pattern").digest() * 1024


@probe.route("patched")
def patched(environ, start_response, rest, query):
    return probe.as_json(
        start_response,
        {
            **AT_IMPORT,
            "pid": os.getpid(),
            "main": threading.current_thread() is threading.main_thread(),
            "random": random.random(),
            "ticks": TICKS.count(os.getpid()),
        },
    )


@probe.route("poll")
def poll(environ, start_response, rest, query):
    """Waits until another request wakes it."""
    WOKEN.wait()
    return probe.answer(start_response, rest)


@probe.route("wake")
def wake(environ, start_response, rest, query):
    WOKEN.set()
    return probe.answer(start_response, "woken")


@probe.route("pattern")
def pattern(environ, start_response, rest, query):
    """``/pattern/BYTES``: pieces of odd lengths, some of them after a pause."""
    left, at = int(rest), 0
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    number = 0
    while left:
        number += 1
        size = min(left, 1 + (number * 7919) % 40_000)
        yield PATTERN[at : at + size]
        at = (at + size) % 4096
        left -= size
        if number % 5 == 0:
            time.sleep(0.001)


@probe.route("digest-slowly")
def digest_slowly(environ, start_response, rest, query):
    """Reads the body in pieces of odd lengths, and gives others a turn in between."""
    total, length, number = hashlib.sha256(), 0, 0
    read = environ["wsgi.input"].read
    while piece := read(1 + (number * 7919) % 40_000):
        number += 1
        total.update(piece)
        length += len(piece)
        if number % 5 == 0:
            time.sleep(0)
    return probe.as_json(start_response, {"length": length, "sha256": total.hexdigest(), "name": rest})


@probe.route("echo-both-ways")
def echo_both_ways(environ, start_response, rest, query):
    """Answers with the body while it comes."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return iter(lambda: environ["wsgi.input"].read(20_000), b"")


@probe.route("block")
def block(environ, start_response, rest, query):
    """Blocks the whole process for so many seconds, in C and without the GIL, as an unpatched driver would."""
    end = time.monotonic() + float(rest)
    while time.monotonic() < end:  # signals end a sleep early
        ctypes.CDLL(None).usleep(500_000)
    return probe.answer(start_response, "blocked")


@probe.route("spin")
def spin(environ, start_response, rest, query):
    """Keeps the hub for itself in Python code."""
    open(query["sign"], "w").close()
    while True:
        pass


@probe.route("ask")
def ask(environ, start_response, rest, query):
    """A client as drivers of databases are: a blocking socket, one question and one answer."""
    with socket.create_connection(("127.0.0.1", int(query["port"]))) as server:
        server.sendall(rest.encode() + b"\n")
        lines = server.makefile("rb")
        return probe.answer(start_response, lines.readline())


@probe.route("own")
def own(environ, start_response, rest, query):
    """What a request leaves in thread-locals and context variables must not be found by another."""
    found = [getattr(LOCAL, "value", "none"), CONTEXT.get()]
    LOCAL.value = rest
    CONTEXT.set(rest)
    time.sleep(0.01)
    found += [LOCAL.value, CONTEXT.get()]
    return probe.as_json(start_response, found)


@probe.route("threads")
def threads(environ, start_response, rest, query):
    """How many threads there are to Python, as seen by a request that logs."""
    LOG.warning("a record knows its thread")
    return probe.as_json(start_response, len(threading._active))


@probe.route("pool")
def pool(environ, start_response, rest, query):
    """Threads of the app's own, with locks, a queue and futures between them."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as executor:
        futures = [executor.submit(lambda n: (time.sleep(0.01), n * n)[1], n) for n in range(32)]
        return probe.as_json(start_response, sum(future.result() for future in futures))


@probe.route("impatient")
def impatient(environ, start_response, rest, query):
    """Reads the body with the library's own time limit around it."""
    library = sys.modules[rest]
    try:
        with library.Timeout(0.3):
            environ["wsgi.input"].read()
    except library.Timeout:
        return probe.answer(start_response, "timed out\n")
    return probe.answer(start_response, "read\n")


@probe.route("killed")
def killed(environ, start_response, rest, query):
    """Somebody ends this request's greenlet while it waits."""
    import greenlet

    me = greenlet.getcurrent()
    kill = sys.modules[rest].kill
    threading.Thread(target=lambda: (time.sleep(0.05), kill(me))).start()
    time.sleep(30)
    return probe.answer(start_response, "not killed")


@probe.route("child")
def child(environ, start_response, rest, query):
    """A child that waits in the patched ways, and one that is waited for."""
    pid = os.fork()
    if pid == 0:
        time.sleep(0.2)
        os._exit(7)
    _, status = os.waitpid(pid, 0)
    return probe.answer(start_response, str(os.waitstatus_to_exitcode(status)))


application = probe.application
