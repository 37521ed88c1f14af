"""Config files as well-known projects write them, run unchanged by both servers: hooks and clients see the same."""

import json
import os
import re
import signal
import socket
from collections import Counter

from parity.project import PROGRAMS, answered
from podtest import http, processes
from podtest.ports import free_port
from podtest.waiting import wait_until


def test_a_document_archive(both):
    ports = {program: free_port() for program in PROGRAMS}
    projects = both(
        "documents", "asgi",
        lambda program: {"ARCHIVE_PORT": str(ports[program]), "ARCHIVE_ROOT": "/files", "ARCHIVE_WORKERS": "1"},
    )  # fmt: skip
    bodies = {}
    for program, project in projects.items():
        address = ("127.0.0.1", ports[program])
        answered(address)
        bodies[program] = http.request(address, "/a?b=c").body
        booted = project.server.err.text.count("Booting worker")
        for worker in project.workers():
            os.kill(worker, signal.SIGINT)
        wait_until(lambda: project.server.err.text.count("Booting worker") > booted, "another worker")  # noqa: B023
        assert "Server is ready. Spawning workers" in project.server.err.text
        answered(address)
        project.end()
    assert bodies["podicorn"] == bodies["gunicorn"]
    assert b"root_path=/files" in bodies["podicorn"]
    # The class takes the signals for its own: Gunicorn never runs the hook, here it runs when that is through.
    assert projects["podicorn"].noted("worker_int") == ["worker_int alive=False main_thread=True"]
    rest = [line for line in projects["podicorn"].noted() if not line.startswith("worker_int")]
    assert Counter(rest) == Counter(projects["gunicorn"].noted())


def test_an_identity_provider(both):
    ports = {program: free_port() for program in PROGRAMS}
    projects = both("identity", "counted", lambda program: {"GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{ports[program]}"})
    for program, project in projects.items():
        project.wait_noted("post_worker_init", 2)
        answered(("127.0.0.1", ports[program]))
        project.server.send(signal.SIGHUP)
        project.wait_noted("post_worker_init", 4)
        project.wait_noted("worker_exit", 2)
        project.server.send(signal.SIGTTIN)
        project.wait_noted("post_worker_init", 5)
        answered(("127.0.0.1", ports[program]))
        project.end()
        # Its own logging is in force.
        assert re.search(
            r"^identity INFO gunicorn\.error Booting worker with pid", project.server.err.text, re.MULTILINE
        )
    assert Counter(projects["podicorn"].noted()) == Counter(projects["gunicorn"].noted())


def test_a_scheduler(both):
    ports = {program: free_port() for program in PROGRAMS}
    projects = both(
        "scheduler", "application", lambda program: {"GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{ports[program]}"}
    )
    bodies = {}
    for program, project in projects.items():
        project.wait_noted("post_worker_init", 2)
        titles = [" ".join(processes.command_line(pid)) for pid in project.workers()]
        assert len([title for title in titles if title.startswith("[ready] scheduler-worker")]) == 2, titles
        bodies[program] = http.request(("127.0.0.1", ports[program]), "/x").body
        project.end()
    assert bodies["podicorn"] == bodies["gunicorn"]
    assert Counter(projects["podicorn"].noted()) == Counter(projects["gunicorn"].noted())


def test_a_package_index(both, tmp_path):
    receivers = {}
    for program in PROGRAMS:
        receivers[program] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receivers[program].bind(("127.0.0.1", 0))
        receivers[program].settimeout(20)
    projects = both(
        "package_index", "application",
        lambda program: {
            "INDEX_SOCKET": str(tmp_path / f"{program}.sock"),
            "INDEX_STATSD": f"127.0.0.1:{receivers[program].getsockname()[1]}",
        },
    )  # fmt: skip
    seen = {}
    for program, project in projects.items():
        path = tmp_path / f"{program}.sock"
        wait_until(lambda: "Booting worker" in project.server.err.text and path.exists(), "a worker")  # noqa: B023
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(
                b"GET /simple?a HTTP/1.1\r\nHost: index\r\nIndex-Hashed-IP: abc123\r\nUser-Agent: pip\r\n\r\n"
            )
            head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
        line = wait_until(lambda: project.server.out.text, "an access line")  # noqa: B023
        counts = set()
        while not {"gunicorn.requests", "gunicorn.request.status.200", "gunicorn.request.duration"} <= counts:
            counts |= {part.split(":")[0] for part in receivers[program].recv(4096).decode().splitlines()}
        seen[program] = (head.split(b"\r\n")[0], body, line)
        project.end()
        assert not path.exists()
        receivers[program].close()
    assert seen["podicorn"] == seen["gunicorn"]
    assert seen["podicorn"][2] == 'abc123 - - "GET /simple?a HTTP/1.1" 200 {} "-" "pip"\n'.format(
        len(seen["podicorn"][1])
    )


def test_any_api(both):
    ports = {program: free_port() for program in PROGRAMS}
    projects = both(
        "any_api", "asgi",
        lambda program: {
            "API_PORT": str(ports[program]), "MAX_WORKERS": "1", "LOG_LEVEL": "warning", "ACCESS_LOG": "-",
        },
    )  # fmt: skip
    said = {}
    for program, project in projects.items():
        address = ("127.0.0.1", ports[program])
        answered(address)
        said[program] = json.loads(project.server.out.text.splitlines()[0]) | {
            "bind": "",
            "body": str(http.request(address, "/z").body),
        }
        assert len(project.workers()) == 1
        project.end()
        assert "Booting worker" not in project.server.err.text
    assert said["podicorn"] == said["gunicorn"]
