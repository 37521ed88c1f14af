"""Thousands of clients that never finish what they begin, with the default settings."""

import resource

import pytest
from podtest import http, processes
from podtest.types import params
from podtest.waiting import wait_until

CLIENTS = 5000


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard > CLIENTS + 1000, f"no more than {hard} open files: raise the limit"
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, CLIENTS * 2), hard))
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
