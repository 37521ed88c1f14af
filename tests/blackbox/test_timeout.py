"""Hangs: in a request, in C with the GIL held, in an import. The log must say where."""

import signal

import pytest
from podtest import http
from podtest.server import settle
from podtest.waiting import wait_until

HOOKS = """
def worker_abort(worker):
    import os
    os.write(2, b"worker_abort hook ran\\n")
"""


def in_order(text: str, *pieces: str) -> None:
    """All pieces occur, each after the one before."""
    at = 0
    for piece in pieces:
        found = text.find(piece, at)
        assert found >= 0, f"{piece!r} is missing or too early in:\n{text}"
        at = found + len(piece)


def test_a_hung_request_is_killed_with_its_stack_in_the_log(serve, config):
    server = serve("faults.hangs:application", "--timeout", "2", "--config", config(HOOKS))
    before = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/hang"))
        assert http.unserved(client)
    wait_until(lambda: server.admin.pids() not in (before, []), "a new worker")
    server.err.wait_for("worker_abort hook ran")
    in_order(
        server.err.text, "WORKER TIMEOUT (pid:%d)" % before[0], "wait_for_a_lock_nobody_frees", "worker_abort hook ran"
    )
    assert server.get("/").status == 200
    assert server.admin.pool()["totals"]["restarts"]["timeout"] == 1


def test_a_worker_that_holds_the_gil_is_killed_with_its_stack_in_the_log(serve, config):
    """No Python handler can run there: the C-level dump is what there is, and ABRT is followed by KILL."""
    server = serve("faults.hog:application", "--timeout", "2", "--config", config(HOOKS))
    before = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/hog"))
        assert client.read_to_end() == b""
    wait_until(lambda: server.admin.pids() not in (before, []), "a new worker")
    in_order(server.err.text, "WORKER TIMEOUT", "deadlock_in_c")
    assert "worker_abort hook ran" not in server.err.text
    assert server.get("/").status == 200
    assert server.admin.pool()["totals"]["restarts"]["timeout"] == 1


def test_others_serve_while_one_hangs(serve):
    server = serve("faults.hangs:application", "--timeout", "3", "--workers", "2")
    server.admin.wait_workers(2)
    with server.connect() as client:
        client.send(http.head("GET", "/hang"))
        for _ in range(50):
            assert server.get("/").status == 200
        assert http.unserved(client)
    server.admin.wait_workers(2)


def test_an_idle_worker_is_no_hung_worker(serve):
    server = serve("hello:app", "--timeout", "1")
    before = server.admin.pids()
    settle(4)
    assert server.admin.pids() == before


def test_zero_switches_it_off(serve, gate):
    server = serve("probe:app", "--timeout", "0", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/long"))
        gate.wait(1, "long")
        settle(4)
        gate.open()
        assert client.read_response().body == b"released\n"


def test_a_stopped_worker_is_killed(serve):
    """SIGSTOP holds all its threads: only KILL ends it."""
    import os

    server = serve("hello:app", "--timeout", "2")
    (before,) = server.admin.pids()
    os.kill(before, signal.SIGSTOP)
    wait_until(lambda: server.admin.pids() not in ([before], []), "a new worker")
    assert server.get().status == 200


def test_a_hung_import_is_found_and_named(serve):
    server = serve("faults.import_hangs:application", "--boot-timeout", "2", ready=False)
    server.err.wait_for("wait_for_the_database")
    server.err.wait_for("(?i)boot timeout")
    assert server.admin.status("/livez") == 200
    wait_until(
        lambda: "boot_timeout" in server.admin.get("/startupz").text,
        lambda: f"the cause on /startupz: {server.admin.get('/startupz').text}",
    )
    assert server.wait_exit(180) == 3
    assert 1 < server.err.text.count("Booting worker with pid") <= 8


def test_a_hung_import_that_holds_the_gil_is_found_and_named(serve):
    server = serve("faults.import_hogs:application", "--boot-timeout", "2", ready=False)
    server.err.wait_for("load_the_model")
    assert server.stop() == 0


def test_a_hung_preload_is_found_and_named(serve):
    server = serve("faults.import_hangs:application", "--preload", "--boot-timeout", "2", ready=False)
    server.err.wait_for("wait_for_the_database")
    assert server.admin.status("/livez") == 200
    assert server.wait_exit(180) == 3


def test_a_slow_import_within_the_boot_timeout_is_no_failure(serve, gate):
    """--timeout does not count while a worker boots."""
    server = serve(
        "faults.import_held:application", "--timeout", "1", "--boot-timeout", "50",
        ready=False, environment=gate.environment,
    )  # fmt: skip
    gate.wait(1, "import")
    settle(4)
    gate.open()
    server.wait_ready()
    assert gate.seen == ["import"]


@pytest.mark.slow
def test_a_worker_that_ignores_everything_at_the_end_is_killed(serve, gate):
    server = serve("faults.hog:application", "--graceful-timeout", "2", "--timeout", "0")
    with server.connect() as client:
        client.send(http.head("GET", "/hog"))
        wait_until(lambda: server.admin.workers()[0]["inFlight"] == 1, "the request in flight")
        assert server.stop() == 0
        assert client.read_to_end() == b""
    assert not server.family()
