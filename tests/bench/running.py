"""A running server: its start, its stop, and the freeze between its turns."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from podtest import processes
from podtest.http import Connection, ExchangeError, head
from podtest.ports import free_port

from bench import proc
from bench.servers import Contender, Launch

APPS = Path(__file__).with_name("apps")
DATABASE = "notes.sqlite3"
DEADLINE = 60.0
#: A log may be written by a thread that is a little behind.
LOG_PAUSE = 0.2
#: How long a server must be without a new process before it counts as started.
QUIET = 0.6
#: How long continued children may beat before their supervisor looks at them again.
BEAT_PAUSE = 0.05


class Failed(Exception):
    """A server did not do what it must; the run cannot go on."""


class Running:
    """One server. ``close`` ends every process of it, whatever state it is in."""

    def __init__(
        self,
        contender: Contender,
        app: str,
        directory: Path,
        programs: Path,
        *,
        cores: str,
        workers: int = 1,
        options: tuple[str, ...] = (),
        variables: dict[str, str] | None = None,
    ) -> None:
        self.contender = contender
        self.port = free_port()
        self.admin_port = free_port()
        self.frozen: list[int] = []
        self.access_log = directory / f"{contender.name}-{self.port}.log"
        self._mark = str(uuid.uuid4())
        self._output = directory / f"{contender.name}-{self.port}.out"
        launch = Launch(programs, self.port, self.admin_port, app, workers, self.access_log)
        command = contender.command(launch)
        command[1:1] = options
        paths = [str(programs.parent / contender.library)] if contender.library else []
        with open(self.access_log if contender.logs else self._output, "ab") as out, open(self._output, "ab") as err:
            self._process = subprocess.Popen(
                [*pinned(cores), *command],
                cwd=APPS,
                env=environment(directory, *paths) | {"BENCH_MARK": self._mark} | (variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def name(self) -> str:
        return self.contender.name

    def said(self) -> str:
        """The end of what the server wrote."""
        return self._output.read_text(errors="replace")[-4000:]

    def wait_ready(self, request: bytes | None = None) -> None:
        """Until a request is answered."""
        request = request or head("GET", "/", {"Connection": "close"})
        end = time.monotonic() + DEADLINE
        while True:
            if self._process.poll() is not None:
                raise Failed(f"{self.name} exited with {self._process.returncode} at its start:\n{self.said()}")
            try:
                with Connection(("127.0.0.1", self.port), silence=10) as connection:
                    connection.send(request)
                    connection.read_response()
                    return
            except (OSError, ExchangeError) as error:
                if time.monotonic() > end:
                    raise Failed(f"{self.name} does not answer ({error}):\n{self.said()}") from error
                time.sleep(0.05)

    def tree(self) -> list[int]:
        """Its living processes, parents before children."""
        return proc.tree(self.pid)

    def settle(self) -> None:
        """Until no process of it has come or gone for a while: all workers are there."""
        end = time.monotonic() + DEADLINE
        last, since = self.tree(), time.monotonic()
        while time.monotonic() < since + QUIET:
            time.sleep(0.05)
            now = self.tree()
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() > end:
                raise Failed(f"{self.name} goes on starting processes:\n{self.said()}")

    def freeze(self) -> None:
        """SIGSTOP to all, parents first, so that none sees a child stop."""
        self.frozen = self.tree()
        for pid in self.frozen:
            send(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT, children first: a supervisor must find a fresh heartbeat when it looks again."""
        was, self.frozen = self.frozen, []
        for pid in reversed(was[1:]):
            send(pid, signal.SIGCONT)
        if len(was) > 1:
            time.sleep(BEAT_PAUSE)
        if was:
            send(was[0], signal.SIGCONT)

    def take_log(self) -> int:
        """The number of lines in the access log, which is empty afterwards."""
        time.sleep(LOG_PAUSE)
        with open(self.access_log, "rb") as log:
            lines = sum(piece.count(b"\n") for piece in iter(lambda: log.read(1 << 20), b""))
        os.truncate(self.access_log, 0)
        return lines

    def terminate(self) -> None:
        """Ask it to end, frozen or not."""
        self.thaw()
        if self._process.poll() is None:
            self._process.terminate()

    def close(self) -> None:
        """Ask it to end, wait a little, kill whoever is left."""
        self.terminate()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            pass
        processes.kill_marked(f"BENCH_MARK={self._mark}")
        self._process.wait(10)


def pinned(cores: str) -> list[str]:
    """What to begin a command with: it runs on these cores, and dies with the harness, even if that is killed."""
    return ["setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", cores]


def environment(directory: Path, *paths: str) -> dict[str, str]:
    """What everything that runs an app finds: little of the harness' own, and the apps."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ} | {
        "PYTHONPATH": os.pathsep.join([*paths, str(APPS)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "BENCH_DATABASE": str(directory / DATABASE),
    }


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def close_all(servers: Iterable[Running]) -> None:
    """End all of them, at the same time."""
    servers = list(servers)
    for server in servers:
        server.terminate()
    for server in servers:
        server.close()


def prepare_database(programs: Path, directory: Path) -> None:
    """Makes the database of the Django page."""
    done = subprocess.run(
        [str(programs / "python"), "-B", "-m", "django_page.prepare"],
        cwd=APPS,
        env=os.environ | {"PYTHONPATH": str(APPS), "BENCH_DATABASE": str(directory / DATABASE)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(f"the database of the Django page: {done.stderr}")
