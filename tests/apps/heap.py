"""Says what the garbage collector looks at, and what that costs in memory that was shared."""

import gc
import json
import weakref


class Node:
    """Part of a ring, which only the collector can free."""

    def __init__(self) -> None:
        self.ring = self


KEPT = [[number] for number in range(5000)]
LEFT_BEHIND = weakref.ref(Node())


def unshared_kib() -> int:
    """What only this process has, or would have if it were the last one."""
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty:"))


def answer() -> bytes:
    """As JSON."""
    before = unshared_kib()
    gc.collect()
    # Before the list of objects, which counts each of them as used once more.
    copied = unshared_kib() - before
    return json.dumps(
        {
            "walked": len(gc.get_objects()),
            "frozen": gc.get_freeze_count(),
            "left_behind": LEFT_BEHIND() is not None,
            "copied_kib": copied,
        }
    ).encode()


def application(environ, start_response):
    """WSGI."""
    body = answer()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def app(scope, receive, send):
    """ASGI."""
    if scope["type"] != "http":
        raise NotImplementedError
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer()})
