"""Answers each request with what it saw of it, as JSON."""

import json

FIELDS = (
    "REQUEST_METHOD",
    "RAW_URI",
    "SERVER_PROTOCOL",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "REMOTE_ADDR",
    "wsgi.url_scheme",
)


def application(environ, start_response):
    seen = {name: environ.get(name) for name in FIELDS}
    # Pairs, not an object: the order in which the server met the fields is part of what is seen.
    seen["headers"] = [pair for pair in environ.items() if pair[0].startswith("HTTP_")]
    seen["body"] = environ["wsgi.input"].read().decode("latin-1")
    answer = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
