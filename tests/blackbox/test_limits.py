"""Limits of what a client may send and hold, on every worker type."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from podtest import http, processes
from podtest.types import every_type, keeping_types
from podtest.waiting import wait_until

MIB = 1 << 20


@pytest.mark.parity
@every_type
@pytest.mark.parametrize(
    ("options", "raw", "status"),
    [
        (("--limit-request-line", "100"), b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (("--limit-request-fields", "3"), b"GET / HTTP/1.1\r\nHost: x\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n", 431),
        (("--limit-request-field_size", "50"), b"GET / HTTP/1.1\r\nHost: x\r\na: " + b"1" * 60 + b"\r\n\r\n", 431),
    ],
)
def test_heads(serve, kind, options, raw, status):
    server = serve("probe:app", *kind, *options)
    with server.connect() as client:
        client.send(raw)
        assert client.read_response().status == status
        assert client.finish() is http.End.FIN
    assert server.get("/").status == 200


@every_type
def test_a_body_that_is_announced_too_large_gets_413_and_no_app(serve, gate, kind):
    server = serve("probe:app", *kind, "--limit-request-body", "10k", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("POST", "/hold/never", {"Content-Length": "10241"}))
        assert client.read_response().status == 413
        assert client.finish() is http.End.FIN
    assert server.post("/echo", b"x" * 10240).status == 200
    assert gate.seen == []


@every_type
@pytest.mark.parametrize("buffer", ["1m", "2k"])
def test_a_body_in_chunks_that_grows_too_large_gets_413(serve, kind, buffer):
    """Found by the engine before the app is called, and while the app reads."""
    server = serve("probe:app", *kind, "--limit-request-body", "10k", "--body-buffer", buffer)
    with server.connect() as client:
        client.send(http.head("POST", "/echo", {"Transfer-Encoding": "chunked"}))
        client.send(b"1000\r\n" + b"x" * 4096 + b"\r\n" + b"2000\r\n" + b"x" * 8192 + b"\r\n")
        assert client.read_response().status == 413
        assert client.finish() is http.End.FIN
    assert server.get("/").status == 200
    assert "Traceback" not in server.err.text


@every_type
def test_a_full_worker_gives_up_who_has_been_sending_for_longest(serve, kind):
    server = serve("probe:app", *kind, "--worker-connections", "10", "--head-timeout", "60")
    slow = [server.connect() for _ in range(10)]
    for client in slow:
        client.send(b"GET / HT")
    wait_until(lambda: server.admin.workers()[0]["connections"] == 10, "ten connections")
    for _ in range(5):
        assert server.get("/").status == 200
    assert slow[0].read_response().status == 408
    for client in slow:
        client.close()


@keeping_types
def test_a_full_worker_closes_idle_connections_first(serve, kind):
    server = serve("probe:app", *kind, "--worker-connections", "5", "--keep-alive", "60")
    half = server.connect()
    half.send(b"GET / HT")
    wait_until(lambda: server.admin.workers()[0]["connections"] == 1, "the first connection")
    kept = [server.connect() for _ in range(4)]
    for client in kept:
        client.send(http.head("GET", "/"))
        assert client.read_response().status == 200
    assert server.get("/").status == 200
    assert kept[0].finish() is http.End.FIN
    half.send(b"TP/1.1\r\nHost: x\r\n\r\n")
    assert half.read_response().status == 200
    for client in kept:
        client.close()


def unread(client: http.Connection) -> int:
    """Bytes on their way to the server, in the kernel's buffers at both ends."""
    port = f":{client.socket.getsockname()[1]:04X}"
    waiting = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        to_send, to_read = (int(size, 16) for size in queues.split(":"))
        waiting += to_send if local.endswith(port) else to_read if remote.endswith(port) else 0
    return waiting


@every_type
def test_buffered_bodies_share_a_budget(serve, kind):
    """Uploads beyond the budget wait in the kernel and are served in their turn; small requests pass by."""
    server = serve("probe:app", *kind, "--body-budget", "512k")
    (pid,) = server.admin.pids()
    server.post("/digest", b"x" * MIB)
    before = processes.resident(pid)
    with server.connect() as holder, ThreadPoolExecutor(40) as pool:
        # All but the last byte, so that it cannot go to the app; one may be above the budget, for none else can end.
        holder.send(http.head("POST", "/digest", {"Content-Length": str(MIB)}) + b"x" * (MIB - 1))
        # Were another upload the one that is read on, it would be answered.
        wait_until(lambda: unread(holder) == 0, "all of it in the worker")
        uploads = [pool.submit(server.post, "/digest", b"y" * MIB) for _ in range(40)]
        wait_until(lambda: server.admin.workers()[0]["connections"] == 41, "uploads under way")
        for _ in range(20):
            assert server.get("/").status == 200
            assert server.post("/echo", b"small" * 100).status == 200
        assert not any(upload.done() for upload in uploads)
        assert processes.resident(pid) - before < 20 * 1024, "of the 41 MiB under way"
        holder.send(b"x")
        assert holder.read_response().json()["length"] == MIB
        assert [upload.result().json()["length"] for upload in uploads] == [MIB] * 40


@every_type
@pytest.mark.parametrize(
    ("field", "begun"),
    [
        ({"Content-Length": "10"}, b""),
        ({"Content-Length": "10"}, b"012345678"),
        ({"Transfer-Encoding": "chunked"}, b"5\r\nhel"),
        ({"Transfer-Encoding": "chunked"}, b"0\r\n"),
    ],
    ids=["none", "short", "chunk", "trailers"],
)
def test_a_body_that_ends_early_is_refused(serve, kind, field, begun):
    """The app must not take it for the whole, and a client that still listens is told."""
    server = serve("probe:app", *kind)
    with server.connect() as client:
        client.send(http.head("POST", "/echo", field) + begun)
        client.socket.shutdown(socket.SHUT_WR)
        response = client.read_response()
        assert (response.status, response.header("Connection")) == (400, "close")
        assert client.finish() is http.End.FIN
    server.stop()
    assert "Invalid request" not in server.err.text  # as a rule the client has just left
