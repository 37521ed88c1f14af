"""Apps without a framework. Every server is given these very functions."""

TEN_KIB = b"x" * (10 * 1024)
HUNDRED_KIB = b"x" * (100 * 1024)
PIECE = 64 * 1024


def hello(environ, start_response):
    body = b"Hello, World!"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [body]


def ten_kib(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10240")])
    return [TEN_KIB]


def hundred_kib(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "102400")])
    return [HUNDRED_KIB]


def echo(environ, start_response):
    """Answers with the request's body."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
    return [body]


def upload(environ, start_response):
    """Reads the body piece by piece, as frameworks do, and answers with the number of bytes."""
    source = environ["wsgi.input"]
    left = int(environ["CONTENT_LENGTH"])
    total = 0
    while left > 0:
        piece = source.read(min(left, PIECE))
        if not piece:
            break
        total += len(piece)
        left -= len(piece)
    body = str(total).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
