"""A worker's process, from the fork to its exit. The order is that of PROTOCOL.md §4."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time

from podicorn import _engine, app, app_metrics, environment, gthread, leaving, signals, titles
from podicorn.failure import BOOT_ERROR, UNHANDLED, Failure, first_line, trimmed
from podicorn.heap import give_up
from podicorn.log import ERROR_LOGGER, RecordCounter, running_trace
from podicorn.oom_score import offer_to_the_oom_killer
from podicorn.privileges import become
from podicorn.stacks import dump_tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn

    from podicorn.arbiter_view import ArbiterView
    from podicorn.hooks import Hooks
    from podicorn.reloading import Changes
    from podicorn.worker_view import WorkerView

#: Left of a worker's time for the arbiter to see the exit before it would kill.
MARGIN = 1.0
#: Left of it for what an asgi worker has to do behind its last request.
ASGI_MARGIN = 2.0
#: How long an exit that is not graceful waits for threads of the app.
QUICK_PATIENCE = 1.0
#: How long before the arbiter kills a worker leaves, whatever else there would be to do.
LAST_MOMENT = 0.2


class Claim:
    """The slot of the scoreboard that the worker is for, and the descriptors that came with it."""

    def __init__(
        self,
        *,
        memfd: int,
        doorbell: int,
        nudge: int,
        slot: int,
        epoch: int,
        stack_fd: int,
        tracing: tuple[bool, float] | None,
        changes: Changes | None = None,
    ) -> None:
        self.memfd = memfd
        self.doorbell = doorbell
        self.nudge = nudge
        self.slot = slot
        self.epoch = epoch
        self.stack_fd = stack_fd
        self.tracing = tracing
        #: Where to tell of files that have changed, under `reload`.
        self.changes = changes


class WorkerProcess:
    """One worker. `main` runs in the forked process and never returns."""

    #: What adds to a dump of the threads' stacks, where that is not all.
    dump_more: Callable[[int], None] | None = None

    def __init__(self, worker: WorkerView, server: ArbiterView, hooks: Hooks, claim: Claim) -> None:
        self._worker = worker
        self._server = server
        self._hooks = hooks
        self._claim = claim
        self._log = worker.log
        self._slot: Any = None
        self._engine: Any = None
        #: The event loop of an asgi worker.
        self._asgi: Any = None
        #: The exit code that a signal has asked for.
        self._asked: int | None = None
        #: The exit has begun: signals no longer raise.
        self._leaving = False
        self._killed_at: float | None = None
        #: Of the worker type.
        self.tls: Any = None

    def main(self) -> NoReturn:
        """Claims the slot, boots, serves, exits."""
        claim = self._claim
        try:
            self._slot = _engine.Slot(claim.memfd, claim.slot, claim.epoch, claim.doorbell, claim.nudge, claim.tracing)
        except _engine.SlotLost:
            os._exit(0)
        except BaseException:
            self._log.exception("a worker cannot use the scoreboard")
            os._exit(BOOT_ERROR)
        self._worker.pid = os.getpid()
        app_metrics.belong_to(f"slot{claim.slot}")
        gc.callbacks.append(self._slot.collections())
        logging.getLogger(ERROR_LOGGER).addHandler(RecordCounter(self._slot.logged))
        # While that is still allowed: a process that has changed its user may not.
        offer_to_the_oom_killer()
        code = self._run()
        # The app may have forked: only the worker itself leaves its slot.
        if os.getpid() != self._worker.pid:
            leaving.flush()
            os._exit(code)
        self._leave(code)

    def _run(self) -> int:
        """The worker's life; the exit code."""
        try:
            self._boot()
            if self._asked is None:
                self._serve()
        except BaseException as error:
            return self._code_of(error)
        finally:
            self._leaving = True
        return self._asked or 0

    def _code_of(self, error: BaseException) -> int:
        if self._asked is not None:
            # Whatever the app has made of the SystemExit that a signal raised.
            return self._asked
        if isinstance(error, SystemExit):
            return leaving.exit_code(error)
        if isinstance(error, Failure):
            self._log.error("%s", error.message, exc_info=error.__cause__)
            return error.exit_code
        self._log.error("Exception in worker process", exc_info=error)
        return UNHANDLED if self._worker.booted else BOOT_ERROR

    # ---- boot ----

    def _boot(self) -> None:
        worker, cfg = self._worker, self._worker.cfg
        # The stack pipe first, so that a handler is there when the signals are let in.
        signals.dump_stacks_to(self._claim.stack_fd, self.dump_more)
        signals.install_in_worker(term=self._on_term, quick=self._on_quit, abort=self._on_abort, reopen=self._on_usr1)
        titles.set_title(f"worker [{cfg.proc_name}]")
        self._boot_hook("post_fork", self._server, worker)
        environment.set_env(cfg.raw_env or ())
        become(cfg.uid, cfg.gid, bool(cfg.initgroups))
        self._die_with_arbiter()
        self._log.info("Booting worker with pid: %s", worker.pid)
        if cfg.worker_type == "asgi":
            # Imported where it is used: asyncio is large.
            from podicorn.asgi import AsgiWorker

            self._asgi = AsgiWorker(cfg, self._log)
            signals.dump_stacks_to(self._claim.stack_fd, dump_tasks)
        if cfg.spew:
            from podicorn.spew import spew

            spew()
        worker.wsgi = self._load_app()
        self._watch_files()
        self._engine = worker.engine = self._make_engine()
        self._boot_hook("post_worker_init", worker)
        if self._asgi is not None:
            self._asgi.start(worker.wsgi)

    def _watch_files(self) -> None:
        """Under `reload`: what is loaded by now, and the files of a traceback that is served instead."""
        if self._claim.changes is None:
            return
        app = self._server.app
        if app.failure is not None:
            self._log.error("%s\n%s", app.failure.message, app.failure.traceback)
        self._worker.reloader = self._claim.changes.make_watcher()
        self._worker.reloader.start(app.failed_files)

    def _make_engine(self) -> Any:
        """What serves: anything with the engine's `run`, `stop`, `quit`, `reopen_logs` and `requests`."""
        return _engine.Engine(
            self._slot,
            [(listener.fileno(), dict(listener.description)) for listener in self._server.LISTENERS],
            self._options(),
            self._worker.wsgi,
            self._error_log(),
        )

    def _error_log(self) -> Any:
        """A logger of somebody's own is called itself, since its methods may do more than those of `logging`."""
        return self._log if self._worker.cfg.python_logging else self._log.error_log

    def _boot_hook(self, name: str, *arguments: Any) -> None:
        try:
            self._hooks.call(name, *arguments)
        except BaseException as error:
            raise Failure("hook", BOOT_ERROR, f"hook {name} failed: {first_line(error)}") from trimmed(error)

    def _die_with_arbiter(self) -> None:
        """After the change of user, which clears it; and the arbiter may have died before it was set."""
        _engine.set_parent_death_signal(signal.SIGTERM)
        if os.getppid() != self._worker.ppid:
            raise SystemExit(0)

    def _load_app(self) -> Any:
        try:
            return self._worker.app.wsgi()
        except BaseException as error:
            failure = app.failure(self._worker.app.uri, error)
            raise failure from (trimmed(error) if failure.traceback is not None else None)

    def _options(self) -> dict[str, Any]:
        options = self._worker.cfg.to_dict()
        # The jitter was drawn for this worker and is already in the number.
        options["max_requests"] = self._worker.max_requests
        options["max_requests_jitter"] = 0
        options["worker"] = self._worker
        if self._worker.cfg.python_logging:
            # It writes the access log, too.
            options["accesslog"] = None
            if getattr(self._log, "access_log_enabled", True):
                options["access_logger"] = self._log
        if self._worker.cfg.log_format == "json":
            options["log_trace"] = running_trace
        options["tls"] = self.tls
        if self._asgi is not None:
            # What is cancelled then, and the lifespan's shutdown, come out of the same time.
            options["end_margin"] = ASGI_MARGIN
        for name in ("pre_request", "post_request"):
            options[name] = self._hooks.get(name)
        return options

    # ---- service ----

    def _serve(self) -> None:
        # A TERM during the boot has raised; one from here on is the engine's.
        self._worker.booted = True
        signals.serve()
        self._slot.set_state(_engine.READY)
        self._run_engine()

    def _run_engine(self) -> None:
        """Serves until stopped."""
        cfg = self._worker.cfg
        if self._asgi is not None:
            self._asgi.serve(self._engine)
        elif cfg.worker_type == "gthread":
            gthread.serve(self._engine)
        else:
            self._engine.run()

    def _leave(self, code: int) -> NoReturn:
        self._slot.set_state(_engine.EXITING)
        self._log.info("Worker exiting (pid: %s)", self._worker.pid)
        try:
            self._hooks.call("worker_exit", self._server, self._worker)
        except BaseException:
            self._log.exception("hook worker_exit failed")
        self._worker.alive = False
        killed_at = self._killed_at or self._end()
        leaving.bound(self._patience(code, killed_at), killed_at - LAST_MOMENT, code, self._log, self._let_go)
        sys.exit(code)

    def _let_go(self) -> None:
        """Of the app, so that its memory can be cleared: Python's collector does not see what the engine holds."""
        self._engine = self._asgi = self._worker.engine = self._worker.wsgi = None
        self._worker.app.callable = None
        give_up(shared=bool(self._worker.cfg.preload_app))

    def _patience(self, code: int, killed_at: float) -> float:
        if code != 0 or (self._killed_at is None and not self._worker.booted):
            return QUICK_PATIENCE
        left = killed_at - time.monotonic()
        return max(left - MARGIN, min(QUICK_PATIENCE, left - LAST_MOMENT), 0.0)

    def _end(self) -> float:
        """When the arbiter will kill this worker, if it is told to stop now."""
        end: float | None = self._slot.drain_end
        return time.monotonic() + float(self._worker.cfg.graceful_timeout or 0) if end is None else end

    # ---- signals ----

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        worker = self._worker
        worker.alive = False
        if self._leaving or self._asked is not None:
            return
        if self._killed_at is None:
            self._killed_at = self._end()
        if worker.booted:
            self._engine.stop()
        else:
            # Nothing has been accepted yet, so there is nothing to finish.
            self._asked = 0
            raise SystemExit(0)

    def _on_quit(self, number: int, frame: FrameType | None) -> None:
        self._stop_now("worker_int", 0)

    def _on_abort(self, number: int, frame: FrameType | None) -> None:
        self._worker.aborted = True
        self._stop_now("worker_abort", 1)

    def _stop_now(self, hook: str, code: int) -> None:
        self._worker.alive = False
        if self._leaving or self._asked is not None:
            return
        self._asked = code
        self._killed_at = time.monotonic() + QUICK_PATIENCE
        try:
            self._hooks.call(hook, self._worker)
        except Exception:
            self._log.exception("hook %s failed", hook)
        # The app may swallow the exit; then the engine ends after this request.
        if self._engine is not None:
            self._engine.quit()
        raise SystemExit(code)

    def _on_usr1(self, number: int, frame: FrameType | None) -> None:
        self._reopen_logs()

    def _reopen_logs(self) -> None:
        self._log.reopen_files()
        if self._engine is not None:
            self._engine.reopen_logs()
