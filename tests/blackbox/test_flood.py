"""Thousands of clients at a time: those that never finish what they begin, and those that say nothing more."""

import pytest
from podtest import http, processes
from podtest.types import params
from podtest.waiting import wait_until

CLIENTS = 5000
IDLE = 10_000
#: MiB for all that are idle: each is a slot, a timer and small buffers, far below a tenth of that.
MOST = 100


@pytest.mark.parametrize(
    "kind", [*params("sync", "gevent", "asgi"), pytest.param(("-k", "gthread", "--threads", "2"), id="gthread-2")]
)
@pytest.mark.parametrize(
    "beginning",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-Never: ", id="heads"),
        pytest.param(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 2000, id="bodies"),
    ],
)
def test_ordinary_requests_and_probes_are_served_beside_thousands_that_stall(serve, open_files, kind, beginning):
    open_files(CLIENTS * 2)
    server = serve("probe:app", *kind)
    (pid,) = server.admin.pids()
    server.get("/")
    before = processes.resident(pid)
    stalled = []
    try:
        for number in range(CLIENTS):
            client = server.connect()
            client.send(beginning)
            stalled.append(client)
            if number % 100 == 0:
                assert server.get("/").status == 200
                assert server.admin.status("/livez") == 200
        wait_until(lambda: server.admin.workers()[0]["connections"] >= 900, "a worker full of them")
        for _ in range(100):
            assert server.get("/").status == 200
            assert server.post("/echo", b"ordinary").body == b"ordinary"
            assert server.admin.status("/readyz") == 200
        assert processes.resident(pid) - before < 64 * 1024
        assert server.admin.pids() == [pid]
        assert stalled[0].read_response().status == 408
        assert stalled[0].finish() is http.End.FIN
    finally:
        for client in stalled:
            client.close()


def exchange(client: http.Connection) -> http.Response:
    """One request on a connection that is kept."""
    client.send(http.head("GET", "/pid"))
    return client.read_response()


@pytest.mark.slow
@pytest.mark.parametrize("kind", params("asgi", "gevent"))
def test_one_worker_keeps_ten_thousand_and_serves_others(serve, open_files, kind):
    open_files(IDLE + 1000)
    options = ("--worker-connections", "12000", "--keep-alive", "600", "--head-timeout", "600")
    server = serve("probe:app", *kind, *options)
    (pid,) = server.admin.pids()
    for _ in range(100):
        server.get("/")
    before = processes.resident(pid)
    idle = []
    try:
        for number in range(IDLE):
            client = server.connect()
            idle.append(client)
            assert exchange(client).header("Connection") == "keep-alive"
            if number % 1000 == 0:
                assert server.post("/echo", b"ordinary").body == b"ordinary"
                assert int(server.get("/pid").text) == pid
                assert server.admin.status("/readyz") == 200
        wait_until(lambda: server.admin.workers()[0]["connections"] == IDLE, "just them")
        assert processes.resident(pid) - before < MOST * 1024
        for _ in range(100):
            assert server.get("/").status == 200
        # None of them was closed to make room, and they are good for more.
        for client in idle[:: IDLE // 100]:
            assert int(exchange(client).text) == pid
    finally:
        for client in idle:
            client.close()
    assert server.admin.pids() == [pid]
