"""The arbiter's side of the control socket, for tests of the fork server."""

import ctypes
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from hooks_known import KNOWN

HERE = Path(__file__).parent
BOOT = (
    f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); sys.path.insert(0, {str(HERE)!r}); "
    "import podicorn, fake_engine; podicorn._engine = sys.modules['podicorn._engine'] = fake_engine; "
    f"del sys.path[:2]; sys.path.append({str(HERE.parent)!r}); "
    "sys.path[:1] = [p for p in sys.path[:1] if p]; from podicorn.forkserver import main; main()"
)
DEADLINE = 30.0

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper(on):
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def default_settings(**changes):
    """The merged settings, as far as the Python side reads them."""
    settings = {
        "wsgi_app": "app:application",
        "chdir": None,
        "pythonpath": None,
        "raw_env": [],
        "preload_app": False,
        "workers": 1,
        "worker_class": "sync",
        "worker_type": "sync",
        "max_requests": 0,
        "max_requests_jitter": 0,
        "timeout": 30,
        "graceful_timeout": 30,
        "user": os.geteuid(),
        "group": os.getegid(),
        "initgroups": False,
        "umask": 0,
        "proc_name": "app",
        "default_proc_name": "podicorn",
        "loglevel": "info",
        "log_format": "text",
        "python_logging": False,
        "reload": False,
        "spew": False,
        "check_config": False,
        "errorlog": "-",
        "accesslog": None,
        "capture_output": False,
    }
    assert set(changes) <= set(settings), changes
    return settings | changes


class Arbiter:
    """A fork server with its control socket, stack pipe and captured stderr."""

    def __init__(self, cwd, environment=None, python_arguments=()):
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(DEADLINE)
        self.stacks, stack_write = os.pipe()
        self._err, err_write = os.pipe()
        self._out, out_write = os.pipe()
        env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PWD")}
        self.process = subprocess.Popen(
            [sys.executable, *python_arguments, "-c", BOOT, str(theirs.fileno()), str(stack_write)],
            pass_fds=(theirs.fileno(), stack_write),
            stdin=subprocess.DEVNULL,
            stdout=out_write,
            stderr=err_write,
            cwd=cwd,
            env=env | {"PYTHONDONTWRITEBYTECODE": "1"} | (environment or {}),
        )
        for fd in (stack_write, err_write, out_write):
            os.close(fd)
        theirs.close()
        self._said = {self._err: "", self._out: ""}
        self._id = 0
        self.memfd = os.memfd_create("scoreboard")
        self.doorbell = os.eventfd(0) if hasattr(os, "eventfd") else os.memfd_create("doorbell")
        self.nudge = os.memfd_create("nudge")
        self.workers = set()

    # ---- requests ----

    def request(self, kind, fds=(), **fields):
        self.send(kind, fds, **fields)
        return self.receive()

    def send(self, kind, fds=(), **fields):
        self._id += 1
        socket.send_fds(self._socket, [json.dumps({"type": kind, "id": self._id, **fields}).encode()], list(fds))

    def receive(self):
        packet = self._socket.recv(1 << 20)
        assert packet, f"the fork server is gone; it said:\n{self.err()}"
        reply = json.loads(packet)
        assert reply["id"] == self._id
        return reply

    def load_config(self, path=None, explicit=None, chdir=None, pythonpath=None, env=(), known=KNOWN):
        explicit = path is not None if explicit is None else explicit
        return self.request(
            "load_config",
            path=path,
            explicit=explicit,
            chdir=chdir,
            pythonpath=pythonpath,
            env=list(env),
            known=list(known),
        )

    def start(self, reload=False, hooks_run=False, **changes):
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        description = {"family": "tcp", "address": f"http://127.0.0.1:{port}", "host": "127.0.0.1", "port": port}
        try:
            return self.request(
                "start",
                [self.memfd, self.doorbell, self.nudge, listener.fileno()],
                settings=default_settings(**changes),
                generation=1,
                arbiter_pid=os.getpid(),
                reload=reload,
                hooks_run=hooks_run,
                listeners=[description],
            )
        finally:
            listener.close()

    def boot(self, **changes):
        """Up to `started`, with the config file of the working directory if there is one."""
        config = self.load_config()
        assert config["type"] == "config", config
        started = self.start(**changes)
        assert started["type"] == "started", started
        return started

    def spawn(self, age=1, slot=0, epoch=1):
        read, write = os.pipe()
        try:
            reply = self.request("spawn", [write], slot=slot, epoch=epoch, age=age)
        finally:
            os.close(write)
        if reply["type"] != "spawned":
            os.close(read)
            return reply
        self.workers.add(reply["pid"])
        reply["stacks"] = read
        return reply

    def ready_worker(self, **options):
        mark = len(self.err())
        reply = self.spawn(**options)
        self.wait_err("engine: runs", mark)
        return reply["pid"]

    def hook(self, name, **fields):
        return self.request("hook", name=name, **fields)

    # ---- what was said ----

    def _read(self, fd):
        while select.select([fd], [], [], 0)[0]:
            piece = os.read(fd, 65536)
            if not piece:
                break
            self._said[fd] += piece.decode(errors="replace")
        return self._said[fd]

    def err(self):
        return self._read(self._err)

    def out(self):
        return self._read(self._out)

    def wait_err(self, pattern, since=0):
        return self._wait(self._err, pattern, since)

    def wait_out(self, pattern, since=0):
        return self._wait(self._out, pattern, since)

    def _wait(self, fd, pattern, since):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            found = re.search(pattern, self._read(fd)[since:], re.MULTILINE)
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"never said {pattern!r}; it said:\n{self._read(fd)}")

    def wait_stack(self, fd, text):
        """faulthandler writes a dump in many small pieces."""
        dump = b""
        while text not in dump.decode():
            assert select.select([fd], [], [], DEADLINE)[0], f"no {text!r} in:\n{dump.decode()}"
            dump += os.read(fd, 65536)

    # ---- ends ----

    def wait_worker(self, pid):
        """The worker's exit code, minus the signal that killed it."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self.workers.discard(pid)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        raise AssertionError(f"worker {pid} does not exit; stderr:\n{self.err()}")

    def hang_up(self):
        """Closes the socket; the fork server's exit code."""
        self._socket.close()
        return self.process.wait(DEADLINE)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in self.workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._socket.close()
        for fd in (self.stacks, self._err, self._out, self.memfd, self.doorbell, self.nudge):
            os.close(fd)
