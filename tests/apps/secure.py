"""What an app sees of TLS, in both worlds; everything else is that of ``probe``."""

import json
import os

import probe
import probe_asgi


def app(*arguments):
    if len(arguments) == 3:
        return asgi(*arguments)
    environ, start_response = arguments
    handler = {"/seen": seen, "/peer": peer, "/read-socket": read_socket}.get(environ["PATH_INFO"])
    return handler(environ, start_response) if handler else probe.application(environ, start_response)


def as_json(start_response, value):
    body = json.dumps(value).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def seen(environ, start_response):
    """The scheme, and who answered."""
    names = ("wsgi.url_scheme", "SERVER_PORT", "SERVER_NAME", "HTTPS")
    return as_json(start_response, {name: environ.get(name) for name in names} | {"pid": os.getpid()})


def peer(environ, start_response):
    """What the session is like, by the methods of Python's SSLSocket."""
    session = environ["gunicorn.socket"]
    certificate = session.getpeercert(binary_form=True)
    return as_json(
        start_response,
        {
            "version": session.version(),
            "cipher": session.cipher(),
            "subject": (session.getpeercert() or {}).get("subject"),
            "der": certificate and certificate.hex(),
        },
    )


def read_socket(environ, start_response):
    """An app that would speak a protocol of its own."""
    try:
        environ["gunicorn.socket"].recv(1)
    except RuntimeError as error:
        return as_json(start_response, {"error": str(error)})
    return as_json(start_response, {"error": None})


async def asgi(scope, receive, send):
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
    elif scope["type"] == "http" and scope["path"] == "/seen":
        await tell(send, {"scheme": scope["scheme"], "pid": os.getpid()})
    elif scope["type"] == "http" and scope["path"] == "/tls":
        await tell(send, scope["extensions"].get("tls"))
    else:
        await probe_asgi.app(scope, receive, send)


async def tell(send, value):
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope, receive, send):
    """First what the scope says, then what comes."""
    await receive()
    await send({"type": "websocket.accept"})
    tls = scope["extensions"].get("tls") or {}
    await send({"type": "websocket.send", "text": json.dumps([scope["scheme"], tls.get("tls_version")])})
    while (message := await receive())["type"] == "websocket.receive":
        given = {name: message[name] for name in ("text", "bytes") if message.get(name) is not None}
        await send({"type": "websocket.send", **given})
