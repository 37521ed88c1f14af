"""An app without a server: ``calls.py WSGI|ASGI MODULE:APP METHOD BODY_SIZE`` calls it as servers do, with no socket.

It prints the body of the app's answer as hexadecimal digits. Then, for each line of its input, a number of seconds, it
calls the app over and over for so long and prints the µs of user and of system time that a call took.
"""

import asyncio
import gc
import io
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

# Both are programs of this directory.
from serve import load

#: So many calls between two looks at the clock.
STRIDE = 50
HOST = "127.0.0.1:8000"
ENVIRON = {
    "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "", "RAW_URI": "/", "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "8000", "SERVER_SOFTWARE": "none", "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "40000", "HTTP_HOST": HOST, "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr, "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}  # fmt: skip


def wsgi(app: Callable, method: str, body: bytes) -> bytes:
    """One call of a WSGI app: the body of its answer."""
    environ = ENVIRON | {"REQUEST_METHOD": method, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    answer = app(environ, lambda status, headers, exc_info=None: None)
    try:
        return b"".join(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()


async def asgi(app: Callable[..., Awaitable], method: str, body: bytes) -> bytes:
    """One call of an ASGI app, in the caller's task: the body of its answer."""
    pieces = []

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict) -> None:
        if message["type"] == "http.response.body":
            pieces.append(message.get("body", b""))

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.5"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "",
        "headers": [(b"host", HOST.encode()), (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 40000), "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return b"".join(pieces)


def tell(line: object) -> None:
    """To the harness."""
    print(line, flush=True)


def strides() -> Iterator[None]:
    """What the harness asks for: one for each stride of calls, timed from the first to the last."""
    for line in sys.stdin:
        count, before, end = 0, resource.getrusage(resource.RUSAGE_SELF), time.monotonic() + float(line)
        while time.monotonic() < end:
            yield
            count += STRIDE
        after = resource.getrusage(resource.RUSAGE_SELF)
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        tell(f"{user / count * 1e6} {system / count * 1e6}")


def serve(call: Callable[[], bytes]) -> None:
    """As the module's text says, for a call that ends at once."""
    tell(call().hex())
    gc.freeze()
    for _ in strides():
        for _ in range(STRIDE):
            call()


async def serve_async(call: Callable[[], Awaitable[bytes]]) -> None:
    """As :func:`serve`. Nothing else runs in this loop, so that waiting for the input holds nobody up."""
    tell((await call()).hex())
    gc.freeze()
    for _ in strides():
        for _ in range(STRIDE):
            await call()


def main() -> None:
    """See the module's text."""
    interface, target, method, size = sys.argv[1:]
    app = load(target)
    body = b"x" * int(size)
    if interface == "ASGI":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.run(serve_async(partial(asgi, app, method, body)))
    else:
        serve(partial(wsgi, app, method, body))


if __name__ == "__main__":
    main()
