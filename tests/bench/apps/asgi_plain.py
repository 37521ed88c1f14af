"""ASGI apps without a framework. Every server is given these very functions."""


def _start(length: int, kind: bytes = b"text/plain") -> dict:
    headers = [(b"content-type", kind), (b"content-length", str(length).encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


HELLO_START = _start(13)
HELLO_BODY = {"type": "http.response.body", "body": b"Hello, World!"}


async def hello(scope, receive, send):
    if scope["type"] != "http":
        await _lifespan(receive, send)
        return
    await send(HELLO_START)
    await send(HELLO_BODY)


async def echo(scope, receive, send):
    """Answers with the request's body."""
    if scope["type"] != "http":
        await _lifespan(receive, send)
        return
    pieces = []
    more = True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(pieces)
    await send(_start(len(body), b"application/octet-stream"))
    await send({"type": "http.response.body", "body": body})


async def websocket(scope, receive, send):
    """Sends back every message."""
    if scope["type"] == "http":
        # The harness asks whether the server is there.
        await send(HELLO_START)
        await send(HELLO_BODY)
        return
    if scope["type"] != "websocket":
        await _lifespan(receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        await send({"type": "websocket.send", "bytes": message["bytes"]})


async def _lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
