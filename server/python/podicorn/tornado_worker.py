"""The worker type tornado: Tornado's own HTTP server on the listening sockets, in an `IOLoop` of the worker's.

A `WebSocketHandler` takes the connection away from the server, so that Tornado must own it: the engine has no part in
this type. What the engine would have seen of requests is told to the scoreboard by `_Exchange`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import select
import socket
import sys
import time

from podicorn import _engine, tls
from podicorn.failure import Failure
from podicorn.worker import MARGIN, WorkerProcess
from podicorn.worker_types import WorkerType

try:
    import tornado
    from tornado.httpserver import HTTPServer
    from tornado.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate
    from tornado.ioloop import IOLoop, PeriodicCallback
    from tornado.websocket import WebSocketHandler
    from tornado.wsgi import WSGIContainer
except ImportError as error:
    raise Failure.config(
        f"the worker type tornado needs the package tornado, which {sys.executable} cannot import ({error}); "
        "install it with: pip install podicorn[tornado]"
    ) from error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from typing import Any

    from tornado.httputil import HTTPConnection, HTTPHeaders, RequestStartLine, ResponseStartLine
    from tornado.iostream import IOStream

    from podicorn.arbiter_view import ArbiterView, Listener
    from podicorn.hooks import Hooks
    from podicorn.log import Logger
    from podicorn.settings import Settings
    from podicorn.worker import Claim
    from podicorn.worker_view import WorkerView

OLDEST = (6, 4)
#: How long a connection without a request may stay when the worker is to end: a request may be on its way.
SILENCE = 1.0
#: How often a worker that is to end looks whether it can.
PAUSE = 0.05
#: "Going away" (RFC 6455 §7.4.1).
GOING_AWAY = 1001


class Tornado(WorkerType):
    """Checks that Tornado is there."""

    def __init__(self, cfg: Settings) -> None:
        super().__init__(cfg)
        if tornado.version_info < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            raise Failure.config(
                f"the worker type tornado needs tornado {wanted} or newer, and here is {tornado.version}; "
                "install it with: pip install podicorn[tornado]"
            )

    def prepare_tls(self) -> None:
        """Tornado has Python's ssl."""
        self.tls = tls.python_context(self.cfg)

    def make_process(self, worker: WorkerView, server: ArbiterView, hooks: Hooks, claim: Claim) -> WorkerProcess:
        """What runs in the process after the fork."""
        return TornadoProcess(worker, server, hooks, claim)


class TornadoProcess(WorkerProcess):
    """One worker."""

    def _load_app(self) -> Any:
        # A loop that the app has made under --preload has the fork server's epoll. Apps look for a loop at import.
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        return super()._load_app()

    def _make_engine(self) -> Any:
        return TornadoServer(self._slot, self._loop, self._server.LISTENERS, self._worker, self._log, context=self.tls)


class TornadoServer:
    """Where other types have the engine: `run`, `stop`, `quit`, `requests`."""

    def __init__(
        self,
        slot: Any,
        loop: asyncio.AbstractEventLoop,
        listeners: list[Listener],
        worker: WorkerView,
        log: Logger,
        *,
        context: ssl.SSLContext | None = None,
    ) -> None:
        cfg = worker.cfg
        self._slot = slot
        self._loop = loop
        self._ppid = worker.ppid
        self._log = log
        self._max_requests = worker.max_requests
        self._graceful_timeout = float(cfg.graceful_timeout or 0)
        self._beat_period = min(1.0, float(cfg.timeout) / 4) if cfg.timeout else 1.0
        self._pid = os.getpid()
        #: How many requests the app was given.
        self.requests = 0
        #: No request is to be the first of more.
        self.draining = False
        self._asked = False
        #: Open connections, those that a handler has detached (WebSockets) too.
        self._streams: set[IOStream] = set()
        #: By Tornado's connection: the request that it carries or waits for.
        self._exchanges: dict[object, _Exchange] = {}
        self._draining_task: asyncio.Task[None] | None = None
        # Takes the loop over that is the thread's.
        self._io_loop = IOLoop.current()
        self._server = _Server(
            _native(worker.wsgi),
            no_keep_alive=(cfg.keepalive or 0) <= 0,
            idle_connection_timeout=_patience(cfg),
            max_body_size=cfg.limit_request_body or None,
            ssl_options=context,
        )
        self._server.owner = self
        self._sockets = [socket.socket(fileno=listener.fileno()) for listener in listeners]
        for listening in self._sockets:
            listening.setblocking(False)
        _follow_our_logs(log, access=bool(getattr(log, "access_log_enabled", cfg.accesslog)))
        os.register_at_fork(after_in_child=self._leave_in_child)

    # ---- the part of the engine ----

    def run(self) -> None:
        """Serves until stopped; what a signal handler raises comes out of it."""
        self._server.add_sockets(self._sockets)
        heartbeat = PeriodicCallback(self._beat, self._beat_period * 1000)
        heartbeat.start()
        self._beaten_at = time.monotonic()
        self._beat()
        self._loop.run_forever()
        if os.getpid() != self._pid:
            return
        heartbeat.stop()
        self._server.stop()
        for stream in list(self._streams):
            stream.close()
        self._loop.run_until_complete(self._end_tasks())

    def stop(self) -> None:
        """Finishes what has begun, then `run` returns. For signal handlers too."""
        self._loop.call_soon_threadsafe(self._begin_to_drain)

    def quit(self) -> None:
        """`run` returns as soon as it can."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def reopen_logs(self) -> None:
        """The loggers' files are opened again by the logger itself."""

    # ---- heartbeat ----

    def _beat(self) -> None:
        now = time.monotonic()
        # The timer keeps to its own raster: no beat comes early by more than the clock's grain.
        self._slot.late(max(0.0, now - self._beaten_at - self._beat_period))
        self._beaten_at = now
        self._slot.beat()
        self._streams = {stream for stream in self._streams if not stream.closed()}
        self._slot.set_connections(len(self._streams))
        if os.getppid() != self._ppid and not self.draining:
            self._log.info("Parent changed, shutting down: the arbiter has died")
            self._begin_to_drain()

    # ---- connections and requests ----

    def accepted(self, stream: IOStream) -> None:
        """A connection was accepted."""
        self._streams.add(stream)
        self._slot.accepted(len(self._streams))

    def closed(self, server_conn: Any) -> None:
        """A connection carries no more HTTP: it was closed, or a handler has detached it."""
        exchange = self._exchanges.pop(server_conn, None)
        if exchange is not None:
            exchange.end()
        if server_conn.stream.closed():
            self._streams.discard(server_conn.stream)
            self._slot.set_connections(len(self._streams))

    def expect(self, exchange: _Exchange) -> None:
        """A connection waits for its next request."""
        before = self._exchanges.get(exchange.server_conn)
        if before is not None:
            # Its response is complete, or its client has gone; the handler may not have noticed.
            before.end()
        self._exchanges[exchange.server_conn] = exchange
        if self.draining:
            # The last response has said that it is the last; or it had begun before, and the client may send one more.
            told = before is not None and before.told_to_close
            self._io_loop.call_later(0 if told else SILENCE, self._end_if_idle, exchange)

    def begin(self, method: str, target: str, traceparent: str | None) -> Any:
        """A request begins; its entry in the scoreboard."""
        self.requests += 1
        if self._max_requests and self.requests >= self._max_requests and not self._asked:
            self._asked = True
            self._log.info("Autorestarting worker: max_requests is reached; it serves until its replacement is ready")
            self._slot.ask_for_replacement()
        return self._slot.begin(method, target, traceparent)

    # ---- the end ----

    def _begin_to_drain(self) -> None:
        if self._draining_task is None:
            self._draining_task = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        now = time.monotonic()
        end = self._slot.drain_end
        left = self._graceful_timeout if end is None else max(end - now, 0.0)
        # The arbiter is to see the exit before it would kill.
        deadline = now + max(left - MARGIN, left / 2)
        self.draining = True
        self._slot.set_state(_engine.DRAINING)
        # Shared by all connections: from the next head on the response says `Connection: close`.
        self._server.conn_params.no_keep_alive = True
        if self._slot.draining:
            await self._take_those_that_wait(deadline)
        self._server.stop()
        for exchange in list(self._exchanges.values()):
            self._io_loop.call_later(SILENCE, self._end_if_idle, exchange)
        _close_websockets()
        # Those whose handshake was still on its way.
        self._io_loop.call_later(SILENCE, _close_websockets)
        while time.monotonic() < deadline:
            self._streams = {stream for stream in self._streams if not stream.closed()}
            if not self._streams:
                break
            await asyncio.sleep(PAUSE)
        self._loop.stop()

    async def _end_tasks(self) -> None:
        """What the app has left behind in the loop hears of the end."""
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=SILENCE)
        await self._loop.shutdown_asyncgens()

    async def _take_those_that_wait(self, deadline: float) -> None:
        """The whole server stops: nobody else will answer the connections in the accept queue."""
        queue = select.poll()
        for listening in self._sockets:
            queue.register(listening, select.POLLIN)
        end = min(deadline, time.monotonic() + SILENCE)
        while time.monotonic() < end and queue.poll(0):
            await asyncio.sleep(0)

    def _end_if_idle(self, exchange: _Exchange) -> None:
        if not exchange.begun and self._exchanges.get(exchange.server_conn) is exchange:
            exchange.server_conn.stream.close()

    def _leave_in_child(self) -> None:
        """In a child that the app has forked. The descriptors are closed, or the parent's clients would wait for it."""
        for stream in self._streams:
            if not stream.closed():
                _let_go(stream.socket)
        for listening in self._sockets:
            _let_go(listening)
        self._loop.stop()


class _Server(HTTPServer):
    """Tells its owner of connections and requests."""

    owner: TornadoServer

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        self.owner.accepted(stream)
        super().handle_stream(stream, address)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        delegate = super().start_request(server_conn, request_conn)
        exchange = _Exchange(self.owner, server_conn, request_conn, delegate)
        self.owner.expect(exchange)
        return exchange

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        self.owner.closed(server_conn)


class _Exchange(HTTPMessageDelegate):
    """Between Tornado's parser and the app: one request, and what is written as its response."""

    def __init__(
        self, owner: TornadoServer, server_conn: Any, request_conn: Any, delegate: HTTPMessageDelegate
    ) -> None:
        self._owner = owner
        self.server_conn = server_conn
        self._request_conn = request_conn
        self._delegate = delegate
        self._entry: Any = None
        self._persistent = False
        self._status = 0
        #: The head is complete.
        self.begun = False
        #: The response has said that the connection ends.
        self.told_to_close = False

    # ---- the request ----

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self.begun = True
        self._persistent = start_line.version == "HTTP/1.1"
        self._entry = self._owner.begin(
            start_line.method,  # type: ignore[union-attr]
            start_line.path,  # type: ignore[union-attr]
            headers.get("Traceparent"),
        )
        self._pass_on_trace(headers)
        connection = self._request_conn
        self._write_headers: Callable[..., Any] = connection.write_headers
        self._finish: Callable[[], None] = connection.finish
        connection.write_headers = self._on_write_headers
        connection.finish = self._on_finish
        return self._delegate.headers_received(start_line, headers)

    def _pass_on_trace(self, headers: HTTPHeaders) -> None:
        """The app's spans become children of ours."""
        traceparent = self._entry.traceparent
        if traceparent is not None:
            headers["Traceparent"] = traceparent
            if self._entry.begins_trace and "Tracestate" in headers:
                del headers["Tracestate"]

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()

    # ---- the response ----

    def _on_write_headers(self, start_line: ResponseStartLine, headers: HTTPHeaders, chunk: Any = None) -> Any:
        self._status = start_line.code
        if self._owner.draining and self._persistent and start_line.code >= 200:
            headers["Connection"] = "close"
            self.told_to_close = True
        return self._write_headers(start_line, headers, chunk)

    def _on_finish(self) -> None:
        finish = self._finish
        # First: what the app does after its response is none of the request.
        self.end()
        finish()

    def end(self) -> None:
        """The response is complete, or nobody waits for it any more."""
        entry, self._entry = self._entry, None
        if entry is None:
            return
        entry.end(self._status)
        # The two are a reference cycle.
        vars(self._request_conn).pop("write_headers", None)
        vars(self._request_conn).pop("finish", None)


def _native(app: Any) -> Any:
    """What Tornado's server can call: its own kinds of app, or a WSGI app in its container."""
    if isinstance(app, (HTTPServerConnectionDelegate, WSGIContainer)):
        return app
    return WSGIContainer(app)


def _patience(cfg: Settings) -> float | None:
    """How long a connection may take for a head. Tornado has one limit for the first and for all that follow."""
    if not cfg.head_timeout:
        return None
    return max(float(cfg.head_timeout), float(cfg.keepalive or 0))


def _follow_our_logs(log: Logger, *, access: bool) -> None:
    """Tornado's loggers write where ours do, unless the app has set logging up by itself."""
    requests = logging.getLogger("tornado.access")
    if requests.hasHandlers():
        return
    if access:
        requests.handlers = log.access_log.handlers
        requests.setLevel(logging.INFO)
        requests.propagate = False
    else:
        # As before: what was not the client's or the app's fault is not told.
        requests.setLevel(logging.WARNING)
    everything = logging.getLogger("tornado")
    everything.handlers = log.error_log.handlers
    everything.setLevel(log.error_log.level)
    everything.propagate = False


def _close_websockets() -> None:
    """Tells the clients of all WebSockets that the server goes away. Tornado keeps no list of them."""
    for thing in gc.get_objects():
        # Not isinstance, for the sake of lazy objects.
        if issubclass(type(thing), WebSocketHandler) and thing.ws_connection is not None:
            with contextlib.suppress(Exception):
                thing.close(GOING_AWAY, "the server is shutting down")


def _let_go(held: socket.socket) -> None:
    fd = held.detach()
    if fd >= 0:
        os.close(fd)
