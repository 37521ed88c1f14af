"""SIGKILL where it hurts: workers, the fork server, both."""

import os
import signal

import pytest
from podtest import http, processes
from podtest.load import Load
from podtest.waiting import wait_until


@pytest.fixture(params=[False, True], ids=["", "preload"])
def server(serve, request, as_pid1, gate):
    flags = ["--preload"] if request.param else []
    made = serve("probe:app", "--workers", "2", *flags, pid1=as_pid1, environment=gate.environment)
    made.admin.wait_workers(2)
    return made


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: processes.read(pid) is None, f"the reaping of {pid}")


def test_a_killed_worker_is_replaced(server):
    first, second = server.worker_pids()
    kill(first)
    server.admin.wait_workers(2)
    now = server.worker_pids()
    assert second in now
    assert first not in now
    server.err.wait_for(
        r"\[ERROR\] Worker \(pid:\d+\) was sent SIGKILL! (Perhaps out of memory|Not by the kernel for memory)"
    )


def test_all_workers_killed_at_once(server):
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.admin.pool()["totals"]["restarts"]["crash"] == 2, "two counted crashes")
    server.admin.wait_workers(2)
    assert server.get("/").status == 200
    assert not server.zombies()


def test_the_request_of_a_killed_worker_ends_in_a_closed_connection(server, gate):
    with server.connect() as client:
        client.send(http.head("GET", "/hold/doomed"))
        (visitor,) = gate.wait(1, "doomed")
        kill(server.outer(visitor.pid))
        assert client.read_to_end() == b""
        assert client.end in (http.End.FIN, http.End.RESET)


def test_a_killed_fork_server_is_replaced_and_the_workers_serve_on(server):
    workers = set(server.worker_pids())
    (old,) = server.fork_servers()
    kill(old)
    assert server.get("/").status == 200
    (new,) = wait_until(server.fork_servers, "a new fork server")
    assert new != old
    assert set(server.worker_pids()) == workers
    assert server.admin.status("/readyz") == 200
    assert server.admin.pool()["forkServer"]["deaths"] == 1


def test_respawns_work_after_the_fork_servers_death(server):
    (old,) = server.fork_servers()
    kill(old)
    first = server.worker_pids()[0]
    kill(first)
    server.admin.wait_workers(2)
    server.send(signal.SIGTTIN)
    server.admin.wait_workers(3)
    assert {int(server.get("/pid").text) for _ in range(30)} <= set(server.admin.pids())


def test_fork_server_and_workers_killed_together(server):
    for pid in [*server.fork_servers(), *server.worker_pids()]:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.admin.pool()["totals"]["restarts"]["crash"] == 2, "two counted crashes")
    server.admin.wait_workers(2)
    assert server.get("/").status == 200
    assert not server.zombies()
    assert len(server.fork_servers()) == 1


def test_the_fork_server_killed_in_the_middle_of_spawns(server):
    """Between the fork and its reply the worker is found by its claim, or the claim is withdrawn."""
    for _ in range(5):
        server.admin.scale(8)
        for pid in server.fork_servers():
            os.kill(pid, signal.SIGKILL)
        server.admin.scale(2)
    server.admin.wait_workers(2)
    wait_until(lambda: len(server.fork_servers()) == 1, "one fork server")
    wait_until(lambda: len(server.family()) == 4, lambda: f"no worker that nobody knows: {server.family()}")
    assert not server.zombies()
    assert server.get("/").status == 200


def test_a_stopped_fork_server_does_not_stop_probes_or_requests(server):
    (fork_server,) = server.fork_servers()
    os.kill(fork_server, signal.SIGSTOP)
    try:
        kill(server.worker_pids()[0])
        for _ in range(20):
            assert server.get("/").status == 200
            assert server.admin.status("/livez") == 200
            assert server.admin.status("/readyz") == 200
    finally:
        os.kill(fork_server, signal.SIGCONT)
    server.admin.wait_workers(2)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGHUP])
def test_other_deaths_by_signal(serve, number):
    server = serve("probe:app", "--workers", "2", expect=("Fatal Python error: Segmentation fault",))
    server.admin.wait_workers(2)
    victim = server.worker_pids()[0]
    kill_with = number
    os.kill(victim, kill_with)
    wait_until(lambda: processes.read(victim) is None, f"the reaping of {victim}")
    server.admin.wait_workers(2)
    assert server.get("/").status == 200


@pytest.mark.parity
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_worker_told_to_leave_is_replaced(serve, number):
    server = serve("probe:app")
    pid = int(server.get("/pid").text)
    os.kill(pid, number)
    wait_until(lambda: not processes.alive(pid), "its end")
    wait_until(lambda: int(server.get("/pid").text) != pid, "another worker's answer")


@pytest.mark.parity
def test_a_worker_ignores_winch_and_usr1(serve):
    server = serve("probe:app")
    pid = int(server.get("/pid").text)
    for number in (signal.SIGWINCH, signal.SIGUSR1):
        os.kill(pid, number)
        assert int(server.get("/pid").text) == pid


def test_a_stream_of_kills_under_load(server):
    with Load(server.address, clients=4) as load:
        for _ in range(10):
            for pid in server.worker_pids()[:1]:
                os.kill(pid, signal.SIGKILL)
            done = load.done()
            wait_until(lambda done=done: load.done() > done + 20, "more answers")
    failures = load.failures()
    assert all(failure.closed for failure in failures), [f for f in failures if not f.closed]
    server.admin.wait_workers(2)
