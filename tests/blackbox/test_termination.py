"""The end of the server: nobody who has got in is lost, nobody new gets in, and all is over in time.

``make drain`` does the first test many times and prints a table.
"""

import os
import signal
import socket

import pytest
from podtest import crowd, http
from podtest.gate import Gate
from podtest.server import settle
from podtest.types import every_type, keeping_types, params
from podtest.waiting import wait_until


@pytest.fixture(scope="session")
def crowd_program(tmp_path_factory):
    return crowd.build(tmp_path_factory.mktemp("crowd"))


def draining(server) -> None:
    """TERM, and the server has begun with it."""
    server.send(signal.SIGTERM)
    wait_until(lambda: server.admin.status("/readyz") == 503, "readyz 503")


def unreachable(server) -> bool:
    """Whether a connection is neither made nor refused: what the client's kernel has asked is not answered."""
    with socket.socket() as client:
        client.settimeout(0.3)
        try:
            client.connect(server.address)
        except TimeoutError:
            return True
        except ConnectionRefusedError:
            return False
        return False


@pytest.mark.parametrize("name", crowd.OURS)
def test_a_crowd_loses_nothing(crowd_program, name):
    """200 clients that keep their connections and 200 that make one for each request, while TERM comes."""
    total = crowd.Report()
    for chunked in (False, True):
        total.add(crowd.terminate(crowd_program, crowd.LINES[name], chunked=chunked))
    print(total)
    assert total.errors == {}, total.details
    assert total.early == 0, "a connection was refused although later ones were accepted"
    assert total.refused > 0, "nobody saw the end"
    assert total.after_term > 0, "TERM came when nothing was going on"
    assert total.rare(), f"{total.retries} requests had to be sent once more"


@pytest.mark.parametrize("kind", params("sync", "gthread-4", "asgi"))
def test_a_crowd_on_a_unix_socket_loses_nothing(serve, crowd_program, tmp_path, kind):
    path = str(tmp_path / "s")
    server = serve("--workers", "2", "--bind", f"unix:{path}", *kind, "bodies:app", bind=False)
    server.admin.wait_workers(2)
    report = crowd.gather(crowd_program, path, process=server.pid, warm=2000)
    print(report)
    assert server.wait_exit() == 0
    assert report.errors == {}, report.details
    assert report.early == 0
    assert report.after_term > 0
    assert report.rare()
    assert not os.path.exists(path)


def test_a_crowd_that_comes_during_the_drain_delay_is_served(serve, crowd_program):
    server = serve("--workers", "2", "--drain-delay", "2", "-k", "gthread", "--threads", "4", "bodies:app")
    report = crowd.gather(crowd_program, f"127.0.0.1:{server.port}", process=server.pid, warm=500)
    assert server.wait_exit() == 0
    assert report.errors == {}, report.details
    assert report.early == 0
    assert report.after_term > 500, "they were served on"


# ---- the order of it ----


@every_type
def test_the_drain_delay_is_before_all_else(serve, gate, kind):
    """/readyz says it at once; connections are made, kept and served until the delay is over."""
    server = serve("probe:app", "--drain-delay", "250", "--graceful-timeout", "600", *kind)
    with server.connect() as before:
        before.send(http.head("GET", "/"))
        assert before.read_response().status == 200
        draining(server)
        with server.connect() as client:
            client.send(http.head("GET", "/"))
            kept = client.read_response().header("Connection") != "close"
        assert kept == (kind != ()), "as long as it is in service it behaves as ever"
        assert server.get("/").status == 200
    assert server.stop(signal.SIGINT) == 0


def test_nobody_new_gets_in_while_the_last_are_served(serve, gate):
    """On sync, which has one request and a queue: a SYN is not answered, so the client tries again elsewhere."""
    server = serve("probe:app", environment=gate.environment)
    with server.connect() as running, server.connect() as waiting:
        running.send(http.head("GET", "/hold/running"))
        gate.wait(1, "running")
        waiting.send(http.head("GET", "/hold/waiting"))
        draining(server)
        wait_until(lambda: unreachable(server), "nobody new")
        gate.open()
        assert running.read_response().body == b"released\n"
        assert waiting.read_response().body == b"released\n"
        assert [running.finish(), waiting.finish()] == [http.End.FIN] * 2
    assert server.wait_exit() == 0


@pytest.mark.parametrize("kind", params("gthread-4", "gevent", "eventlet", "asgi"))
def test_the_socket_is_shut_down_while_requests_run(serve, gate, kind):
    """With nobody in the queue it refuses: clients learn at once that there is no server."""
    server = serve("probe:app", *kind, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/running"))
        gate.wait(1, "running")
        draining(server)

        def refused() -> bool:
            try:
                server.connect().close()
            except ConnectionRefusedError:
                return True
            return False

        wait_until(refused, "refused connections")
        assert server.running()
        gate.open()
        answer = client.read_response()
        assert answer.body == b"released\n"
        assert answer.header("Connection") == "close"
        assert client.finish() is http.End.FIN
    assert server.wait_exit() == 0


@keeping_types
def test_a_kept_connection_may_carry_one_more_request(serve, gate, kind):
    """One that is idle when TERM comes ends by FIN a little later; a request that is faster is answered."""
    server = serve("probe:app", *kind, environment=gate.environment)
    with server.connect() as idle, server.connect() as late, server.connect() as holder:
        for client in (idle, late):
            client.send(http.head("GET", "/"))
            assert client.read_response().header("Connection") != "close"
        # The half that is on its way when TERM comes is a request, however slow.
        late.send(http.head("GET", "/")[:-2])
        holder.send(http.head("GET", "/hold/running"))
        gate.wait(1, "running")
        server.send(signal.SIGTERM)
        server.err.wait_for("Shutting down: Master")
        gate.open()
        assert holder.read_response().body == b"released\n"
        late.send(b"\r\n")
        answer = late.read_response()
        assert (answer.status, answer.header("Connection")) == (200, "close")
        assert late.finish() is http.End.FIN
        assert idle.read_to_end() == b""
        assert idle.end is http.End.FIN
    assert server.wait_exit() == 0


def test_a_socket_that_others_have_stays_open(serve, gate):
    """fd://: who has passed it keeps it, for the next server."""
    with socket.create_server(("127.0.0.1", 0)) as ours:
        number = ours.fileno()
        server = serve("hello:app", "--bind", f"fd://{number}", bind=False, pass_fds=[number])
        address = ours.getsockname()
        assert http.request(address).status == 200
        assert server.stop() == 0
        with http.Connection(address) as waiting:
            waiting.send(http.head("GET", "/"))
            successor = serve("hello:app", "--bind", f"fd://{number}", bind=False, pass_fds=[number])
            assert waiting.read_response().status == 200
        assert successor.stop() == 0


def test_the_file_of_a_unix_socket_goes_first(serve, gate, tmp_path):
    path = str(tmp_path / "s")
    server = serve("probe:app", "--bind", f"unix:{path}", bind=False, environment=gate.environment)
    with http.Connection(path) as running, http.Connection(path) as waiting:
        running.send(http.head("GET", "/hold/running"))
        gate.wait(1, "running")
        waiting.send(http.head("GET", "/hold/waiting"))
        draining(server)
        wait_until(lambda: not os.path.exists(path), "the file's end")
        # What a successor puts there stays.
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(path)
            gate.open()
            assert running.read_response().body == b"released\n"
            assert waiting.read_response().body == b"released\n"
            assert server.wait_exit() == 0
            assert os.path.exists(path)


# ---- the end in time ----


@pytest.mark.parametrize("kind", params("sync", "gthread-1", "gthread-4", "asgi"))
def test_who_cannot_be_answered_in_time_is_told_so(serve, gate, kind):
    """The app does not come back: those who wait get 503, by another thread than the app's."""
    server = serve("probe:app", "--graceful-timeout", "4", *kind, environment=gate.environment)
    stuck = 4 if kind[-1:] == ("4",) else 1
    running = [server.connect() for _ in range(stuck)]
    for client in running:
        client.send(http.head("GET", "/block/for-ever"))
    gate.wait(stuck, "for-ever")
    waiting = [server.connect() for _ in range(3)]
    for client in waiting:
        client.send(http.head("GET", "/"))
    server.send(signal.SIGTERM)
    for client in waiting:
        answer = client.read_response()
        assert (answer.status, answer.header("Connection")) == (503, "close")
        assert client.finish() is http.End.FIN
    for client in running:
        client.read_to_end()
        assert client.end is http.End.FIN
    assert server.wait_exit() == 0
    assert not server.family()


@every_type
def test_a_client_that_has_just_connected_is_borne_with(serve, kind):
    """It has three seconds to ask. Who has had an answer on its connection has one: that client tries again."""
    server = serve("probe:app", *kind)
    with server.connect() as client:
        wait_until(lambda: server.admin.workers()[0]["connections"] == 1, "the connection")
        server.send(signal.SIGTERM)
        settle(1.5)
        client.send(http.head("GET", "/"))
        assert client.read_response().status == 200
    assert server.wait_exit() == 0


@pytest.mark.parity
@every_type
def test_a_second_term_changes_nothing(serve, gate, kind):
    server = serve("probe:app", *kind, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/running", {"Connection": "close"}))
        gate.wait(1, "running")
        server.send(signal.SIGTERM)
        settle(0.5)
        server.send(signal.SIGTERM)
        settle(0.5)
        gate.open()
        assert client.read_response().body == b"released\n"
    assert server.wait_exit() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("during", ["the delay", "the emptying", "the rest"])
def test_int_and_quit_end_a_shutdown_at_once(serve, gate, number, during):
    delay = ("--drain-delay", "250") if during == "the delay" else ()
    server = serve("probe:app", "--graceful-timeout", "600", *delay, environment=gate.environment)
    with server.connect() as running, server.connect() as waiting:
        running.send(http.head("GET", "/hold/for-ever"))
        gate.wait(1, "for-ever")
        if during == "the emptying":
            waiting.send(http.head("GET", "/"))
        draining(server)
        if during == "the rest":
            waiting.close()
            server.err.wait_for("Shutting down: Master")
        assert server.stop(number) == 0
    assert not server.family()


def test_a_delay_that_leaves_no_time_is_cut(serve):
    server = serve("hello:app", "--drain-delay", "600", "--graceful-timeout", "4")
    draining(server)
    server.err.wait_for("drain_delay is cut to 2.0 s")
    assert server.wait_exit() == 0


def test_without_a_worker_there_is_nothing_to_wait_for(serve, gate: Gate):
    """TERM while the first worker boots: nobody could serve those who have connected."""
    server = serve("faults.import_held:application", "--drain-delay", "250", ready=False, environment=gate.environment)
    gate.wait(1, "import")
    assert server.stop() == 0
