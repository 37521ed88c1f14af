"""Answers with the status, headers and body that the query names; every other path is the probe's."""

from urllib.parse import parse_qs

import probe


def application(environ, start_response):
    """``/answer?status=&header=Name:value&body=&as=list|pieces``, each with a default; ``header`` may be repeated."""
    if not environ["PATH_INFO"].startswith("/answer"):
        return probe.application(environ, start_response)
    query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    body = query.get("body", [""])[0].encode()
    if "hint" in query:
        environ["wsgi.early_hints"]([tuple(field.split(":", 1)) for field in query["hint"]])
    headers = [tuple(field.split(":", 1)) for field in query.get("header", [])]
    start_response(query.get("status", ["200 OK"])[0], headers)
    if query.get("as") == ["pieces"]:
        return iter([body])
    return [body] if body else []
