"""Hangs by path, each in a function whose name a stack dump must show."""

import ctypes
import socket
import threading
import time

_libc = ctypes.PyDLL(None)


def hang_in_sleep():
    time.sleep(3600)


def hang_at_lock():
    lock = threading.Lock()
    with lock:
        lock.acquire()


def hang_in_extension():
    """C code that keeps the GIL: PyDLL does not let it go."""
    _libc.sleep(3600)


def hang_in_read():
    ours, _theirs = socket.socketpair()
    ours.recv(1)


HANGS = {"/sleep": hang_in_sleep, "/lock": hang_at_lock, "/extension": hang_in_extension, "/read": hang_in_read}


def application(environ, start_response):
    """WSGI."""
    HANGS.get(environ["PATH_INFO"], lambda: None)()
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]


async def waits_for_nothing():
    import asyncio

    await asyncio.get_running_loop().create_future()


async def app(scope, receive, send):
    """ASGI: `/task` waits as a task should, the others block the loop."""
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/task":
        await waits_for_nothing()
    HANGS.get(scope["path"], lambda: None)()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
