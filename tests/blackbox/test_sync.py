"""The sync worker: one request at a time, closed after the response, and never held by a slow client."""

import os
import socket
from collections import Counter

import pytest
from podtest import http
from podtest.load import Load
from podtest.server import settle
from podtest.waiting import wait_until

MIB = 1 << 20


# ---- one exchange ----


@pytest.mark.parity
def test_the_connection_is_closed_after_the_response(serve):
    server = serve("probe:app")
    response = server.get("/", headers={"Connection": "keep-alive"})
    assert response.header("Connection") == "close"
    assert response.end is http.End.FIN


@pytest.mark.parity
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_both_versions(serve, version):
    response = serve("probe:app").get("/", version=version)
    assert (response.status, response.body) == (200, b"probe\n")
    assert response.end is http.End.FIN


def test_a_second_request_on_the_connection_is_not_answered(serve):
    server = serve("probe:app")
    with server.connect() as client:
        client.send(http.head("GET", "/") + http.head("GET", "/pid"))
        assert client.read_response().body == b"probe\n"
        assert client.finish() is http.End.FIN


def test_an_unread_body_does_not_turn_the_end_into_a_reset(serve):
    """The app ignores 4 MiB that are under way: the client must get the whole response and a FIN."""
    server = serve("probe:app")
    for _ in range(10):
        response = server.post("/unread", b"x" * 4 * MIB)
        assert response.body == b"unread\n"
        assert response.end is http.End.FIN


def test_bytes_after_the_request_do_not_turn_the_end_into_a_reset(serve):
    server = serve("probe:app")
    for _ in range(20):
        with server.connect() as client:
            client.send(http.head("GET", "/bytes/100000") + b"left over" * 1000)
            assert len(client.read_response().body) == 100_000
            assert client.finish() is http.End.FIN


def test_a_client_that_has_said_all_gets_its_answer(serve):
    """A half-closed connection is no lost client."""
    server = serve("probe:app")
    with server.connect() as client:
        client.send(http.head("GET", "/"))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read_response().body == b"probe\n"


def test_clients_that_leave_do_not_hurt_the_worker(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    (pid,) = server.admin.pids()
    for _ in range(5):
        client = server.connect()
        client.send(http.head("GET", "/bytes/50000000"))
        client.socket.recv(10)
        client.close()
    client = server.connect()
    client.send(http.head("GET", "/hold/gone"))
    gate.wait(1, "gone")
    client.close()
    gate.open()
    assert int(server.get("/pid").text) == pid
    assert "Traceback" not in server.err.text


@pytest.mark.parity
def test_large_bodies_both_ways(serve):
    import hashlib

    server = serve("probe:app")
    assert len(server.get(f"/bytes/{32 * MIB}").body) == 32 * MIB
    body = os.urandom(16 * MIB)
    answer = server.post("/digest", body).json()
    assert answer == {"length": len(body), "sha256": hashlib.sha256(body).hexdigest(), "after_end": 0}


@pytest.mark.parity
def test_a_body_in_chunks(serve):
    server = serve("probe:app")
    with server.connect() as client:
        client.send(http.head("POST", "/echo", {"Transfer-Encoding": "chunked"}))
        for piece in (b"hello ", b"in ", b"chunks"):
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        assert client.read_response().body == b"hello in chunks"


@pytest.mark.parity
def test_continue_is_sent_to_who_expects_it(serve):
    server = serve("probe:app")
    with server.connect() as client:
        client.send(http.head("POST", "/echo", {"Expect": "100-continue", "Content-Length": "5"}))
        assert client.read_head().status == 100
        client.send(b"12345")
        assert client.read_response().body == b"12345"


@pytest.mark.parity
@pytest.mark.parametrize(
    ("raw", "statuses"),
    [
        (b"GARBAGE\r\n\r\n", {400}),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", {400, 505}),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", {400}),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", {400}),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", {400}),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n", {400}),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: cow\r\n\r\n", {400, 501}),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {414}),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 9000 + b"\r\n\r\n", {431}),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n", {431}),
    ],
)
def test_what_is_not_http_is_refused_and_closed(serve, raw, statuses):
    server = serve("probe:app")
    with server.connect() as client:
        client.send(raw)
        response = client.read_response()
        assert response.status in statuses, response
        client.finish()
    assert server.get("/").status == 200


def test_a_missing_host_is_refused(serve):
    """RFC 9112 §3.2; Gunicorn 27.0.1 answers it."""
    server = serve("probe:app")
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.read_response().status == 400


# ---- slow clients ----


def test_slow_heads_do_not_hold_the_worker(serve):
    server = serve("probe:app")
    slow = [server.connect() for _ in range(300)]
    for number, client in enumerate(slow):
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "[: 1 + number % 38])
    for _ in range(50):
        assert server.get("/").status == 200
    assert server.admin.status("/readyz") == 200
    for client in slow:
        client.close()


def test_slow_bodies_do_not_hold_the_worker(serve):
    server = serve("probe:app")
    slow = [server.connect() for _ in range(300)]
    for client in slow:
        client.send(http.head("POST", "/echo", {"Content-Length": "1000"}) + b"some")
    for _ in range(50):
        assert server.get("/").status == 200
    for client in slow[:20]:
        client.send(b"x" * 996)
        assert client.read_response().body == b"some" + b"x" * 996
    for client in slow:
        client.close()


def test_silent_connections_do_not_hold_the_worker(serve):
    server = serve("probe:app")
    silent = [server.connect() for _ in range(300)]
    for _ in range(50):
        assert server.get("/").status == 200
    for client in silent[:20]:
        client.send(http.head("GET", "/"))
        assert client.read_response().body == b"probe\n"
    for client in silent:
        client.close()


def test_a_request_that_comes_byte_by_byte_is_answered(serve):
    server = serve("probe:app")
    with server.connect() as client:
        for byte in http.head("POST", "/echo", {"Content-Length": "10"}) + b"0123456789":
            client.send(bytes([byte]))
        assert client.read_response().body == b"0123456789"


def test_a_slow_reader_gets_everything(serve):
    server = serve("probe:app", "--workers", "2")
    with server.connect() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(http.head("GET", f"/bytes/{8 * MIB}"))
        head = client.read_head()
        settle(1)
        for _ in range(20):
            assert server.get("/").status == 200
        assert len(client._read_body("GET", head)) == 8 * MIB
        assert client.finish() is http.End.FIN


# ---- who accepts ----


def test_a_busy_worker_accepts_nothing(serve, gate):
    """A request must not wait behind a long one while another worker is idle."""
    server = serve("probe:app", "--workers", "2", environment=gate.environment)
    server.admin.wait_workers(2)
    with server.connect() as held:
        held.send(http.head("GET", "/hold/long"))
        (visitor,) = gate.wait(1, "long")
        seen = Counter(int(server.get("/pid").text) for _ in range(100))
        assert visitor.pid not in seen
        with Load(server.address, clients=8, limit=400) as load:
            load.join()
        assert load.summary() == {"ok": 400}
        gate.open()
        assert held.read_response().body == b"released\n"


def test_what_waits_is_served_in_the_end(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    clients = [server.connect() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(http.head("GET", f"/hold/{number}"))
    gate.wait(1)
    settle(0.5)
    assert len(gate.seen) == 1, "sync runs one request at a time"
    gate.open()
    assert [client.read_response().body for client in clients] == [b"released\n"] * 20


def test_connections_go_round_evenly(serve):
    """Without rotation the kernel wakes the same worker again and again."""
    server = serve("probe:app", "--workers", "4")
    server.admin.wait_workers(4)
    seen = Counter(int(server.get("/pid").text) for _ in range(400))
    assert len(seen) == 4
    assert min(seen.values()) >= 50, seen


def test_load_goes_round_evenly(serve):
    server = serve("probe:app", "--workers", "4")
    server.admin.wait_workers(4)
    seen: Counter[str] = Counter()
    with Load(
        server.address, clients=8, target=lambda _: "/pid", limit=2000, check=lambda r: seen.update([r.text]) is None
    ) as load:
        load.join()
    assert load.summary() == {"ok": 2000}
    assert len(seen) == 4
    assert min(seen.values()) >= 2000 / 4 / 3, seen


def test_requests_in_flight_are_seen_from_outside(serve, gate):
    server = serve("probe:app", "--workers", "2", environment=gate.environment)
    server.admin.wait_workers(2)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/watched?secret=1"))
        (visitor,) = gate.wait(1, "watched")
        busy = [worker for worker in server.admin.workers() if worker["state"] == "busy"]
        assert [worker["pid"] for worker in busy] == [visitor.pid]
        assert busy[0]["inFlight"] == 1
        assert busy[0]["queued"] == 0, "a request that runs does not wait"
        assert busy[0]["currentRequest"]["method"] == "GET"
        assert busy[0]["currentRequest"]["path"] == "/hold/watched"
        assert server.admin.status("/readyz") == 200
        gate.open()
        client.read_response()
    wait_until(lambda: all(worker["inFlight"] == 0 for worker in server.admin.workers()), "idle workers")


def test_a_fully_busy_pool_is_ready_and_alive(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    clients = [server.connect() for _ in range(4)]
    for number, client in enumerate(clients):
        client.send(http.head("GET", f"/hold/{number}"))
    gate.wait(1)
    for _ in range(20):
        assert server.admin.status("/livez") == 200
        assert server.admin.status("/readyz") == 200
    gate.open()
    for client in clients:
        client.read_response()


def test_waiting_requests_are_seen_from_outside(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    clients = [server.connect()]
    clients[0].send(http.head("GET", "/hold/first"))
    gate.wait(1)
    for number in range(4):  # the worker is busy: these stay in the kernel's queue
        clients.append(server.connect())
        clients[-1].send(http.head("GET", f"/hold/{number}"))

    def waiting() -> int:
        pool = server.admin.pool()
        return sum(w["queued"] for w in pool["workers"]) + sum(s["acceptQueue"]["length"] for s in pool["listeners"])

    wait_until(lambda: waiting() == 4, lambda: f"4 that wait: {server.admin.pool()}")
    gate.open()
    for client in clients:
        client.read_response()
    wait_until(lambda: waiting() == 0, lambda: f"none that wait: {server.admin.pool()}")


# ---- where it listens ----


@pytest.mark.parity
def test_several_binds(serve, tmp_path):
    from podtest.ports import free_port

    second, path = free_port(), str(tmp_path / "s.sock")
    server = serve("probe:app", "--bind", f"127.0.0.1:{second}", "--bind", f"unix:{path}")
    for address in (server.address, ("127.0.0.1", second), path):
        assert http.request(address).body == b"probe\n"
    assert server.stop() == 0
    assert not os.path.exists(path)


@pytest.mark.parity
def test_ipv6(serve):
    from podtest.ports import free_port

    port = free_port()
    serve("probe:app", "--bind", f"[::1]:{port}")
    assert http.request(("::1", port)).body == b"probe\n"


@pytest.mark.parity
def test_a_stale_unix_socket_is_replaced(serve, tmp_path):
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    serve("probe:app", "--bind", f"unix:{path}")
    assert http.request(path).body == b"probe\n"


def test_a_socket_that_was_handed_over(serve):
    """``fd://N``: the descriptor is the parent's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = serve("probe:app", "--bind", f"fd://{listener.fileno()}", bind=False, pass_fds=[listener.fileno()])
        assert http.request(listener.getsockname()).body == b"probe\n"
        assert set(http.request(listener.getsockname(), "/descriptors").json()) <= {"0", "1", "2"}
        assert server.stop() == 0


def test_wildcard_bind_and_backlog(serve):
    from podtest.ports import backlog, free_port

    port = free_port()
    serve("probe:app", "--bind", f"0.0.0.0:{port}", "--backlog", "77")
    assert http.request(("127.0.0.1", port)).status == 200
    assert backlog(port) == 77
