"""Apps that print and log while they answer, with a wait in between: each line must stay with its own request."""

import asyncio
import logging

import gate_client
from podicorn.log import JsonFormatter

log = logging.getLogger("gunicorn.error")
shop = logging.getLogger("shop")
handler = logging.StreamHandler()
handler.setFormatter(JsonFormatter())
shop.addHandler(handler)


def begin(path):
    print("printed", path)
    log.warning("logged %s", path)
    shop.error("by the shop %s", path)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    begin(path)
    gate_client.pause(path)
    print("after the wait", path)
    environ["wsgi.errors"].write(f"wsgi.errors {path}\n")
    start_response("200 OK", [])

    def body():
        print("while sending", path)
        yield b"done\n"

    return body()


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        path = scope["path"]
        begin(path)
        await gate_client.wait(path)
        print("after the wait", path)
        await asyncio.to_thread(print, "in a thread", path)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        print("while sending", path)
        await send({"type": "http.response.body", "body": b"done\n"})
