"""The same as a WSGI app; WebSockets as geventwebsocket hands them to it."""

import json

import gate_client

from socket_types import acts


def pieces():
    yield b"one\n"
    gate_client.pause("stream")
    yield b"two\n"


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/chat":
        return chat(environ["wsgi.websocket"])
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return pieces()
    if path in acts.TEXTS:
        body = acts.TEXTS[path]().encode()
    elif path == "/identity":
        body = json.dumps(acts.identity()).encode()
    elif path.startswith("/await/"):
        gate_client.pause(path[len("/await/") :])
        body = b"released\n"
    elif path == "/echo":
        body = environ["wsgi.input"].read()
    elif path == "/boom":
        raise ValueError("a bug of the app")
    else:
        start_response("404 Not Found", [("Content-Length", "0")])
        return []
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def chat(socket):
    while not socket.closed:
        message = socket.receive()
        if message is not None:
            socket.send(message)
    return []
