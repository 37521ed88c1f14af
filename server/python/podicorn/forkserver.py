"""The fork server: reads the config file, loads the app under --preload, forks workers, runs the hooks of the master.

It serves no request itself and answers the arbiter's requests one by one (PROTOCOL.md §2). The arbiter starts it as
`python -c BOOT CONTROL_FD STACK_FD`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from podicorn import __version__, app, app_metrics, config_file, environment, leaving, loggers, signals, titles
from podicorn.arbiter_view import ArbiterView, Listener
from podicorn.control import ControlSocket, ProtocolError
from podicorn.failure import Failure, first_line, traceback_text
from podicorn.heap import keep_for_good
from podicorn.hooks import Hooks
from podicorn.log import Logger, has_moved_files
from podicorn.loggers import ArbiterRecords
from podicorn.settings import Settings
from podicorn.worker_types import type_of
from podicorn.worker_view import WorkerView

try:
    from podicorn import _engine
except ImportError as error:
    sys.exit(
        f"podicorn: {sys.executable} cannot load the HTTP engine ({error}); install podicorn with this Python's pip"
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from podicorn.reloading import Changes
    from podicorn.worker import WorkerProcess
    from podicorn.worker_types import WorkerType

    Message = dict[str, Any]


#: Of a config file that are no settings: enough for every misspelling, and few enough for one message.
MOST_NAMES = 1000


def _refuse_without_gil() -> None:
    """The engine counts on the GIL: a free-threaded build turns it on when it loads it, unless it is told not to."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        sys.exit(
            "podicorn: PYTHON_GIL=0 or -X gil=0 keeps the GIL off, and the HTTP engine needs it; start without that "
            "setting, then this Python turns the GIL on by itself"
        )


class Started:
    """What a `start` request has set up; workers are forked from it."""

    def __init__(
        self,
        kind: WorkerType,
        log: Any,
        server: ArbiterView,
        *,
        memfd: int,
        doorbell: int,
        nudge: int,
        tracing: Message | None,
    ) -> None:
        self.kind = kind
        #: A `Logger`, or what the settings put in its place.
        self.log: Any = log
        self.server = server
        self.memfd = memfd
        self.doorbell = doorbell
        self.nudge = nudge
        self.tracing = (tracing["parent_based"], tracing["ratio"]) if tracing else None


class ForkServer:
    """Answers requests until the arbiter closes the socket, or until this process is a worker."""

    def __init__(self, control: ControlSocket, stack_fd: int, cwd: str) -> None:
        self._control = control
        self._stack_fd = stack_fd
        self._cwd = cwd
        self._python: dict[str, Any] = {}
        self._hooks = Hooks({})
        self._started: Started | None = None
        #: The arbiter's log records, if the settings send them through Python.
        self._records: ArbiterRecords | None = None
        #: From the workers, under `reload`.
        self._changes: Changes | None = None
        #: Set in the child of a fork.
        self._worker: WorkerProcess | None = None
        self._handlers = {
            "load_config": self._load_config,
            "start": self._start,
            "spawn": self._spawn,
            "hook": self._hook,
        }

    def serve(self) -> WorkerProcess | None:
        """None at the end of the connection; in a forked child the worker that it is to be."""
        while True:
            others = [one for one in (self._records, self._changes) if one is not None]
            if others:
                self._control.wait(others)
            received = self._control.receive()
            if received is None:
                if self._records is not None:
                    # The arbiter's last words.
                    self._records.pass_on()
                return None
            request, fds = received
            reply = self._reply(request, fds)
            if self._worker is not None:
                return self._worker
            if self._started is None or request.get("type") != "start":
                _close(fds)
            try:
                sent = self._control.send(reply)
                if not sent:
                    text = f"the answer to '{request.get('type')}' is too large for the control socket"
                    sent = self._control.send(_failed(request, Failure.internal(text)))
            except ConnectionError:
                return None
            if not sent:
                raise ProtocolError("the control socket takes no answer")

    def _reply(self, request: Message, fds: list[int]) -> Message:
        try:
            kind = request.get("type")
            handler = self._handlers.get(str(kind))
            if handler is None:
                raise Failure.internal(f"the fork server knows no request {kind!r}")
            return {**handler(request, fds), "id": request["id"]}
        except Failure as failure:
            return _failed(request, failure)
        except BaseException as error:
            text = f"'{request.get('type')}' failed in the fork server: {first_line(error)}"
            return _failed(request, Failure.internal(text, traceback_text(error)))

    # ---- requests ----

    def _load_config(self, request: Message, fds: list[int]) -> Message:
        environment.set_env(request["env"])
        base = os.path.join(self._cwd, request["chdir"] or "")
        # As in Gunicorn the file is looked for where the server was started, and runs there; chdir comes with `start`.
        environment.add_python_path(request["pythonpath"], base)
        environment.put_first(self._cwd)
        with loggers.stand_in():
            file = config_file.load(request["path"], request["explicit"], request["known"])
        # The file's code may have set handlers.
        signals.ignore_in_fork_server()
        self._python = file.python
        self._hooks = Hooks(file.python)
        left_in_python = sorted(set(file.python) - set(file.values))
        return {
            "type": "config",
            "path": file.path,
            "values": file.values,
            "python": left_in_python,
            "others": file.others[:MOST_NAMES],
            "cwd": os.getcwd(),
        }

    def _start(self, request: Message, fds: list[int]) -> Message:
        descriptions = request["listeners"]
        with_records = bool(request.get("records"))
        if len(fds) != 3 + with_records + len(descriptions):
            raise Failure.internal(f"'start' came with {len(fds)} descriptors for {len(descriptions)} listeners")
        memfd, doorbell, nudge, *sockets = fds
        records_fd = sockets.pop() if with_records else -1
        cfg = Settings(request["settings"], self._python, descriptions)
        environment.set_env(cfg.raw_env or ())
        app_metrics.share(request.get("app_metrics"))
        environment.enter(cfg.chdir or self._cwd)
        environment.add_python_path(cfg.pythonpath, os.getcwd())
        titled = titles.set_title(f"fork server [{cfg.proc_name}]")
        if cfg.reload:
            # Before anything is patched.
            from podicorn.reloading import Changes
        kind = type_of(cfg)
        kind.prepare_tls()
        kind.import_shared()
        signals.dump_stacks_to(self._stack_fd, kind.dump_more)
        log = kind.make_log()
        if with_records:
            self._records = ArbiterRecords(records_fd, log)
            self._records.pass_on()
        if kind.why_python_tls is not None:
            log.warning("TLS by Python's ssl, because %s: slower than the engine's own", kind.why_python_tls)
        server = ArbiterView(
            pid=request["arbiter_pid"],
            cfg=cfg,
            log=log,
            app=app.Application(cfg.wsgi_app, kind.failing_app() if cfg.reload and not cfg.check_config else None),
            listeners=[Listener(fd, text) for fd, text in zip(sockets, descriptions, strict=True)],
            generation=request["generation"],
        )
        kind.take_sockets(server)
        if cfg.reload and not cfg.check_config:
            self._changes = Changes(cfg, self._cwd, server.pid, log)
        if not request.get("hooks_run"):
            self._hooks.require("on_reload" if request.get("reload") else "on_starting", server)
        if cfg.preload_app:
            self._preload(server, kind)
        else:
            keep_for_good()
        tracing = request.get("tracing")
        self._started = Started(kind, log, server, memfd=memfd, doorbell=doorbell, nudge=nudge, tracing=tracing)
        threads = [] if kind.threads_survive else _other_threads()
        return {"type": "started", "preloaded": bool(cfg.preload_app), "threads": threads, "titled": titled}

    def _preload(self, server: ArbiterView, kind: WorkerType) -> None:
        signals.disregard_during_import()
        try:
            server.app.wsgi()
        except BaseException as error:
            raise app.failure(server.app.uri, error) from error
        finally:
            # The app may have changed any of these.
            signals.ignore_in_fork_server()
            signals.dump_stacks_to(self._stack_fd, kind.dump_more)

    def _spawn(self, request: Message, fds: list[int]) -> Message:
        from podicorn.worker import Claim

        started = self._ready(request)
        if len(fds) != 1:
            raise Failure.internal(f"'spawn' came with {len(fds)} descriptors; want the stack pipe")
        claim = Claim(
            memfd=started.memfd,
            doorbell=started.doorbell,
            nudge=started.nudge,
            slot=request["slot"],
            epoch=request["epoch"],
            stack_fd=fds[0],
            tracing=started.tracing,
            changes=self._changes,
        )
        worker = started.kind.make_worker(started.server, request["age"])
        process = started.kind.make_process(worker, started.server, self._hooks, claim)
        process.tls = started.kind.tls
        _reopen_moved_files(started.log)
        started.server.worker_age = request["age"]
        try:
            self._hooks.call("pre_fork", started.server, worker)
        except BaseException as error:
            raise Failure("hook", 1, f"hook pre_fork failed: {first_line(error)}", traceback_text(error)) from error
        # Else the worker would write what is buffered here once more.
        leaving.flush()
        try:
            pid = _engine.fork_worker(started.server.pid)
        except OSError as error:
            raise Failure("fork", 1, f"cannot fork a worker: {error.strerror or error}") from error
        if pid == 0:
            self._worker = process
            self._control.close()
            if self._records is not None:
                self._records.close()
            os.close(self._stack_fd)
            return {}
        worker.pid = pid
        started.server.add_worker(worker)
        return {"type": "spawned", "slot": request["slot"], "pid": pid}

    def _hook(self, request: Message, fds: list[int]) -> Message:
        started = self._ready(request)
        server, name = started.server, request["name"]
        _reopen_moved_files(started.log)
        arguments: tuple[Any, ...] = (server,)
        if name == "child_exit":
            worker = server.remove_worker(request["pid"])
            if worker is None:
                worker = WorkerView(server, request["age"], 0)
                worker.pid = request["pid"]
            worker.alive = False
            arguments = (server, worker)
        elif name == "nworkers_changed":
            server.num_workers = request["new"]
            arguments = (server, request["new"], request["old"])
        try:
            self._hooks.call(name, *arguments)
        except BaseException as error:
            return {"type": "hook_done", "error": traceback_text(error)}
        return {"type": "hook_done", "error": None}

    def _ready(self, request: Message) -> Started:
        if self._started is None:
            raise Failure.internal(f"'{request['type']}' came before 'start'")
        return self._started


def _reopen_moved_files(log: Any) -> None:
    """The fork server hears no USR1."""
    if isinstance(log, Logger):
        log.reopen_moved_files()
    elif has_moved_files():
        log.reopen_files()


def _close(fds: list[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def _failed(request: Message, failure: Failure) -> Message:
    return {
        "type": "failed",
        "id": request["id"],
        "kind": failure.kind,
        "exit_code": failure.exit_code,
        "message": " ".join(failure.message.split()),
        "traceback": failure.traceback,
    }


def _other_threads() -> list[str]:
    """Python's threads that a fork loses."""
    import threading

    return [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]


def _prepare_process(stack_fd: int, arbiter_pid: int) -> None:
    """Everything that the rest relies on, before the first request is read."""
    os.set_inheritable(stack_fd, False)
    signals.ignore_in_fork_server()
    _engine.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != arbiter_pid:
        os._exit(0)
    signals.dump_stacks_to(stack_fd)
    titles.prepare()
    # In a pod stdout is a pipe; what the app prints is a log and should be seen line by line.
    with contextlib.suppress(Exception):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = environment.arbiter_argv(arbiter_pid)
    os.environ["SERVER_SOFTWARE"] = f"podicorn/{__version__}"


def main() -> NoReturn:
    """Runs the fork server, and in every process that it forks, the worker."""
    _refuse_without_gil()
    arbiter_pid = os.getppid()
    control_fd, stack_fd = (int(text) for text in sys.argv[1:3])
    control = ControlSocket(control_fd)
    _prepare_process(stack_fd, arbiter_pid)
    worker = ForkServer(control, stack_fd, environment.logical_cwd()).serve()
    if worker is not None:
        # By now no frame of the fork server is left that the worker's exit could pass through.
        worker.main()
    # The exit handlers of a preloaded app belong to its workers, which have run them.
    leaving.flush()
    os._exit(0)
