"""Every hook, lived through by both servers: the same calls, which see the same, in the right processes."""

import os
import signal
from collections import Counter

from parity.project import PROGRAMS, answered
from podtest import http
from podtest.ports import free_port

HOOKS = (
    "on_starting", "on_reload", "when_ready", "pre_fork", "post_fork", "post_worker_init", "worker_int", "pre_request",
    "post_request", "child_exit", "worker_exit", "nworkers_changed", "on_exit",
)  # fmt: skip


def test_every_hook_is_called_as_often_and_sees_the_same(both):
    ports = {program: free_port() for program in PROGRAMS}
    projects = both("every_hook", "application", lambda program: {"HOOKS_BIND": f"127.0.0.1:{ports[program]}"})
    for program, project in projects.items():
        address = ("127.0.0.1", ports[program])
        answered(address)
        assert http.request(address, "/a%20path?and=query", headers=[("X-One", "1")]).status == 200
        project.wait_noted("post_request", 2)
        project.server.send(signal.SIGTTIN)
        project.wait_booted(2)
        project.server.send(signal.SIGTTOU)
        project.wait_noted("worker_exit", 1)
        project.wait_noted("child_exit", 1)
        project.server.send(signal.SIGHUP)
        project.wait_noted("post_worker_init", 3)
        project.wait_noted("child_exit", 2)
        (worker,) = project.workers()
        os.kill(worker, signal.SIGINT)
        project.wait_noted("worker_int", 1)
        project.wait_noted("child_exit", 3)
        project.wait_booted(4)
        project.end()
    noted = {program: project.noted() for program, project in projects.items()}
    assert Counter(noted["podicorn"]) == Counter(noted["gunicorn"])
    assert {line.split()[0] for line in noted["podicorn"]} - {"thread"} == set(HOOKS)
    # What one process does has an order. (The first nworkers_changed comes before on_starting in Gunicorn, and here
    # once the app can be served.)
    for lines in noted.values():
        first = [line.split()[0] for line in lines if not line.startswith("nworkers_changed")]
        assert (first[0], first[1], first[-1]) == ("on_starting", "when_ready", "on_exit")
        assert first.index("pre_fork") < first.index("post_fork") < first.index("post_worker_init")
        assert first.index("pre_request") < first.index("post_request")


def test_worker_abort_runs_in_the_worker_that_is_hung(both):
    ports = {program: free_port() for program in PROGRAMS}
    projects = both(
        "every_hook", "stuck", lambda program: {"HOOKS_BIND": f"127.0.0.1:{ports[program]}", "HOOKS_TIMEOUT": "1"}
    )
    for program, project in projects.items():
        project.wait_noted("post_worker_init", 1)
        with http.Connection(("127.0.0.1", ports[program])) as connection:
            connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            project.wait_noted("worker_abort", 1)
        project.wait_noted("child_exit", 1)
        project.end()
        assert project.noted("worker_abort") == ["worker_abort own=True"]
