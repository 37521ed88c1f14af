"""One running server: Podicorn, or Gunicorn where a test compares the two."""

import os
import shutil
import signal
import ssl
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from podtest import http, processes
from podtest.admin import Admin
from podtest.output import Output
from podtest.ports import free_port
from podtest.waiting import DEADLINE, wait_until

TESTS = Path(__file__).resolve().parent.parent
APPS = TESTS / "apps"
LAUNCHER = Path(__file__).with_name("launcher.py")

#: A user id that no passwd file knows, as OpenShift hands them out.
RANDOM_UID = 1000710000


def program_path(name: str = "podicorn") -> str:
    """The server's executable: PODICORN_BIN, else that of the running interpreter's environment."""
    if name == "podicorn" and os.environ.get("PODICORN_BIN"):
        return os.environ["PODICORN_BIN"]
    path = Path(sysconfig.get_path("scripts")) / name
    assert path.exists(), f"{path} does not exist: install the server into this environment first (make venv)"
    return str(path)


def clean_environment(mark: str) -> dict[str, str]:
    """What a server is started with: nothing of the tester's shell but the path and the language."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return kept | {
        "PODTEST_MARK": mark,
        "PYTHONPATH": str(APPS),
        # Tests change an app's source and reload; a bytecode file of the same second would hide the change.
        "PYTHONDONTWRITEBYTECODE": "1",
        # setproctitle would write over the environment, by which a server's processes are found.
        "SPT_NOENV": "1",
    }


class Server:
    """A server process and everything that a test asks of it. Use as a context manager, or ``close()`` it."""

    def __init__(
        self,
        *arguments: str,
        pid1: bool = False,
        for_others: bool = False,
        read_only: bool = False,
        confined: bool = False,
        uid: int = 0,
        reach: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = APPS,
        bind: bool = True,
        admin: bool = True,
        token: str | None = None,
        program: str = "podicorn",
        stdin: int = subprocess.DEVNULL,
        executable: Sequence[str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """``arguments`` come after ours, so theirs win. ``bind=False`` and ``admin=False`` leave those flags out.

        ``for_others`` is for servers that change their user: the interpreter and the apps are made reachable for
        everybody, whatever closed directory the checkout lies in. ``pid1``, ``read_only`` and ``confined`` do that too.
        """
        launched = pid1 or for_others or read_only or confined or bool(uid)
        self.port = free_port()
        self.address: http.Address = ("127.0.0.1", self.port)
        self.admin_port = free_port()
        self.admin = Admin(("127.0.0.1", self.admin_port), token)
        self.pid1 = pid1
        self.program = program
        self.mark = f"podtest-{uuid.uuid4()}"
        self.exit_code: int | None = None
        self._status_reader: threading.Thread | None = None
        self._uses_admin = admin and program == "podicorn"

        command = [*(executable or [program_path(program)])]
        if bind:
            command += ["--bind", f"127.0.0.1:{self.port}"]
        if self._uses_admin:
            command += ["--admin-bind", f"127.0.0.1:{self.admin_port}"]
        if program == "gunicorn":
            command += ["--no-control-socket"]
        command += arguments
        self.command = command
        full_environment = clean_environment(self.mark) | dict(environment or {})

        passed = tuple(pass_fds)
        if launched:
            status_read, status_write = os.pipe()
            options = [] if pid1 else ["--keep-pids"]
            options += ["--read-only"] if read_only else []
            options += ["--confined"] if confined else []
            options += ["--uid", str(uid)] if uid else []
            wanted = [sys.prefix, sys.base_prefix, str(TESTS), str(cwd), *reach]
            if "PODTEST_GATE" in full_environment:
                wanted.append(os.path.dirname(full_environment["PODTEST_GATE"]))
            options += [f"--reach={directory}" for directory in wanted]
            # -I: the launcher sees nothing of the environment that is meant for the server.
            command = [sys.executable, "-I", "-S", str(LAUNCHER), str(status_write), *options, "--", *command]
            passed += (status_write,)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=full_environment,
            stdin=stdin,
            stdout=out_write,
            stderr=err_write,
            pass_fds=passed,
            start_new_session=True,
        )
        os.close(out_write)
        os.close(err_write)
        self.out = Output(out_read, "stdout")
        self.err = Output(err_read, "stderr")
        self.pid = self._process.pid
        if launched:
            os.close(status_write)
            self._follow_launcher(status_read)

    def _follow_launcher(self, status_fd: int) -> None:
        known = threading.Event()

        def follow() -> None:
            with os.fdopen(status_fd) as lines:
                for line in lines:
                    key, _, value = line.partition(" ")
                    if key == "pid":
                        self.pid = int(value)
                        known.set()
                    elif key == "status":
                        self.exit_code = os.waitstatus_to_exitcode(int(value))
            known.set()

        self._status_reader = threading.Thread(target=follow, daemon=True)
        self._status_reader.start()
        known.wait(DEADLINE)
        assert self.pid != self._process.pid, f"the launcher failed:\n{self.err.text}"

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- life ----

    def running(self) -> bool:
        """Whether the server has not ended yet."""
        if self._status_reader is not None:
            if self._status_reader.is_alive():
                return True
            if self.exit_code is None:
                raise AssertionError(f"the launcher ended without a status:\n{self.err.text}")
            return False
        self.exit_code = self._process.poll()
        return self.exit_code is None

    def wait_exit(self, deadline: float = DEADLINE) -> int:
        """The exit code; minus the number of the signal that killed it."""
        wait_until(lambda: not self.running(), lambda: f"the server's exit; it said:\n{self.err.text}", deadline)
        assert self.exit_code is not None
        # The pipes may hold what it said last. A survivor that keeps them open is not waited for.
        self.err.join(1)
        self.out.join(1)
        return self.exit_code

    def wait_ready(self, deadline: float = DEADLINE) -> "Server":
        """Wait for /readyz 200 (Gunicorn: for a connection to be accepted); an early exit fails at once."""

        def ready() -> bool:
            if not self.running():
                raise AssertionError(f"exited with {self.exit_code} before it was ready:\n{self.err.text}")
            if self._uses_admin:
                return self.admin.ready()
            try:
                http.Connection(self.address).close()
            except OSError:
                return False
            return True

        wait_until(ready, lambda: f"readiness; the server said:\n{self.err.text}", deadline)
        return self

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server's first process."""
        os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal and wait for the exit."""
        self.send(number)
        return self.wait_exit()

    def close(self) -> None:
        """End everything the server ever started."""
        self.err.resume()
        self.out.resume()
        processes.kill_marked(f"PODTEST_MARK={self.mark}")
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(DEADLINE)
        if self._status_reader:
            self._status_reader.join(DEADLINE)
        self.out.join(5)
        self.err.join(5)

    # ---- processes, by the pids that the outside sees ----

    def family(self) -> list[int]:
        """Every living process that the server started, itself included, however detached."""
        launcher = self._process.pid if self._status_reader else None
        marked = processes.marked(f"PODTEST_MARK={self.mark}")
        return [pid for pid in marked if pid != launcher and processes.alive(pid)]

    def children(self) -> list[processes.Process]:
        """The direct children of the server's first process, zombies too."""
        return processes.children(self.pid)

    def zombies(self) -> list[processes.Process]:
        """Children that nobody has waited for."""
        return [child for child in self.children() if child.zombie]

    def fork_servers(self) -> list[int]:
        """Fork servers: the children that ignore TERM, as server/PROTOCOL.md §1 says of them and of no worker."""
        term = 1 << (signal.SIGTERM - 1)
        found = []
        for child in self.children():
            ignored = processes.status_field(child.pid, "SigIgn")
            if not child.zombie and ignored and int(ignored, 16) & term:
                found.append(child.pid)
        return found

    def outer(self, inner: int) -> int:
        """The outside's pid of the process that the server knows as ``inner``."""
        if not self.pid1:
            return inner
        for child in self.children():
            if processes.inner_pid(child.pid) == inner:
                return child.pid
        raise AssertionError(f"no child of the server has pid {inner} inside")

    def worker_pids(self) -> list[int]:
        """Ready workers."""
        if self.program == "gunicorn":
            return [child.pid for child in self.children() if not child.zombie]
        if not self.pid1:
            return self.admin.pids()

        def outside() -> list[list[int]]:
            """One list; none while a worker has died since the server spoke of it."""
            inside = self.admin.pids()
            known = {processes.inner_pid(child.pid): child.pid for child in self.children()}
            return [[known[pid] for pid in inside]] if all(pid in known for pid in inside) else []

        return wait_until(outside, "workers that are all alive")[0]

    # ---- requests ----

    def get(self, target: str = "/", **options: object) -> http.Response:
        """GET on a connection of its own."""
        return http.request(self.address, target, **options)  # type: ignore[arg-type]

    def post(self, target: str, body: bytes, **options: object) -> http.Response:
        """POST on a connection of its own."""
        return http.request(self.address, target, "POST", body=body, **options)  # type: ignore[arg-type]

    def connect(self, context: ssl.SSLContext | None = None) -> http.Connection:
        """An open connection; with a context it speaks TLS."""
        return http.Connection(self.address, context=context)


def run(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] = APPS,
    program: str = "podicorn",
    deadline: float = DEADLINE,
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, for command lines that are meant to end."""
    mark = f"podtest-{uuid.uuid4()}"
    extra = ["--no-control-socket"] if program == "gunicorn" else []
    try:
        return subprocess.run(
            [program_path(program), *extra, *arguments],
            cwd=cwd,
            env=clean_environment(mark) | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline,
            check=False,
        )
    finally:
        processes.kill_marked(f"PODTEST_MARK={mark}")


def copy_apps(target: Path, *names: str) -> Path:
    """Copies apps where a test may change them; returns the directory."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        source = APPS / name
        if source.is_dir():
            shutil.copytree(source, target / name, dirs_exist_ok=True)
        else:
            shutil.copy(source, target / name)
    return target


def settle(seconds: float) -> None:
    """Let time pass in which something must *not* happen. Never used to wait for something."""
    time.sleep(seconds)
