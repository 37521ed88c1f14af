"""What is served under `reload` in place of an app that cannot be loaded: the traceback, as Gunicorn does."""

from __future__ import annotations

import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

STATUS = 500
CONTENT_TYPE = "text/plain; charset=utf-8"


def failing_app(text: str, *, asgi: bool) -> Callable[..., Any]:
    """An app that answers everything with this text."""
    body = text.encode("utf-8", "backslashreplace")
    fields = [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body)))]

    def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(f"{STATUS} Internal Server Error", fields)
        return [body]

    async def asgi_app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        else:
            headers = [(name.lower().encode(), value.encode()) for name, value in fields]
            await send({"type": "http.response.start", "status": STATUS, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return asgi_app if asgi else wsgi_app


def files_of(error: BaseException) -> list[str]:
    """The files in which the cause may be mended."""
    names = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        names.append(error.filename)
    return names
