"""The worker type asgi: an event loop, the lifespan protocol, and the engine between them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys

from podicorn.failure import BOOT_ERROR, Failure, trimmed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, MutableMapping
    from typing import Any

    from podicorn.log import Logger
    from podicorn.settings import Settings

    Message = MutableMapping[str, Any]

#: The name of a request's task.
REQUEST = "podicorn-request"
#: How long cancelled tasks may take to end, when the worker leaves.
PATIENCE = 1.0


def import_loop(cfg: Settings) -> None:
    """Imports what a worker's loop is made of: in the fork server, so that it is in memory once."""
    if cfg.asgi_loop != "asyncio":
        # A worker says what is wrong with it.
        with contextlib.suppress(Exception):
            importlib.import_module("uvloop")


class StartupFailedError(Exception):
    """The app has said so, by ``lifespan.startup.failed``."""


class EndedEarlyError(Exception):
    """The app's lifespan call has ended before it answered."""


class Lifespan:
    """One lifespan call of the app (ASGI, "Lifespan Protocol")."""

    def __init__(self, app: Callable[..., Any], state: dict[str, Any], log: Logger) -> None:
        self._app = app
        self._log = log
        self._scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._started: asyncio.Future[None] | None = None
        self._stopped: asyncio.Future[None] | None = None

    async def startup(self) -> None:
        """Raises StartupFailedError, EndedEarlyError, or what the app has raised instead of an answer."""
        loop = asyncio.get_running_loop()
        self._started, self._stopped = loop.create_future(), loop.create_future()
        self._events.put_nowait({"type": "lifespan.startup"})
        self._task = loop.create_task(self._run(), name="podicorn-lifespan")
        await self._started

    async def shutdown(self) -> None:
        """Lets the app end what it has started; what goes wrong is logged."""
        if self._task is None or self._stopped is None or self._task.done():
            return
        self._events.put_nowait({"type": "lifespan.shutdown"})
        try:
            await self._stopped
        except Exception as error:
            said = isinstance(error, StartupFailedError)
            self._log.error("ASGI lifespan shutdown failed: %s", error, exc_info=None if said else error)

    async def _run(self) -> None:
        assert self._started is not None and self._stopped is not None
        try:
            await self._app(self._scope, self._events.get, self._send)
            outcome: BaseException = EndedEarlyError("the app has returned from the lifespan scope without an answer")
        except asyncio.CancelledError:
            outcome = EndedEarlyError("it was cancelled")
        except BaseException as error:
            outcome = error
        if not self._started.done():
            self._started.set_exception(outcome)
        elif not self._stopped.done():
            if isinstance(outcome, EndedEarlyError):
                self._stopped.set_result(None)
            else:
                self._stopped.set_exception(outcome)
                # Nobody may be waiting yet, or ever: then it is told here.
                if self._events.empty():
                    self._log.error("ASGI lifespan ended with an exception", exc_info=outcome)
                    self._stopped.exception()

    async def _send(self, message: Message) -> None:
        assert self._started is not None and self._stopped is not None
        kind = message["type"]
        started = kind.startswith("lifespan.startup.")
        future = self._started if started else self._stopped
        if kind not in _ANSWERS or future.done() or (not started and not self._started.done()):
            raise RuntimeError(f"unexpected message {kind!r} in the lifespan scope")
        if kind.endswith(".complete"):
            future.set_result(None)
        else:
            future.set_exception(StartupFailedError(message.get("message", "")))


_ANSWERS = frozenset(
    ("lifespan.startup.complete", "lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed")
)


class AsgiWorker:
    """The loop of one worker. Make it before the app is imported: old apps look for a loop then."""

    def __init__(self, cfg: Settings, log: Logger) -> None:
        self._cfg = cfg
        self._log = log
        self._pid = os.getpid()
        self._state: dict[str, Any] = {}
        self._lifespan: Lifespan | None = None
        if (cfg.threads or 1) > 1:
            log.warning("the asgi worker has no use for threads: worker_connections bounds what it does at a time")
        if cfg.asgi_eager and sys.version_info < (3, 12):
            log.warning("asgi_eager has no effect: it takes CPython 3.12")
        self._uses_uvloop = False
        self._loop = self._new_loop(cfg.asgi_loop or "auto")
        self._loop.set_exception_handler(self._on_loop_error)
        asyncio.set_event_loop(self._loop)

    def _new_loop(self, kind: str) -> asyncio.AbstractEventLoop:
        if kind in ("auto", "uvloop"):
            try:
                import uvloop
            except ImportError:
                if kind == "uvloop":
                    self._log.warning(
                        "uvloop is not installed (pip install podicorn[uvloop]); the loop is asyncio's own"
                    )
            else:
                self._uses_uvloop = True
                loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
                return loop
        return asyncio.new_event_loop()

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            # A signal that has hit a task: the loop itself has let it out.
            return
        details = "".join(f"\n{name}: {context[name]!r}" for name in sorted(context) if name not in _TOLD)
        self._log.error("%s%s", context.get("message") or "Error in the event loop", details, exc_info=error)

    def start(self, app: Callable[..., Any]) -> None:
        """Runs the app's lifespan up to the end of its startup. Raises Failure if the app cannot serve."""
        mode = self._cfg.asgi_lifespan or "auto"
        if mode == "off":
            return
        lifespan = Lifespan(app, self._state, self._log)
        try:
            self._loop.run_until_complete(lifespan.startup())
        except StartupFailedError as error:
            raise Failure("app", BOOT_ERROR, f"ASGI lifespan startup failed: {error}") from None
        except Exception as error:
            if mode == "on":
                message = "ASGI lifespan startup failed; with --asgi-lifespan auto an app without lifespan is served"
                cause = None if isinstance(error, EndedEarlyError) else trimmed(error)
                raise Failure("app", BOOT_ERROR, message) from cause
            self._log.debug("The app has no ASGI lifespan: %s: %s", type(error).__name__, error)
            return
        self._lifespan = lifespan

    def serve(self, engine: Any) -> None:
        """Serves until the engine is stopped; what a signal handler raises comes out of it."""
        loop = self._loop
        engine.attach(loop, state=self._state, finished=loop.stop)
        loop.add_reader(engine.fileno(), engine.turn)
        loop.call_soon(engine.turn)
        if not self._uses_uvloop:
            # A signal may come to a thread that is not the loop's. uvloop has such a descriptor of its own.
            signal.set_wakeup_fd(engine.wakeup_fileno(), warn_on_full_buffer=False)
        try:
            loop.run_forever()
        except BaseException:
            self._end(engine, graceful=False)
            raise
        self._end(engine, graceful=True)

    def _end(self, engine: Any, *, graceful: bool) -> None:
        # A child that the app has forked: the loop's descriptors are the parent's too.
        if os.getpid() != self._pid:
            return
        loop = self._loop
        with contextlib.suppress(Exception):
            loop.remove_reader(engine.fileno())
        if not self._uses_uvloop:
            signal.set_wakeup_fd(-1)
        engine.close()
        try:
            if graceful:
                self._run(self._cancel(lambda task: task.get_name() == REQUEST))
                if self._lifespan is not None:
                    self._run(self._lifespan.shutdown())
            self._run(self._cancel(lambda task: True))
            self._run(loop.shutdown_asyncgens())
            if graceful:
                self._run(loop.shutdown_default_executor())
        except Exception:
            self._log.exception("The event loop ends with an error")
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Until it is done. A loop that was left by an exception may still want to stop, once."""
        task = self._loop.create_task(coroutine)
        for _ in range(2):
            with contextlib.suppress(RuntimeError):
                self._loop.run_until_complete(task)
            if task.done():
                return

    async def _cancel(self, which: Callable[[asyncio.Task[Any]], bool]) -> None:
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own and which(task)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE)


#: Of the loop's report what is told apart, or says nothing to people.
_TOLD = frozenset(("message", "exception", "source_traceback"))
