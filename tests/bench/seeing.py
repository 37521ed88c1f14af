"""A collector that takes spans and keeps none, a Prometheus that reads and keeps nothing, and the server's own word."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from podtest.http import request

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
SAMPLE = re.compile(r"^podicorn_trace_spans_(exported|dropped)_total(?:\{.*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Spans:
    """So far."""

    exported: float = 0.0
    dropped: float = 0.0


def metrics(port: int) -> str:
    """One scrape."""
    response = request(("127.0.0.1", port), "/metrics")
    assert response.status == 200, response
    return response.text


def spans(port: int) -> Spans:
    """What has become of the spans, by the server's own word."""
    sums = {"exported": 0.0, "dropped": 0.0}
    for what, value in SAMPLE.findall(metrics(port)):
        sums[what] += float(value)
    return Spans(**sums)


@contextmanager
def scraping(port: int | None) -> Iterator[None]:
    """A scrape each second, the first at once. None: nobody comes."""
    if port is None:
        yield
        return
    done = threading.Event()

    def scrape() -> None:
        while True:
            metrics(port)
            if done.wait(1.0):
                return

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Sink:
    """Takes OTLP over HTTP as fast as it comes, without looking at it. It runs where the load generator does."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def environment(self) -> dict[str, str]:
        """For a server whose spans are to come here, all of them."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}", "OTEL_TRACES_SAMPLER": "always_on"}

    def close(self) -> None:
        """Nobody is let in any more."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = bytearray(1 << 20)
        with connection:
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    rest += piece
                head, _, rest = rest.partition(b"\r\n\r\n")
                found = LENGTH.search(head + b"\r\n")
                left = int(found[1]) if found else 0
                taken, rest = rest[:left], rest[left:]
                left -= len(taken)
                while left > 0:
                    count = connection.recv_into(buffer, min(left, len(buffer)))
                    if not count:
                        return
                    left -= count
                connection.sendall(ANSWER)
