"""The signals that people and scripts know."""

import contextlib
import os
import signal

import pytest
from podtest import http, processes
from podtest.server import settle
from podtest.waiting import wait_until


@pytest.mark.parity
def test_term_finishes_the_running_request(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/running"))
        gate.wait(1, "running")
        server.send(signal.SIGTERM)
        settle(0.5)
        gate.open()
        assert client.read_response().body == b"released\n"
        assert client.finish() is http.End.FIN
    assert server.wait_exit() == 0


def test_term_answers_also_what_is_queued(serve, gate, as_pid1):
    """One sync worker, four requests in flight or queued: Gunicorn resets three of the four connections."""
    server = serve("probe:app", environment=gate.environment, pid1=as_pid1)
    clients = [server.connect() for _ in range(4)]
    for number, client in enumerate(clients):
        client.send(http.head("GET", f"/hold/{number}"))
    gate.wait(1)
    server.send(signal.SIGTERM)
    wait_until(lambda: server.admin.status("/readyz") != 200, "readyz 503")
    gate.open()
    answers = [client.read_response() for client in clients]
    assert [answer.body for answer in answers] == [b"released\n"] * 4
    assert [client.finish() for client in clients] == [http.End.FIN] * 4
    assert server.wait_exit() == 0


def test_term_says_not_ready_at_once_and_livez_goes_on(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/running"))
        gate.wait(1, "running")
        server.send(signal.SIGTERM)
        wait_until(lambda: server.admin.status("/readyz") == 503, "readyz 503")
        assert server.admin.status("/livez") == 200
        assert server.admin.status("/startupz") == 200
        gate.open()
        client.read_response()
    assert server.wait_exit() == 0


@pytest.mark.parity
def test_term_gives_up_after_the_graceful_timeout(serve, gate):
    server = serve("probe:app", "--graceful-timeout", "2", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/for-ever"))
        gate.wait(1, "for-ever")
        assert server.stop() == 0
        assert client.read_to_end() == b""
    assert not server.family()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_do_not_wait(serve, gate, as_pid1, number):
    server = serve("probe:app", "--graceful-timeout", "250", environment=gate.environment, pid1=as_pid1)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/for-ever"))
        gate.wait(1, "for-ever")
        assert server.stop(number) == 0
        assert http.unserved(client)
    assert "Error handling" not in server.err.text, "the app is not to blame"


def test_a_second_signal_hurries(serve, gate):
    server = serve("probe:app", "--graceful-timeout", "250", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/for-ever"))
        gate.wait(1, "for-ever")
        server.send(signal.SIGTERM)
        wait_until(lambda: server.admin.status("/readyz") == 503, "readyz 503")
        assert server.stop(signal.SIGINT) == 0


@pytest.mark.parity
def test_ttin_and_ttou(serve):
    server = serve("probe:app", "--workers", "2")

    def count() -> int:
        return len([c for c in server.children() if not c.zombie and c.pid not in server.fork_servers()])

    wait_until(lambda: count() == 2, "two workers")
    server.send(signal.SIGTTIN)
    wait_until(lambda: count() == 3, "three workers")
    server.send(signal.SIGTTOU)
    wait_until(lambda: count() == 2, "two workers")
    server.send(signal.SIGTTOU)
    wait_until(lambda: count() == 1, "one worker")
    server.send(signal.SIGTTOU)
    settle(2)
    assert count() == 1
    assert server.get().status == 200


def test_every_ttin_that_was_delivered_counts(serve):
    """Sent one by one, each is delivered: the target must follow each."""
    server = serve("hello:app")
    for target in range(2, 12):
        server.send(signal.SIGTTIN)
        wait_until(lambda target=target: server.admin.pool()["scale"]["target"] == target, f"target {target}")
    for target in range(10, 0, -1):
        server.send(signal.SIGTTOU)
        wait_until(lambda target=target: server.admin.pool()["scale"]["target"] == target, f"target {target}")
    server.admin.wait_workers(1)


def test_a_burst_moves_the_target_by_at_most_the_number_sent(serve):
    """The kernel merges equal signals that are pending; none may be counted twice and the burst may not get lost."""
    server = serve("hello:app")
    for _ in range(10):
        server.send(signal.SIGTTIN)
    wait_until(lambda: server.admin.pool()["scale"]["target"] > 1, "a higher target")
    settle(1)
    target = server.admin.pool()["scale"]["target"]
    assert 2 <= target <= 11
    server.admin.wait_workers(target)


def test_ttou_stops_the_idlest(serve, gate):
    server = serve("probe:app", "--workers", "3", environment=gate.environment)
    server.admin.wait_workers(3)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/busy"))
        (visitor,) = gate.wait(1, "busy")
        server.send(signal.SIGTTOU)
        wait_until(lambda: len(server.admin.ready_workers()) == 2, "two workers")
        server.send(signal.SIGTTOU)
        wait_until(lambda: server.admin.pids() == [visitor.pid], "only the busy one")
        gate.open()
        assert client.read_response().header("X-Pid") == str(visitor.pid)


def test_a_terminals_ttin_is_no_order(serve):
    """Only what a process sent counts: the kernel raises TTIN and TTOU too, for background reads of a terminal."""
    import pty
    import termios

    server = serve("hello:app", "--workers", "2")
    server.admin.wait_workers(2)
    primary, secondary = pty.openpty()
    assert termios.tcgetattr(secondary)
    settle(1)
    assert server.admin.pool()["scale"]["target"] == 2
    os.close(primary)
    os.close(secondary)


@pytest.mark.parity
def test_usr1_reaches_the_workers(serve, tmp_path):
    path = tmp_path / "access.log"
    server = serve("hello:app", "--workers", "2", "--access-logfile", str(path))
    wait_until(lambda: len(server.worker_pids()) == 2, "two workers")
    # Both have opened the file that is renamed.
    server.err.wait_for(r"(?s)(Booting worker.*){2}")
    settle(0.5)
    path.rename(tmp_path / "old.log")
    server.send(signal.SIGUSR1)
    wait_until(path.exists, "a new file")

    def both_write_there() -> bool:
        for _ in range(4):
            server.get("/after")
        return path.exists() and path.read_text().count("/after") >= 8

    wait_until(both_write_there, "lines of both workers in the new file")
    assert len(server.worker_pids()) == 2


@pytest.mark.parametrize("number", [signal.SIGWINCH, signal.SIGCHLD, signal.SIGUSR2, signal.SIGPIPE, signal.SIGCONT])
def test_others_change_nothing(serve, number):
    server = serve("hello:app", "--workers", "2")
    before = server.admin.wait_workers(2)
    server.send(number)
    settle(1)
    assert server.running()
    assert server.admin.pids() == before
    assert server.get().status == 200


def test_a_group_wide_ctrl_c_ends_everything_once(serve):
    """A terminal's Ctrl-C reaches the fork server and the workers too."""
    server = serve("hello:app", "--workers", "3")
    server.admin.wait_workers(3)
    os.killpg(os.getpgid(server.pid), signal.SIGINT)
    assert server.wait_exit() == 0
    assert not server.family()
    assert "Traceback" not in server.err.text


def test_signals_during_the_boot_are_not_lost(serve, gate):
    server = serve("faults.import_held:application", ready=False, environment=gate.environment)
    gate.wait(1, "import")
    server.send(signal.SIGTTIN)
    gate.wait(2, "import")
    gate.open()
    server.admin.wait_workers(2)


def test_one_that_serves_before_the_arbiter_knows_finishes(serve, gate, tmp_path):
    """It has become ready and accepted a request while the arbiter, which is to end it, still takes it for booting."""
    (tmp_path / "held.py").write_text("import gate_client\ngate_client.pause('import')\nfrom probe import app\n")
    server = serve("held:app", "--workers", "1", ready=False, cwd=tmp_path, environment=gate.environment)
    gate.release(*gate.wait(1, "import"))
    server.wait_ready()
    with server.connect() as busy, contextlib.ExitStack() as later:
        busy.send(http.head("GET", "/hold/busy"))
        gate.wait(1, "busy")
        server.send(signal.SIGTTIN)
        (booting,) = gate.wait(1, "import")
        server.send(signal.SIGSTOP)
        try:
            gate.release(booting)
            # Not before: the other worker had taken it.
            young = later.enter_context(server.connect())
            young.send(http.head("GET", "/hold/young"))
            (visitor,) = gate.wait(1, "young")
            assert visitor.pid == booting.pid
            server.send(signal.SIGTERM)
        finally:
            server.send(signal.SIGCONT)
        server.err.wait_for("Handling signal: term")
        settle(0.5)
        gate.open()
        assert young.read_response().body == b"released\n"
        assert busy.read_response().body == b"released\n"
    assert server.wait_exit() == 0


def test_one_that_boots_is_given_up_by_term(serve, gate, config):
    """As Gunicorn does it: `worker_int` is for INT and QUIT, which nobody has sent."""
    path = config(
        "import gate_client\n"
        "def post_worker_init(worker):\n"
        "    gate_client.pause('init')\n"
        "def worker_int(worker):\n"
        "    worker.log.info('worker_int was called')\n"
        "def worker_exit(server, worker):\n"
        "    worker.log.info('worker_exit was called')\n"
    )
    server = serve("probe:app", "--config", path, ready=False, environment=gate.environment)
    gate.release(*gate.wait(1, "init"))
    server.wait_ready()
    server.send(signal.SIGTTIN)
    (booting,) = gate.wait(1, "init")
    server.send(signal.SIGTTOU)
    server.err.wait_for("worker_exit was called")
    wait_until(lambda: booting.pid not in server.worker_pids(), "its end")
    assert "worker_int was called" not in server.err.text
    assert "killing it" not in server.err.text
    assert server.get().status == 200


def test_hup_storm(serve):
    """Reloads that overlap follow one another; the last code serves in the end."""
    server = serve("probe:app", "--workers", "2")
    server.admin.wait_workers(2)
    for _ in range(10):
        server.send(signal.SIGHUP)
        assert server.get().status == 200
    wait_until(lambda: not server.admin.pool()["reloads"]["inProgress"], "the last reload's end")
    server.admin.wait_workers(2)
    wait_until(lambda: len(server.fork_servers()) == 1, "one fork server")
    assert server.admin.pool()["reloads"]["failed"] == 0
    assert not server.zombies()


def test_the_names_of_signals_are_logged(serve):
    server = serve("hello:app")
    for number, word in (
        (signal.SIGTTIN, "ttin"),
        (signal.SIGTTOU, "ttou"),
        (signal.SIGHUP, "hup"),
        (signal.SIGUSR1, "usr1"),
    ):
        server.send(number)
        server.err.wait_for(rf"\[INFO\] Handling signal: {word}")
    server.stop()
    assert "Handling signal: term" in server.err.text
    assert "Shutting down: Master" in server.err.text
    assert processes.read(server.pid) is None or not processes.alive(server.pid)


def test_a_child_of_the_app_ends_by_term(serve):
    """It inherits the worker's handlers, which must not make it a worker that lives on."""
    server = serve("probe:app")
    assert server.get("/terminated_child").text == f"-{int(signal.SIGTERM)}"
