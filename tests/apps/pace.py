"""An app that takes five milliseconds, or PACE seconds, and says which process it was."""

import os
import time

PACE = float(os.environ.get("PACE", "0.005"))


def application(*arguments):
    if len(arguments) == 3:
        return in_loop(*arguments)
    _, start_response = arguments
    time.sleep(PACE)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def in_loop(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    time.sleep(PACE)
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
