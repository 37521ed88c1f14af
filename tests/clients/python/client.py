"""Python's http.client as a program; see ../README.md."""

import hashlib
import http.client
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

PIECE = bytes(range(251)) * 256


def pattern(size: int) -> Iterator[bytes]:
    """The pieces of a body."""
    for begin in range(0, size, len(PIECE)):
        yield PIECE[: size - begin]


def perform(connection: http.client.HTTPConnection, wanted: dict[str, Any], out: dict[str, Any]) -> None:
    """One exchange on a connection, which http.client opens anew where the last response has ended it."""
    while wanted.get("after") and not os.path.exists(wanted["after"]):
        time.sleep(0.02)
    headers, body = dict(wanted.get("headers") or {}), None
    if wanted.get("body"):
        body = pattern(wanted["body"]["size"])
        if not wanted["body"].get("chunked"):
            headers["Content-Length"] = str(wanted["body"]["size"])
    out.update(attempts=1, interim=None, continued=None, early=None, reused=connection.sock is not None)
    connection.request(wanted["method"], wanted["target"], body, headers)
    response = connection.getresponse()
    out["status"] = response.status
    out["version"] = {10: "1.0", 11: "1.1"}[response.version]
    names = {name.lower() for name in response.headers}
    out["headers"] = {name: ", ".join(response.headers.get_all(name)) for name in names}
    total, first, length = hashlib.sha256(), b"", 0
    # The sized read() takes a body that ends too early for a whole one; read1() and read() do not.
    if response.length is not None and wanted["method"] != "HEAD":
        first = response.read()
        length = len(first)
        total.update(first)
    else:
        while piece := response.read(65536):
            total.update(piece)
            first += piece[: 4097 - len(first)]
            length += len(piece)
    out.update(length=length, sha256=total.hexdigest(), text=first.decode("latin-1") if length <= 4096 else None)


def main() -> None:
    """See the module's text."""
    order = json.load(sys.stdin)
    url, exchanges = urlsplit(order["url"]), order["exchanges"]
    results: list[dict[str, Any]] = [{"error": None} for _ in exchanges]
    numbers = itertools.count()

    def user() -> None:
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)
        while (number := next(numbers)) < len(exchanges):
            try:
                perform(connection, exchanges[number], results[number])
            except (OSError, http.client.HTTPException) as error:
                results[number]["error"] = f"{type(error).__name__}: {error}"
                connection.close()
        connection.close()

    users = [threading.Thread(target=user) for _ in range(order.get("parallel") or 1)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
