"""Holds up everything else in its worker for as many seconds as the path says: the loop, the hub, or the GIL."""

import ctypes
import time

# Not patched by gevent or eventlet, which import this module after they have patched `time`.
_libc = ctypes.PyDLL(None)


def block(path: str) -> bytes:
    """Sleeps without giving up the GIL, so that nobody else in this process runs."""
    _libc.usleep(int(float(path.strip("/") or 0) * 900_000))
    time.sleep(0)
    return b"done\n"


def application(environ, start_response):
    """WSGI."""
    body = block(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


hog = application


async def app(scope, receive, send):
    """ASGI."""
    if scope["type"] != "http":
        raise NotImplementedError
    body = block(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
