"""An app that takes five milliseconds, and says which process it was."""

import os
import time


def application(environ, start_response):
    time.sleep(0.005)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
