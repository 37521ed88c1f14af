"""An app that takes five milliseconds, or PACE seconds, and says which process it was.

It holds BALLAST MiB of memory. With SPIN set it computes all that time.
"""

import os
import time

PACE = float(os.environ.get("PACE", "0.005"))
SPIN = bool(os.environ.get("SPIN"))
BALLAST = b"x" * (int(os.environ.get("BALLAST", "0")) << 20)


def work():
    if not SPIN:
        time.sleep(PACE)
        return
    end = time.monotonic() + PACE
    while time.monotonic() < end:
        pass


def application(*arguments):
    if len(arguments) == 3:
        return in_loop(*arguments)
    _, start_response = arguments
    work()
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def in_loop(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    work()
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
