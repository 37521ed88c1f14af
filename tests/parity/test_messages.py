"""What the log says: each of Gunicorn's messages that people watch their logs for, brought about on both servers."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from parity.messages import MESSAGES
from parity.project import PROGRAMS
from podtest import http
from podtest.server import Server
from podtest.waiting import wait_until


class Life:
    """One server, and what is done to it."""

    def __init__(self, program: str, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.taken = 0
        self.servers: list[Server] = []

    def serve(self, *arguments: str, app: str | None = "probe:app", **options: object) -> Server:
        words = [*arguments, *([app] if app else [])]
        self.servers.append(Server(*words, program=self.program, admin=False, **options))  # type: ignore[arg-type]
        return self.servers[-1]

    def serving(self, *arguments: str, **options: object) -> Server:
        server = self.serve(*arguments, **options)

        def answers() -> bool:
            try:
                return server.get("/").status == 200
            except OSError:
                return False

        wait_until(answers, lambda: server.err.text)
        return server

    def workers(self, server: Server) -> list[int]:
        ours = server.fork_servers() if self.program == "podicorn" else []
        return [child.pid for child in server.children() if not child.zombie and child.pid not in ours]

    def lines(self) -> list[str]:
        """What was said, without times and pids."""
        text = "\n".join(server.err.text for server in self.servers)
        text = re.sub(r"^\[[^]]*\] \[\d+\] ", "", text, flags=re.MULTILINE)
        for server in self.servers:
            text = text.replace(f":{server.port}", ":PORT")
        text = text.replace(str(self.taken), "TAKEN") if self.taken else text
        return re.sub(r"(?<=pid: )\d+|(?<=pid:)\d+|(?<=PID )\d+|(?<=PORT \()\d+", "N", text).splitlines()


def start_and_end(life: Life) -> None:
    assert life.serving().stop() == 0


def signals(life: Life) -> None:
    server = life.serving()
    server.send(signal.SIGTTIN)
    wait_until(lambda: len(life.workers(server)) == 2, "a second worker")
    server.send(signal.SIGTTOU)
    wait_until(lambda: len(life.workers(server)) == 1, "its end")
    server.send(signal.SIGUSR1)
    server.err.wait_for("Handling signal: usr1")
    before = life.workers(server)
    server.send(signal.SIGHUP)
    wait_until(lambda: len(now := life.workers(server)) == 1 and now != before, "another worker")
    assert server.stop(signal.SIGINT) == 0


def second_server(life: Life) -> None:
    server = life.serving()
    before = set(server.family())
    server.send(signal.SIGUSR2)
    server.err.wait_for(r"(?s)(Booting worker.*){2}")
    others = set(server.family()) - before
    (successor,) = [pid for pid in others if parent_of(pid) == server.pid and children_of(pid)]
    server.send(signal.SIGUSR2)
    server.err.wait_for("Child exists")
    os.kill(successor, signal.SIGUSR2)
    server.err.wait_for("Parent exists")
    assert server.stop() == 0
    server.err.wait_for("promoted")
    os.kill(successor, signal.SIGTERM)
    wait_until(lambda: not server.family(), "the second one's end")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def errors_of_the_app(life: Life) -> None:
    life.serving().get("/raise")


def deaths(life: Life) -> None:
    server = life.serving()
    for number in (signal.SIGKILL, signal.SIGSEGV):
        (worker,) = life.workers(server)
        os.kill(worker, number)
        wait_until(lambda gone=worker: (now := life.workers(server)) and gone not in now, "another worker")
        server.err.wait_for(number.name)
    wait_until(lambda: serves(server), "service")
    with pytest.raises((OSError, http.ExchangeError)):
        server.get("/halt/7")
    server.err.wait_for("exited with code 7")


def serves(server: Server) -> bool:
    try:
        return server.get("/").status == 200
    except (OSError, http.ExchangeError):
        return False


def timeout(life: Life) -> None:
    server = life.serving("--timeout", "1")
    with server.connect() as connection:
        connection.send(http.head("GET", "/sleep/60"))
        server.err.wait_for("WORKER TIMEOUT")


def max_requests(life: Life) -> None:
    server = life.serving("--max-requests", "1")
    server.err.wait_for("Autorestarting")


def reload(life: Life) -> None:
    module = life.directory / "changing.py"
    module.write_text("from probe import app\n")
    server = life.serving("--reload", "--pythonpath", str(life.directory), app="changing:app")
    server.err.wait_for("Reloader is on")
    time.sleep(1.1)  # Gunicorn compares times of whole seconds
    module.write_text("from probe import app\n\n")
    server.err.wait_for("Worker reloading")


def invalid_requests(life: Life) -> None:
    server = life.serving()
    for raw in (
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA B: c\r\n\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    ):
        with server.connect() as connection:
            connection.send(raw)
            assert connection.read_response().status in (400, 414, 431, 505)
    server.err.wait_for("(?i)invalid.*content-length")


def fails(*arguments: str, app: str | None = "probe:app") -> Callable[[Life], None]:
    """A server that does not come to serve."""

    def live(life: Life) -> None:
        assert life.serve(*arguments, app=app).wait_exit() != 0

    return live


def address_in_use(life: Life) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        life.taken = other.getsockname()[1]
        assert life.serve("--bind", f"127.0.0.1:{life.taken}").wait_exit() == 1


def config_that_raises(life: Life) -> None:
    path = life.directory / "wrong.py"
    path.write_text("1 / 0\n")
    assert life.serve("--config", str(path)).wait_exit() == 1


def pid_file_of_another(life: Life) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (life.directory / "pid").write_text(f"{other.pid}\n")
        assert life.serve("--pid", str(life.directory / "pid")).wait_exit() == 1
        other.communicate(b"\n")


LIVES: dict[str, Callable[[Life], None]] = {
    "start": start_and_end,
    "end": start_and_end,
    "signals": signals,
    "second server": second_server,
    "errors of the app": errors_of_the_app,
    "deaths": deaths,
    "timeout": timeout,
    "max_requests": max_requests,
    "reload": reload,
    "invalid requests": invalid_requests,
    "no app": fails(app=None),
    "a module that is not there": fails(app="nowhere:app"),
    "a name that is not there": fails(app="probe:nope"),
    "an app that cannot be called": fails(app="probe:ROUTES"),
    "an address in use": address_in_use,
    "an address of others": fails("--bind", "192.0.2.1:1"),
    "no config file": fails("--config", "/nope.py"),
    "a config file that raises": config_that_raises,
    "an unknown flag": fails("--nope"),
    "a value that is none": fails("--workers", "x"),
    "an unknown user": fails("--user", "nobodyatall"),
    "an unknown worker class": fails("--worker-class", "nope"),
    "a pid file of a server that runs": pid_file_of_another,
}


@pytest.fixture
def lived(tmp_path: Path) -> Iterator[Callable[[str], dict[str, Life]]]:
    """Both servers, after that life."""
    lives: dict[str, Life] = {}

    def live(name: str) -> dict[str, Life]:
        for program in PROGRAMS:
            directory = tmp_path / program
            directory.mkdir()
            lives[program] = Life(program, directory)
            LIVES[name](lives[program])
            for server in lives[program].servers:
                server.close()
        return lives

    yield live
    for life in lives.values():
        for server in life.servers:
            server.close()
        print(f"--- {life.program}", *life.lines(), sep="\n")


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(lived, name):
    lives = lived(name)
    for gunicorn, podicorn, why in MESSAGES[name]:
        assert bool(podicorn) == bool(why), "what differs has a reason"
        for program, pattern in (("gunicorn", gunicorn), ("podicorn", podicorn or gunicorn)):
            assert any(re.fullmatch(pattern, line) for line in lives[program].lines()), f"{program}: {pattern}"
    codes = {program: [server.exit_code for server in life.servers] for program, life in lives.items()}
    ended = {program: [code for code in found if code is not None and code >= 0] for program, found in codes.items()}
    assert ended["podicorn"] == ended["gunicorn"]
