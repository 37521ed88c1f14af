"""Worker classes that others have made for Gunicorn: `-k package.module.Class`.

The class runs its own loop on its own sockets; what Gunicorn's arbiter would be to it, this module is. The installed
package `gunicorn` is its library, and nothing of that package's arbiter runs.
"""

from __future__ import annotations

import os
import signal
import sys

from podicorn import _engine, environment, signals, titles, tls, worker_class
from podicorn.failure import BOOT_ERROR, Failure, first_line, traceback_text
from podicorn.privileges import become
from podicorn.worker import WorkerProcess
from podicorn.worker_types import WorkerType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from podicorn.arbiter_view import ArbiterView
    from podicorn.hooks import Hooks
    from podicorn.settings import Settings
    from podicorn.worker import Claim


class ThirdParty(WorkerType):
    """Loads the class and keeps what all its workers are made with."""

    def __init__(self, cfg: Settings) -> None:
        super().__init__(cfg)
        signals.disregard_during_import()
        try:
            self._class = worker_class.load(cfg.worker_class)
        finally:
            # The import may have set handlers.
            signals.ignore_in_fork_server()
        from podicorn import gunicorn_library

        self._library = gunicorn_library
        self._config = gunicorn_library.make_config(cfg)
        self._counter = RequestCounter(self._config)
        self._app: Any = None
        self._log: Any = None

    def prepare_tls(self) -> None:
        """The class makes its own context of the settings: here it is only seen whether that can be done."""
        tls.python_context(self.cfg)

    def make_log(self) -> Any:
        """Gunicorn's logger and ours in one, or what the settings put in its place."""
        if self.cfg.python_logging:
            from podicorn import loggers

            # What Gunicorn's own worker classes call may be more than our stand-in has.
            self._log = loggers.make(self.cfg, self._library.plain_logger, self._config)
        else:
            self._log = self._library.LibraryLogger(self._config)
        return self._log

    def failing_app(self) -> None:
        """Nobody knows which kind of app the class would call."""

    def take_sockets(self, server: ArbiterView) -> None:
        """Hooks and workers get the sockets as Gunicorn's objects."""
        server.LISTENERS = self._library.make_sockets(server.LISTENERS, self._config, self._log)
        self._app = self._library.LibraryApplication(server.app, self._config)
        # What Gunicorn's arbiter calls on a class before it makes the first worker.
        for name, arguments in (("setup", ()), ("check_config", (self._config, self._log))):
            method = getattr(self._class, name, None)
            if method is None:
                continue
            try:
                method(*arguments)
            except BaseException as error:
                text = f"worker class {self._class.__qualname__}: {name}() failed: {first_line(error)}"
                raise Failure.config(text, traceback_text(error)) from error
        signals.ignore_in_fork_server()

    def make_worker(self, server: ArbiterView, age: int) -> Any:
        """The class's own worker object, as Gunicorn's arbiter makes it."""
        timeout = float(self.cfg.timeout or 0) / 2
        try:
            return self._class(age, server.pid, server.LISTENERS, self._app, timeout, self._config, server.log)
        except BaseException as error:
            text = f"worker class {self._class.__qualname__}: no worker could be made: {first_line(error)}"
            raise Failure("app", BOOT_ERROR, text, traceback_text(error)) from error

    def make_process(self, worker: Any, server: ArbiterView, hooks: Hooks, claim: Claim) -> WorkerProcess:
        """What runs in the process after the fork."""
        return ThirdPartyProcess(worker, server, hooks, claim, self._counter)


class RequestCounter:
    """Counts the requests of those classes that call `pre_request` and `post_request`, as Gunicorn's own do."""

    def __init__(self, config: Any) -> None:
        self._slot: Any = None
        self._pre_request = config.pre_request
        self._post_request = config.post_request
        config.settings["pre_request"].value = self._begin
        config.settings["post_request"].value = self._end

    def write_to(self, slot: Any) -> None:
        """From now on, in the worker, this slot gets the counts."""
        self._slot = slot

    def _begin(self, worker: Any, req: Any) -> None:
        if self._slot is not None:
            req.podicorn_entry = self._slot.begin(req.method, req.path)
        self._pre_request(worker, req)

    def _end(self, worker: Any, req: Any, environ: Any, resp: Any) -> None:
        entry = getattr(req, "podicorn_entry", None)
        if entry is not None:
            # Without a response the class answers 500 by itself, after this.
            entry.end(getattr(resp, "status_code", None) or 500)
        self._post_request(worker, req, environ, resp)


class ThirdPartyProcess(WorkerProcess):
    """One worker of such a class."""

    #: Made by the class.
    _worker: Any

    def __init__(self, worker: Any, server: ArbiterView, hooks: Hooks, claim: Claim, counter: RequestCounter) -> None:
        super().__init__(worker, server, hooks, claim)
        self._counter = counter
        self._runs = False
        self._ready = False

    # ---- boot ----

    def _boot(self) -> None:
        worker, cfg = self._worker, self._server.cfg
        self._counter.write_to(self._slot)
        worker.tmp.bind(self._on_beat)
        signals.dump_stacks_to(self._claim.stack_fd)
        # For the time in which the class has none of its own.
        signals.install_in_worker(term=self._on_term, quick=self._on_quit, abort=self._on_abort, reopen=self._on_usr1)
        titles.set_title(f"worker [{cfg.proc_name}]")
        self._boot_hook("post_fork", self._server, worker)
        environment.set_env(cfg.raw_env or ())
        become(cfg.uid, cfg.gid, bool(cfg.initgroups))
        self._die_with_arbiter()
        from podicorn import gunicorn_library

        gunicorn_library.keep_user()
        os.register_at_fork(after_in_child=_forget_signals)
        self._log.info("Booting worker with pid: %s", worker.pid)

    # ---- service ----

    def _serve(self) -> None:
        """The class's life: `init_process` installs its signals, loads the app and calls `run`."""
        worker = self._worker
        run = worker.run

        def run_watched() -> Any:
            signals.serve()
            self._handle_what_is_left_to_chance()
            self._runs = True
            self._watch_files()
            if not self._server.cfg.timeout:
                # Nobody asks such a worker for a heartbeat.
                self._tell_ready()
            try:
                return run()
            finally:
                # It is leaving: the arbiter's TERM, which follows the wish for another worker, says nothing new, and
                # classes that leave signals to chance would die of it in the middle of their last hook.
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                self._leave_if_done()

        worker.run = run_watched
        try:
            worker.init_process()
        finally:
            worker.tmp.close()

    def _handle_what_is_left_to_chance(self) -> None:
        """A class that leaves these at their defaults would die by them, without a hook and without an exit code.

        Uvicorn's does: after it has stopped in good order it sends the signal to itself once more.
        """
        handlers = {
            signal.SIGTERM: self._on_term,
            signal.SIGINT: self._on_quit,
            signal.SIGQUIT: self._on_quit,
            signal.SIGABRT: self._on_abort,
        }
        for number, handler in handlers.items():
            if signal.getsignal(number) is signal.SIG_DFL:
                signals.handle_here(number, handler)

    def _on_beat(self) -> None:
        """The class has called `notify`. It runs, then, and what its `run` does first, it has done."""
        self._slot.beat()
        if not self._ready:
            if self._runs or self._worker.booted:
                self._tell_ready()
        else:
            self._leave_if_done()

    def _leave_if_done(self) -> None:
        """It may be its own wish, after max_requests; the arbiter knows whether it was one of its own."""
        if self._ready and not self._worker.alive and self._killed_at is None:
            self._killed_at = self._end()
            self._slot.set_state(_engine.DRAINING)
            self._slot.ask_for_replacement()

    def _tell_ready(self) -> None:
        self._ready = True
        self._slot.set_state(_engine.READY)

    # ---- signals that the class does not handle ----

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        self._worker.alive = False
        if self._leaving or self._asked is not None:
            return
        self._asked = 0
        sys.exit(0)


def _forget_signals() -> None:
    """In a child that the app has forked, which is no worker: handlers of the class or of its loop are not for it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT, signal.SIGUSR1, signal.SIGWINCH):
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
