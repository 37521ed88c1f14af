"""What the corpus itself says of a case, in the terms of what WSGI shows.

Gunicorn's tests ask its parser, ours ask servers. That Gunicorn's server keeps what its corpus promises shows that the
files are read rightly here and that the oracle is the program that the corpus is about.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from parity.corpus import Case
from parity.verdict import Seen, Verdict

#: Statuses of the exceptions that are not answered 400. Where the bytes end inside a request, nothing is answered.
STATUS = {"LimitRequestLine": 414, "LimitRequestHeaders": 431, "NoMoreData": None}


def broken(case: Case, verdict: Verdict) -> str:
    """How the verdict departs from what the corpus says; empty if it does not."""
    statuses = [answer.status for answer in verdict.answers]
    if case.error:
        status = STATUS.get(case.error, 400)
        last = statuses[-1] if statuses else None
        return "" if last == status else f"{case.error} is answered {last}, not {status}"
    if statuses != [200] * len(case.requests):
        return f"{len(case.requests)} requests are answered {statuses}"
    for request, answer in zip(case.requests, verdict.answers, strict=True):
        wanted = environ(request)
        seen = {name: answer.seen[name] for name in wanted} if answer.seen else {}
        if seen != wanted:
            return f"the app is shown {seen}, not {wanted}"
    return ""


def environ(request: dict[str, Any]) -> Seen:
    """A request of the corpus as ``apps/seen.py`` reports it. Trailers are left out: WSGI does not show them."""
    plain = {name: value for name, value in request["headers"] if name in ("CONTENT-TYPE", "CONTENT-LENGTH")}
    return {
        "REQUEST_METHOD": request["method"],
        "RAW_URI": request["uri"]["raw"],
        "PATH_INFO": unquote(request["uri"]["path"], "latin-1"),
        "QUERY_STRING": request["uri"]["query"],
        "SERVER_PROTOCOL": "HTTP/{}.{}".format(*request["version"]),
        "CONTENT_TYPE": plain.get("CONTENT-TYPE"),
        "CONTENT_LENGTH": plain.get("CONTENT-LENGTH"),
        "headers": joined([(name, value) for name, value in request["headers"] if name not in plain]),
        # Two companions write "no body" as text.
        "body": (request["body"] or b"").decode("latin-1"),
    }


def joined(fields: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Fields as environ has them: one entry a name, where the name came first."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault("HTTP_" + name.replace("-", "_"), []).append(value)
    return [[name, ",".join(each)] for name, each in values.items()]
