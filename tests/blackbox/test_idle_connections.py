"""Ten thousand clients that keep their connections and say nothing, on one worker that goes on serving."""

import resource

import pytest
from podtest import http, processes
from podtest.types import params

CLIENTS = 10_000
#: MiB for all of them: an idle connection is a slot, a timer and small buffers, far below a tenth of that.
MOST = 100


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard > CLIENTS + 1000, f"no more than {hard} open files: raise the limit"
    resource.setrlimit(resource.RLIMIT_NOFILE, (CLIENTS + 1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident(pid: int) -> int:
    """KiB."""
    return int((processes.status_field(pid, "VmRSS") or "0 kB").split()[0])


def exchange(client: http.Connection) -> http.Response:
    """One request on a connection that is kept."""
    client.send(http.head("GET", "/", {"Host": "x"}))
    return client.read_response()


@pytest.mark.parametrize("kind", params("asgi", "gevent"))
def test_one_worker_keeps_ten_thousand_and_serves_others(serve, many_descriptors, kind):
    server = serve("probe:app", *kind, "--worker-connections", str(CLIENTS + 500), "--keep-alive", "600")
    (pid,) = server.admin.pids()
    for _ in range(100):
        server.get("/")
    before = resident(pid)
    idle = []
    try:
        for number in range(CLIENTS):
            client = server.connect()
            idle.append(client)
            assert exchange(client).status == 200
            if number % 1000 == 0:
                assert server.post("/echo", b"ordinary").body == b"ordinary"
                assert server.admin.status("/readyz") == 200
        assert server.admin.workers()[0]["connections"] >= CLIENTS
        assert resident(pid) - before < MOST * 1024
        for _ in range(100):
            assert server.get("/").status == 200
        # None of them was closed to make room.
        for client in idle[:: CLIENTS // 100]:
            assert exchange(client).status == 200
    finally:
        for client in idle:
            client.close()
    assert server.admin.pids() == [pid]
