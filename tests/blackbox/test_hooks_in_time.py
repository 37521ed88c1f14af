"""Hooks of the server's own life run in the fork server; one that hangs holds up neither service nor the exit."""

import signal

import pytest
from podtest.waiting import wait_until

HANGS = """
import threading
def wait_for_the_chat_room():
    threading.Event().wait()
def {hook}({parameters}):
    wait_for_the_chat_room()
"""


@pytest.mark.slow
def test_a_hook_that_hangs_costs_the_fork_server_and_nothing_else(serve, config):
    """After 30 s it is killed, its stack is in the log, and another one takes its place."""
    server = serve(
        "probe:app", "--config", config(HANGS.format(hook="child_exit", parameters="server, worker")), "--workers", "2"
    )
    before = server.admin.wait_workers(2)
    (hung,) = server.fork_servers()
    server.send(signal.SIGTTOU)
    wait_until(lambda: len(server.admin.pids()) == 1, "one worker less")
    server.err.wait_for(r"killing the fork server \(pid:%d\)" % hung, deadline=120)
    server.err.wait_for("in wait_for_the_chat_room")
    assert server.get("/").status == 200
    wait_until(lambda: server.fork_servers() and server.fork_servers() != [hung], "another fork server")
    server.send(signal.SIGTTIN)
    server.admin.wait_workers(2)
    assert set(server.admin.pids()) & set(before)


def test_on_exit_cannot_hold_up_the_exit(serve, config):
    server = serve("probe:app", "--config", config(HANGS.format(hook="on_exit", parameters="server")))
    server.send(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert "Hook on_exit failed" in server.err.text
    assert not server.family()
