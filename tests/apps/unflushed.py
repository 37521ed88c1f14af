"""Writes into a file of its own that nobody flushes or closes, as scripts do."""

import os

REPORT = open(os.environ["REPORT"], "a")


def application(environ, start_response):
    """WSGI."""
    REPORT.write("a line\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"done\n"]


async def app(scope, receive, send):
    """ASGI."""
    if scope["type"] != "http":
        raise NotImplementedError
    REPORT.write("a line\n")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"done\n"})
