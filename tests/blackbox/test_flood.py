"""Thousands of clients at a time: those that never finish what they begin, and those that say nothing more."""

import resource

import pytest
from podtest import http, processes
from podtest.types import params
from podtest.waiting import wait_until

CLIENTS = 5000
IDLE = 10_000
#: MiB for all that are idle: each is a slot, a timer and small buffers, far below a tenth of that.
MOST = 100


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE + 1000
    assert hard == resource.RLIM_INFINITY or hard >= needed, f"no more than {hard} open files: raise the limit"
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident(pid: int) -> int:
    """KiB."""
    return int((processes.status_field(pid, "VmRSS") or "0 kB").split()[0])


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
def test_ordinary_requests_and_probes_are_served_beside_thousands_that_stall(serve, many_descriptors, kind, beginning):
    server = serve("probe:app", *kind)
    (pid,) = server.admin.pids()
    server.get("/")
    before = resident(pid)
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
        assert resident(pid) - before < 64 * 1024
        assert server.admin.pids() == [pid]
        assert stalled[0].read_response().status == 408
        assert stalled[0].finish() is http.End.FIN
    finally:
        for client in stalled:
            client.close()


def exchange(client: http.Connection) -> http.Response:
    """One request on a connection that is kept."""
    client.send(http.head("GET", "/", {"Host": "x"}))
    return client.read_response()


@pytest.mark.parametrize("kind", params("asgi", "gevent"))
def test_one_worker_keeps_ten_thousand_and_serves_others(serve, many_descriptors, kind):
    server = serve("probe:app", *kind, "--worker-connections", str(IDLE + 500), "--keep-alive", "600")
    (pid,) = server.admin.pids()
    for _ in range(100):
        server.get("/")
    before = resident(pid)
    idle = []
    try:
        for number in range(IDLE):
            client = server.connect()
            idle.append(client)
            assert exchange(client).status == 200
            if number % 1000 == 0:
                assert server.post("/echo", b"ordinary").body == b"ordinary"
                assert server.admin.status("/readyz") == 200
        assert server.admin.workers()[0]["connections"] >= IDLE
        assert resident(pid) - before < MOST * 1024
        for _ in range(100):
            assert server.get("/").status == 200
        # None of them was closed to make room.
        for client in idle[:: IDLE // 100]:
            assert exchange(client).status == 200
    finally:
        for client in idle:
            client.close()
    assert server.admin.pids() == [pid]
