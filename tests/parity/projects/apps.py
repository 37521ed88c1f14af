"""What the projects serve: it says what only the server can have told it."""

import os
import time

from parity.projects.record import note


def application(environ, start_response):
    """WSGI."""
    names = (
        "SCRIPT_NAME",
        "REMOTE_ADDR",
        "wsgi.url_scheme",
        "wsgi.multithread",
        "wsgi.multiprocess",
        "SERVER_PROTOCOL",
    )
    body = "\n".join(f"{name}={environ.get(name)!r}" for name in names) + f"\npath={environ['PATH_INFO']}\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body.encode()]


def counted(environ, start_response):
    """WSGI, with a counter of prometheus_client."""
    from prometheus_client import Counter

    global _asked
    if _asked is None:
        _asked = Counter("identity_asked", "Requests")
    _asked.inc()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]


_asked = None


async def asgi(scope, receive, send):
    """ASGI."""
    assert scope["type"] == "http", scope["type"]
    body = f"root_path={scope.get('root_path')}\npath={scope['path']}\nscheme={scope['scheme']}\n".encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
    )
    await send({"type": "http.response.body", "body": body})


if os.getenv("PROJECT_NOTES_IMPORT"):
    note("import", title="apps")


def stuck(environ, start_response):
    """WSGI that never answers."""
    while True:
        time.sleep(1)
