"""The smallest app: says hello, and which process said it."""

import os


def application(environ, start_response):
    body = b"hello\n"
    start_response(
        "200 OK",
        [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("X-Pid", str(os.getpid()))],
    )
    return [body]


app = application


def create(greeting="hello", *, times=1):
    """An app factory with arguments: ``hello:create('hi', times=2)``."""

    def made(environ, start_response):
        body = (greeting * times).encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    return made
