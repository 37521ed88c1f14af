"""A body of known length after a short wait, in pieces, with its length told or not; for every kind of worker."""

import asyncio
import time
from urllib.parse import parse_qs

#: A body's bytes: 0 to 250, over and over.
PATTERN = bytes(range(251)) * 1200


def asked(query):
    """``size`` of the body, ``wait`` in milliseconds, ``chunked``."""
    values = {key: value[-1] for key, value in parse_qs(query).items()}
    return int(values.get("size", 30_000)), int(values.get("wait", 2)) / 1000, "chunked" in values


def pieces(size):
    third = size // 3
    return [PATTERN[:third], PATTERN[third : 2 * third], PATTERN[2 * third : size]]


def wsgi(environ, start_response):
    size, wait, chunked = asked(environ["QUERY_STRING"])
    time.sleep(wait)
    length = [] if chunked else [("Content-Length", str(size))]
    start_response("200 OK", [("Content-Type", "application/octet-stream"), *length])
    return pieces(size)


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError(scope["type"])
    size, wait, chunked = asked(scope["query_string"].decode())
    await asyncio.sleep(wait)
    length = [] if chunked else [(b"content-length", str(size).encode())]
    headers = [(b"content-type", b"application/octet-stream"), *length]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces(size):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def app(*arguments):
    """The same for both worlds."""
    return asgi(*arguments) if len(arguments) == 3 else wsgi(*arguments)


def tornado():
    """An app of Tornado's own kind."""
    from tornado.web import Application, RequestHandler

    class Body(RequestHandler):
        async def get(self):
            size, wait, chunked = asked(self.request.query)
            await asyncio.sleep(wait)
            if not chunked:
                self.set_header("Content-Length", str(size))
            for piece in pieces(size):
                self.write(piece)
                if chunked:
                    await self.flush()

    return Application([(r"/.*", Body)])


def aiohttp():
    """An app of aiohttp's own kind."""
    from aiohttp import web

    async def body(request):
        size, wait, chunked = asked(request.query_string)
        await asyncio.sleep(wait)
        if not chunked:
            return web.Response(body=b"".join(pieces(size)))
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in pieces(size):
            await response.write(piece)
        await response.write_eof()
        return response

    made = web.Application()
    made.router.add_get("/{path:.*}", body)
    return made
