"""The worker type asgi: clients that leave, that take their time, and that come in numbers."""

import re
import socket

import pytest
from podtest import http, processes
from podtest.server import settle
from podtest.waiting import wait_until

ASGI = ("probe_asgi:app", "-k", "asgi")
MIB = 1 << 20

both_loops = pytest.mark.parametrize(
    "loop", [("--asgi-loop", "uvloop"), ("--asgi-loop", "asyncio")], ids=["uvloop", "asyncio"]
)


def connections(server) -> int:
    return server.admin.workers()[0]["connections"]


def in_flight(server) -> int:
    return server.admin.workers()[0]["inFlight"]


# ---- clients that leave ----


@both_loops
def test_receive_tells_that_the_client_has_left(serve, gate, loop):
    server = serve(*ASGI, *loop, environment=gate.environment)
    client = server.connect()
    client.send(http.head("GET", "/wait-for-disconnect"))
    gate.wait(1, "waits")
    client.close()
    server.out.wait_for(r"told: \{'type': 'http.disconnect'\}")
    # Whoever sends is told, too: by an OSError, which frameworks know.
    server.out.wait_for("send: (BrokenPipeError|OSError)")
    wait_until(lambda: (connections(server), in_flight(server)) == (0, 0), "the end of the connection")
    assert "Traceback" not in server.err.text
    assert server.get("/").status == 200


@both_loops
def test_a_reset_is_told_like_a_farewell(serve, gate, loop):
    server = serve(*ASGI, *loop, environment=gate.environment)
    client = server.connect()
    client.send(http.head("GET", "/wait-for-disconnect"))
    gate.wait(1, "waits")
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    server.out.wait_for(r"told: \{'type': 'http.disconnect'\}")
    server.out.wait_for("send: (BrokenPipeError|OSError)")
    assert "Traceback" not in server.err.text


@pytest.mark.parity
@both_loops
@pytest.mark.parametrize("grace", ["0", "1"])
def test_a_request_whose_client_has_left_is_cancelled_after_the_grace_period(serve, gate, loop, grace):
    server = serve(*ASGI, *loop, "--asgi-disconnect-grace-period", grace, environment=gate.environment)
    client = server.connect()
    client.send(http.head("GET", "/ignores-disconnect"))
    gate.wait(1, "runs")
    client.close()
    server.out.wait_for("cancelled after")
    assert server.get("/").status == 200
    if server.program == "podicorn":
        wait_until(lambda: in_flight(server) == 0, "the end of the request")
        assert "Traceback" not in server.err.text


def test_a_request_that_ends_within_the_grace_period_is_not_cancelled(serve, gate):
    server = serve(*ASGI, "--asgi-disconnect-grace-period", "60", environment=gate.environment)
    client = server.connect()
    client.send(http.head("GET", "/hold/short"))
    gate.wait(1, "short")
    client.close()
    settle(0.5)
    gate.open()
    wait_until(lambda: in_flight(server) == 0, "the end of the request")
    assert "Traceback" not in server.err.text


def test_what_goes_on_behind_a_response_is_not_cancelled_with_the_client(serve, gate):
    server = serve(*ASGI, "--asgi-disconnect-grace-period", "0", environment=gate.environment)
    server.get("/background/kept")
    gate.wait(1, "kept")
    settle(0.5)
    gate.open()
    server.out.wait_for("background: done")


def test_a_client_that_has_finished_sending_gets_its_answer(serve, gate):
    """It looks as if it had left, until something is sent: it is told so, and answered all the same."""
    server = serve(*ASGI, "--asgi-disconnect-grace-period", "60", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/half"))
        client.socket.shutdown(socket.SHUT_WR)
        gate.wait(1, "half")
        settle(0.3)
        gate.open()
        assert client.read_response().body == b"released\n"
        assert client.finish() is http.End.FIN


def test_a_client_that_leaves_in_its_body_is_told(serve):
    server = serve(*ASGI, "--body-buffer", "1k", "--access-logfile", "-")
    with server.connect() as client:
        client.send(http.head("POST", "/digest", {"Content-Length": "100000"}) + b"x" * 50_000)
        wait_until(lambda: in_flight(server) == 1, "the request")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read_to_end() == b""
    wait_until(lambda: in_flight(server) == 0, "the end of the request")
    assert "Traceback" not in server.err.text
    assert server.get("/").status == 200


def test_a_stream_ends_with_its_client(serve):
    server = serve(*ASGI)
    for _ in range(5):
        with server.connect() as client:
            client.send(http.head("GET", "/subscribe"))
            client.read_head()
            client._until(b"data: 3\n\n", "the events")
    wait_until(lambda: (connections(server), in_flight(server)) == (0, 0), "the end of the streams")
    assert "Traceback" not in server.err.text


def test_the_log_has_a_line_for_a_response_that_was_cut(serve):
    server = serve(*ASGI, "--access-logfile", "-")
    with server.connect() as client:
        client.send(http.head("GET", "/subscribe"))
        client.read_head()
    server.out.wait_for('"GET /subscribe HTTP/1.1" 200')


# ---- clients that are slow to take ----


@both_loops
def test_an_app_waits_for_the_client_to_take(serve, loop):
    """`send` comes back when the client has taken: the app cannot fill the memory."""
    server = serve(*ASGI, *loop)
    (pid,) = server.admin.pids()
    with http.Connection(server.address) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(http.head("GET", "/flood?size=100000&count=yes"))
        client.read_head()

        def stuck() -> bool:
            before = server.out.text
            settle(0.5)
            return server.out.text == before

        wait_until(stuck, "the app being held")
        sent = int(re.findall(r"flood: (\d+)$", server.out.text, re.MULTILINE)[-1])
        assert sent < 32 * MIB
        # It goes on as the client takes.
        taken = 0
        while taken < 64 * MIB:
            taken += len(client.socket.recv(MIB))
        assert server.get("/").status == 200
        assert int(processes.status_field(pid, "VmHWM").split()[0]) < 300 * 1024
    server.out.wait_for(r"flood: (BrokenPipeError|OSError|ConnectionResetError) after")
    assert "Traceback" not in server.err.text


def test_small_pieces_are_held_back_too(serve):
    server = serve(*ASGI)
    with http.Connection(server.address) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(http.head("GET", "/flood?size=100&count=no"))
        client.read_head()
        settle(2)
        assert server.get("/").status == 200
    sent = int(server.out.wait_for(r"flood: \w+ after (\d+)").group(1))
    assert sent < 32 * MIB


def test_a_slow_download_holds_up_nobody(serve, tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(512 * MIB)
    server = serve(*ASGI)
    (pid,) = server.admin.pids()
    server.get("/")
    before = processes.resident(pid)
    slow = [server.connect() for _ in range(8)]
    for client in slow:
        client.send(http.head("GET", f"/path?path={path}"))
        assert client.read_head().header("Content-Length") == str(512 * MIB)
    for _ in range(20):
        assert server.get("/").status == 200
    assert processes.resident(pid) - before < 16 * 1024
    for client in slow:
        client.close()


# ---- time limits ----


@both_loops
def test_a_blocked_loop_gets_504_and_its_worker_replaced(serve, gate, loop):
    server = serve(*ASGI, *loop, "--request-timeout", "1", environment=gate.environment)
    (pid,) = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/block/stuck"))
        gate.wait(1, "stuck")
        assert client.read_response().status == 504
        wait_until(lambda: server.admin.pids() and pid not in server.admin.pids(), "another worker")
        assert server.get("/").status == 200
        gate.open()


@both_loops
def test_a_request_that_waits_too_long_gets_504_and_is_cancelled(serve, gate, loop):
    """The loop is alive, so the worker stays."""
    server = serve(
        *ASGI, *loop, "--request-timeout", "1", "--asgi-disconnect-grace-period", "0", environment=gate.environment
    )
    (pid,) = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/ignores-disconnect"))
        gate.wait(1, "runs")
        assert client.read_response().status == 504
        assert client.finish() is http.End.FIN
    server.out.wait_for("cancelled after")
    server.err.wait_for("Request timeout in worker")
    settle(2)
    assert server.admin.pids() == [pid]
    assert "Traceback" not in server.err.text


@both_loops
def test_idle_loops_keep_their_deadlines(serve, loop):
    """Nothing but the deadline itself wakes the worker."""
    server = serve(*ASGI, *loop, "--head-timeout", "1", "--keep-alive", "1", "--stall-timeout", "1")
    with server.connect() as half, server.connect() as kept, server.connect() as body:
        half.send(b"GET / HT")
        kept.send(http.head("GET", "/"))
        kept.read_response()
        body.send(http.head("POST", "/echo", {"Content-Length": "10"}) + b"x")
        assert half.read_response().status == 408
        assert kept.finish() is http.End.FIN
        assert body.read_response().status == 408


def test_a_streamed_body_of_a_slow_app_has_no_deadline(serve, gate):
    """The stall is the app's own: the client would send if it were let."""
    server = serve(*ASGI, "--body-buffer", "1k", "--stall-timeout", "1", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("POST", "/slow-reader/slow", {"Content-Length": "50000"}) + b"x" * 40_000)
        gate.wait(1, "slow")
        settle(3)
        client.send(b"x" * 10_000)
        gate.open()
        assert client.read_response().json()["length"] == 50_000


# ---- many ----


def test_thousands_of_waiting_requests_are_cheap(serve, open_files):
    """Long polling: each has a task, and none has a read buffer of its own."""
    open_files(5000)
    server = serve(*ASGI, "--worker-connections", "20000")
    (pid,) = server.admin.pids()
    server.get("/")
    before = processes.resident(pid)
    clients = []
    try:
        for _ in range(3000):
            client = server.connect()
            client.send(http.head("GET", "/wait-for-disconnect"))
            clients.append(client)
        wait_until(lambda: in_flight(server) == 3000, "all requests")
        assert server.get("/").status == 200
        grown = processes.resident(pid) - before
        assert grown < 60 * 1024, f"{grown} KiB"
    finally:
        for client in clients:
            client.close()
    wait_until(lambda: in_flight(server) == 0, "the end of all requests")
