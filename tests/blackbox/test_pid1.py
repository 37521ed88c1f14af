"""What only the first process of a container meets: orphans, and signals with no default action."""

import re
import signal

import pytest
from podtest import processes
from podtest.server import settle
from podtest.waiting import wait_until

pytestmark = [pytest.mark.pid1, pytest.mark.usefixtures("namespaces")]


@pytest.fixture
def server(serve):
    made = serve("faults.orphans:application", "--workers", "2", pid1=True)
    made.admin.wait_workers(2)
    return made


def test_a_thousand_orphans_leave_no_zombie(server):
    before = set(server.admin.pids())
    assert server.get("/orphans/1000").text == "1000"
    wait_until(lambda: server.admin.pool()["straysReaped"] >= 1000, "1,000 reaped strays")
    wait_until(lambda: not server.zombies(), lambda: f"the reaping of {server.zombies()}")
    assert set(server.admin.pids()) == before
    assert server.admin.pool()["straysReaped"] == 1000


def test_orphans_that_end_together_are_all_reaped(server):
    """CHLD coalesces: one signal stands for many children."""
    server.get("/orphans/300?linger=1")
    wait_until(lambda: server.admin.pool()["straysReaped"] == 300, "300 reaped strays")
    assert not server.zombies()


@pytest.mark.parametrize("code", [3, 4, 1, 255])
def test_the_exit_code_of_a_stray_changes_nothing(server, code):
    """3 and 4 mean "cannot boot" and "no such app" when they come from a worker."""
    before = set(server.admin.pids())
    server.get(f"/orphans/20?code={code}")
    wait_until(lambda: server.admin.pool()["straysReaped"] == 20, "20 reaped strays")
    settle(1)
    assert server.running()
    assert set(server.admin.pids()) == before
    assert server.admin.pool()["boot"]["failures"] == 0
    assert server.get("/").status == 200


def test_strays_during_a_burst_of_spawns_are_not_taken_for_workers(server):
    """An exit that matches no slot waits for the fork reply before it is called a stray."""
    for _ in range(3):
        server.admin.scale(6)
        server.get("/orphans/100?code=3")
        server.admin.scale(2)
        server.get("/orphans/100?code=4")
    server.admin.wait_workers(2)
    wait_until(lambda: server.admin.pool()["straysReaped"] == 600, "600 reaped strays")
    assert not server.zombies()
    assert server.admin.pool()["boot"]["failures"] == 0


def test_a_stray_killed_by_a_signal_is_only_a_stray(serve):
    server = serve("faults.orphans:application", pid1=True)
    server.get("/orphans/1?linger=600")
    known = set(server.worker_pids()) | set(server.fork_servers())
    (stray,) = wait_until(lambda: [c for c in server.children() if c.pid not in known], "the orphan's new parent")
    import os

    os.kill(stray.pid, signal.SIGKILL)
    wait_until(lambda: server.admin.pool()["straysReaped"] == 1, "the reaped stray")
    assert not server.zombies()


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGALRM, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCHLD])
def test_other_signals_do_not_end_it(server, number):
    server.send(number)
    settle(0.5)
    assert server.running()
    assert server.get("/").status == 200


def test_children_left_by_the_app_do_not_outlive_pid_1(server):
    server.get("/orphans/5?linger=600")
    assert server.stop() == 0
    assert not server.family()


def test_orphans_of_an_ordinary_process_come_to_it_too(serve):
    """Not PID 1: PR_SET_CHILD_SUBREAPER makes the arbiter the new parent."""
    server = serve("faults.orphans:application")
    server.get("/orphans/50?code=3")
    wait_until(lambda: server.admin.pool()["straysReaped"] == 50, "50 reaped strays")
    assert not server.zombies()
    assert server.running()


def test_the_log_stays_quiet_about_strays(server):
    mark = server.err.mark()
    server.get("/orphans/200")
    wait_until(lambda: server.admin.pool()["straysReaped"] == 200, "200 reaped strays")
    loud = [line for line in server.err.since(mark).splitlines() if re.search(r"\[(ERROR|WARNING|CRITICAL)\]", line)]
    assert not loud
    assert processes.alive(server.pid)
