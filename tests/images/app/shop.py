"""A WSGI app that says who serves it, and tries what must not be possible."""

import os
import tempfile
import time


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/write":
        answer = written("/app/file") + written(tempfile.gettempdir() + "/file")
    elif path == "/slow":
        time.sleep(3)
        answer = "slow"
    else:
        answer = f"uid {os.getuid()}, parent {os.getppid()}"
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]


def written(name):
    try:
        with open(name, "w") as file:
            file.write("x")
    except OSError as error:
        return f"{name}: {error.strerror}\n"
    return f"{name}: written\n"
