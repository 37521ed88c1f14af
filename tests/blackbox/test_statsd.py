"""StatsD, with the names and forms of Gunicorn's datagrams."""

import socket
from collections import Counter

import pytest
from podtest.waiting import wait_until


class Receiver:
    """A StatsD server that remembers the lines it gets."""

    def __init__(self, receiver: socket.socket) -> None:
        self.socket = receiver
        self.socket.settimeout(0.05)
        self.lines: list[str] = []

    def read(self) -> list[str]:
        """All that has come so far."""
        while True:
            try:
                self.lines += self.socket.recv(65536).decode().splitlines()
            except TimeoutError:
                return self.lines

    def sums(self) -> Counter:
        """What the counters come to, by name, as a server works it out."""
        sums = Counter()
        for line in self.read():
            name, _, rest = line.partition(":")
            value, kind, *more = rest.split("|")
            rate = next((float(field[1:]) for field in more if field.startswith("@")), 1.0)
            if kind in ("c", "ms"):
                sums[name] += (1 if kind == "ms" else int(value)) / rate
        return sums


@pytest.fixture
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        yield Receiver(receiver)


def address(receiver: Receiver) -> str:
    return "127.0.0.1:" + str(receiver.socket.getsockname()[1])


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(("hello:app",), id="sync", marks=pytest.mark.parity),
        # Gunicorn's asgi worker counts none.
        pytest.param(("-k", "asgi", "probe_asgi:app"), id="asgi"),
        pytest.param(("-k", "gthread", "--threads", "2", "hello:app"), id="gthread", marks=pytest.mark.parity),
    ],
)
def test_every_request(serve, udp, line):
    server = serve("--statsd-host", address(udp), "--workers", "2", *line)
    wait_until(lambda: len(server.worker_pids()) == 2, "two workers")
    for _ in range(30):
        assert server.get("/").status == 200
    wait_until(lambda: udp.sums()["gunicorn.requests"] == 30, lambda: str(udp.read()))
    wait_until(lambda: udp.sums()["gunicorn.request.status.200"] == 30, lambda: str(udp.read()))
    assert udp.sums()["gunicorn.request.duration"] == 30
    assert "gunicorn.workers:2|g" in udp.read()
    assert any(line.startswith("gunicorn.requests:") and line.endswith("|c|@1.0") for line in udp.read())


@pytest.mark.parity
def test_prefix_tags_and_backlog(serve, udp):
    server = serve(
        "--statsd-host", address(udp), "--statsd-prefix", "shop", "--dogstatsd-tags", "env:test,zone:a",
        "--enable-backlog-metric", "hello:app",
    )  # fmt: skip
    server.get("/")
    wait_until(
        lambda: any(line.startswith("shop.gunicorn.backlog:0|h") for line in udp.read()), lambda: str(udp.read())
    )
    wait_until(lambda: any("gunicorn.requests" in line for line in udp.read()), lambda: str(udp.read()))
    assert all(line.startswith("shop.gunicorn.") and line.endswith("|#env:test,zone:a") for line in udp.read())


def test_records_of_the_log(serve, udp):
    server = serve("--statsd-host", address(udp), "probe:app")
    server.get("/raise")
    wait_until(lambda: udp.sums()["gunicorn.log.exception"] >= 1, lambda: str(udp.read()))
    assert server.admin.metrics().value("podicorn_log_records_total", level="exception") >= 1


def test_over_a_unix_socket_that_comes_later(serve, tmp_path):
    path = str(tmp_path / "statsd.sock")
    server = serve("--statsd-host", f"unix://{path}", "hello:app")
    server.get("/")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        unix = Receiver(receiver)
        for _ in range(5):
            server.get("/")
        wait_until(lambda: unix.sums()["gunicorn.requests"] >= 5, lambda: str(unix.read()))


def test_nobody_listens(serve):
    server = serve("--statsd-host", "127.0.0.1:9", "hello:app")
    for _ in range(20):
        assert server.get("/").status == 200
    assert server.admin.ready()
    assert "statsd" not in server.err.text.lower()


def test_no_address(serve):
    server = serve("--statsd-host", "nonsense", "hello:app")
    assert server.get("/").status == 200
    server.err.wait_for('statsd_host: "nonsense" is neither HOST:PORT nor unix:PATH; nothing is sent')
