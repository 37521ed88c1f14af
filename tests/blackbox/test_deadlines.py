"""Deadlines on every worker type: for heads, bodies, responses and the app."""

import os
import socket
import time

import pytest
from podtest import http
from podtest.server import settle
from podtest.types import every_type, keeping_types
from podtest.waiting import wait_until

# ---- heads ----


@every_type
def test_a_head_that_does_not_end_gets_408(serve, kind):
    server = serve("probe:app", *kind, "--head-timeout", "1")
    with server.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Half")
        response = client.read_response()
        assert (response.status, response.header("Connection")) == (408, "close")
        assert client.finish() is http.End.FIN


@every_type
def test_a_head_that_trickles_gets_408(serve, kind):
    """The deadline is for the whole head: a byte now and then does not put it off."""
    server = serve("probe:app", *kind, "--head-timeout", "1.5")
    with server.connect() as client:
        client.socket.settimeout(0.2)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        for _ in range(100):
            client.send(b"a")
            try:
                client.buffer += client.socket.recv(1000)
                break
            except TimeoutError:
                continue
        client.socket.settimeout(http.SILENCE)
        assert client.read_response().status == 408


@every_type
def test_a_silent_connection_is_closed_without_a_word(serve, kind):
    server = serve("probe:app", *kind, "--head-timeout", "1")
    with server.connect() as client:
        assert client.finish() is http.End.FIN


# ---- bodies ----


@every_type
@pytest.mark.parametrize("target", ["/echo", "/unread"])
def test_a_body_that_stalls_gets_408(serve, kind, target):
    server = serve("probe:app", *kind, "--stall-timeout", "1")
    with server.connect() as client:
        client.send(http.head("POST", target, {"Content-Length": "1000"}) + b"half")
        assert client.read_response().status == 408
        assert client.finish() is http.End.FIN
    assert server.get("/").status == 200


@every_type
def test_a_body_below_the_minimum_rate_gets_408(serve, kind):
    server = serve("probe:app", *kind, "--stall-timeout", "1", "--min-body-rate", "1000")
    with server.connect() as client:
        client.socket.settimeout(0.1)
        client.send(http.head("POST", "/echo", {"Content-Length": "1000000"}))
        for _ in range(200):
            client.send(b"x" * 10)
            try:
                client.buffer += client.socket.recv(1000)
                break
            except TimeoutError:
                continue
        client.socket.settimeout(http.SILENCE)
        assert client.read_response().status == 408


@every_type
@pytest.mark.parametrize("buffer", ["1m", "1k"])
def test_a_slow_body_above_the_minimum_rate_is_served(serve, kind, buffer):
    """Read by the engine, and by the app: the whole takes several stall periods."""
    server = serve("probe:app", *kind, "--stall-timeout", "1", "--min-body-rate", "100", "--body-buffer", buffer)
    with server.connect() as client:
        client.send(http.head("POST", "/echo", {"Content-Length": "15000"}))
        for _ in range(15):
            client.send(b"x" * 1000)
            time.sleep(0.2)
        assert len(client.read_response().body) == 15_000


@every_type
def test_a_streamed_body_that_stalls_gets_408_and_frees_the_app(serve, kind):
    server = serve("probe:app", *kind, "--stall-timeout", "1", "--body-buffer", "1k")
    (pid,) = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("POST", "/echo", {"Content-Length": "100000"}) + b"x" * 5000)
        assert client.read_response().status == 408
        assert client.finish() is http.End.FIN
    assert int(server.get("/pid").text) == pid
    assert "Traceback" not in server.err.text


# ---- responses ----


def unread(server, target: str) -> http.Connection:
    """A client that asks and then takes next to nothing."""
    client = http.Connection(server.address)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    client.send(http.head("GET", target))
    return client


@every_type
@pytest.mark.parametrize("target", ["/bytes/50000000", "/stream?n=1000&size=50000"])
def test_a_reader_that_stalls_is_given_up(serve, kind, target):
    server = serve("probe:app", *kind, "--stall-timeout", "1")
    with unread(server, target) as client:
        wait_until(lambda: server.admin.workers()[0]["connections"] == 1, "the connection")
        wait_until(lambda: server.admin.workers()[0]["connections"] == 0, "the end of the connection")
        with pytest.raises(http.ExchangeError):
            client.read_response()
    assert server.get("/").status == 200
    assert "Traceback" not in server.err.text


@every_type
@pytest.mark.parametrize("target", ["/bytes/3000000", "/stream?n=60&size=50000"])
def test_a_reader_that_is_slow_but_steady_gets_everything(serve, kind, target):
    """Several stall periods long, each with some progress."""
    server = serve("probe:app", *kind, "--stall-timeout", "1", "--min-body-rate", "100")
    with unread(server, target) as client:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            client.buffer += client.socket.recv(20_000)
            time.sleep(0.05)
        assert len(client.read_response().body) == 3_000_000


# ---- the app ----


@every_type
def test_an_app_that_takes_too_long_gets_504(serve, kind):
    server = serve("probe:app", *kind, "--request-timeout", "1", "--access-logfile", "-")
    (pid,) = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/sleep/1.5"))
        response = client.read_response()
        assert (response.status, response.header("Connection")) == (504, "close")
        assert client.finish() is http.End.FIN
    # It came back soon enough: nobody is replaced, and the log says what the client got.
    server.out.wait_for('"GET /sleep/1.5 HTTP/1.1" 504')
    assert int(server.get("/pid").text) == pid
    server.err.wait_for("Request timeout in worker")
    if "asgi" not in kind:  # there it waits in the loop
        server.err.wait_for("in sleep")
    assert "GET /sleep/1.5" in server.err.text
    assert "Traceback" not in server.err.text
    metrics = server.admin.metrics()
    assert metrics.value("podicorn_request_timeouts_total") == 1
    assert metrics.value("podicorn_requests_total", code_class="5xx") == 1


@every_type
def test_head_gets_no_page_with_its_504(serve, kind):
    server = serve("probe:app", *kind, "--request-timeout", "1")
    with server.connect() as client:
        client.send(http.head("HEAD", "/sleep/1.5"))
        assert client.read_response("HEAD").status == 504
        assert client.finish() is http.End.FIN


@every_type
def test_a_response_that_has_begun_is_cut_off(serve, gate, kind):
    server = serve("plumbing:application", *kind, "--request-timeout", "1", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/pieces?n=3&size=10&hold=late"))
        gate.wait(1, "late")
        with pytest.raises(http.ExchangeError) as failed:
            client.read_response()
        assert failed.value.got == b"" or b"504" not in failed.value.got
        gate.open()
    assert server.get("/pid").status == 200
    assert "Traceback" not in server.err.text


@every_type
def test_a_worker_that_does_not_come_back_is_replaced(serve, gate, kind):
    server = serve("probe:app", *kind, "--request-timeout", "1", environment=gate.environment)
    (pid,) = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/block/stuck"))
        gate.wait(1, "stuck")
        assert client.read_response().status == 504
        wait_until(lambda: server.admin.pids() and pid not in server.admin.pids(), "another worker")
        assert server.get("/").status == 200
        gate.open()


@keeping_types
def test_fast_requests_are_left_alone(serve, kind):
    server = serve("probe:app", *kind, "--request-timeout", "1", "--keep-alive", "60")
    with server.connect() as client:
        for _ in range(6):
            client.send(http.head("GET", "/sleep/0.4"))
            assert client.read_response().status == 200
            client.send(http.head("GET", "/pid"))
            assert client.read_response().status == 200
    assert "Request timeout" not in server.err.text


def test_a_request_that_waits_for_a_thread_has_the_same_deadline(serve, gate):
    server = serve("probe:app", "--threads", "2", "--request-timeout", "2", environment=gate.environment)
    with server.connect() as waiting, server.connect() as first, server.connect() as second:
        waiting.send(http.head("GET", "/"))
        waiting.read_response()
        for client, name in ((first, "a"), (second, "b")):
            client.send(http.head("GET", f"/hold/{name}"))
        gate.wait(2)
        waiting.send(http.head("GET", "/hold/never"))
        assert waiting.read_response().status == 504
        assert waiting.finish() is http.End.FIN
        gate.open()
    assert "never" not in gate.seen


@every_type
def test_a_client_that_leaves_does_not_hurt(serve, gate, kind):
    server = serve("probe:app", *kind, "--request-timeout", "1", environment=gate.environment)
    client = server.connect()
    client.send(http.head("GET", "/hold/left"))
    gate.wait(1, "left")
    client.close()
    settle(1.5)
    gate.open()
    assert server.get("/").status == 200
    assert os.path.exists(f"/proc/{server.pid}")
