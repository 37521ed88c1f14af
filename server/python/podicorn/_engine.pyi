"""The HTTP engine, written in Rust (server/worker)."""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from logging import Logger
from ssl import SSLContext
from typing import Any, Final

BOOTING: Final[int]
READY: Final[int]
DRAINING: Final[int]
EXITING: Final[int]

class SlotLost(Exception):  # noqa: N818
    """The arbiter has given the slot to another worker."""

def fork_worker(arbiter_pid: int) -> int:
    """Forks a worker that becomes the arbiter's child: 0 there, all signals blocked; its pid here. Raises OSError."""

def set_parent_death_signal(signal: int) -> None:
    """PR_SET_PDEATHSIG. Raises OSError."""

def exit_at(moment: float, code: int) -> None:
    """Ends the process at a moment of `time.monotonic()`, if it is still there. No handler runs, nothing is flushed."""

def keep_stack_chunks() -> None:
    """Keeps the memory of ended greenlets' frames for the next ones, from now on."""

class Slot:
    """A worker's slot of the scoreboard. Takes the descriptors over."""

    def __init__(
        self,
        memfd: int,
        slot: int,
        epoch: int,
        doorbell: int,
        nudge: int,
        tracing: tuple[bool, float] | None = None,
    ) -> None: ...
    def set_state(self, state: int) -> None: ...
    def beat(self) -> None: ...
    @property
    def draining(self) -> bool: ...
    @property
    def drain_end(self) -> float | None:
        """When the arbiter will kill, by `time.monotonic()`, if it has begun its shutdown."""

    def late(self, seconds: float) -> None:
        """The heartbeat was so late."""

    def logged(self, kind: int) -> None:
        """A record went to the error log: 0 critical, 1 error, 2 warning, 3 one with an exception."""

    def collections(self) -> Collections:
        """For `gc.callbacks`: counts what the garbage collector does."""

    def begin(self, method: str, target: str, traceparent: str | None = None) -> Entry:
        """A request begins that Python serves by itself."""

    def accepted(self, connections: int) -> None:
        """A connection was accepted; so many are open now."""

    def set_connections(self, connections: int) -> None:
        """So many connections are open."""

    def ask_for_replacement(self) -> None:
        """The worker goes on until it is told to stop."""

class Collections:
    """Counts collections in the scoreboard."""

    def __call__(self, phase: str, info: dict[str, int]) -> None: ...

class Entry:
    """A request in the scoreboard, from `Slot.begin` on. Dropped without an end it counts as one without a response."""

    @property
    def traceparent(self) -> str | None:
        """What the app is to find in that field; None: what the client has sent."""

    @property
    def begins_trace(self) -> bool:
        """A `tracestate` that the client has sent is not for the app."""

    def end(self, status: int) -> None:
        """It is over; 0: without a response. Only the first call counts."""

class TlsContext:
    def __init__(
        self,
        certfile: str,
        *,
        keyfile: str | None = None,
        ca_certs: str | None = None,
        authorities: list[bytes] | None = None,
        verify: int = 0,
        ciphers: list[str] | None = None,
        older: bool = True,
        newer: bool = True,
        protocols: list[str] = ...,
        strict_ends: bool = False,
    ) -> None: ...

class PythonTlsContext:
    def __init__(
        self,
        context: SSLContext,
        *,
        facts: Callable[[Any], tuple[Any, ...]],
        remake: Callable[[], SSLContext] | None,
        files: list[str],
        strict_ends: bool,
    ) -> None: ...

class NotInRustls(ValueError):  # noqa: N818
    """What is wanted of TLS may be to be had of OpenSSL; `args`: the error, and why it is no mistake."""

class Engine:
    """The reactor on the listeners, whose descriptors it takes over."""

    def __init__(
        self,
        slot: Slot,
        listeners: list[tuple[int, dict[str, Any]]],
        options: dict[str, Any],
        app: Callable[..., Any],
        error_log: Logger,
    ) -> None: ...
    def run(self) -> None:
        """Serves until stopped; what a signal handler raises comes out of it."""

    @property
    def threads(self) -> int:
        """How many threads are to call `work`; 0: `run` calls the app itself."""

    def work(self) -> None:
        """Answers requests on this thread, beside `run`, until the worker ends."""

    def beat_beside(self) -> None:
        """Beats beside `run`, until the worker ends."""

    def stop(self) -> None:
        """Finishes what has begun, then `run` returns. Also before `run`."""

    def quit(self) -> None:
        """`run` returns as soon as it can."""

    def poll(self) -> int:
        """One turn that does not wait and answers nothing: how many requests there are to take."""

    def take(self) -> Request | None:
        """The request that has waited longest."""

    def settle(self) -> bool:
        """Ends a turn; true when the worker is to end."""

    def close(self) -> None:
        """Ends what another loop was serving: lets go of everything. Requests that still run come to nothing."""

    def reopen_logs(self) -> None:
        """Opens the access log's file again."""

    def fileno(self) -> int:
        """Readable when `turn` has something to do."""

    def turn(self) -> bool:
        """One turn that does not wait; true when the worker is to end."""

    def attach(self, event_loop: AbstractEventLoop, *, state: dict[str, Any], finished: Callable[[], object]) -> None:
        """Serves an ASGI app in this loop, which calls `turn`; `finished` is called when the worker is to end."""

    def wakeup_fileno(self) -> int:
        """For `signal.set_wakeup_fd`."""

    @property
    def requests(self) -> int:
        """How many requests have been given to the app."""

class Request:
    """A complete request. Called once, in a greenlet of its own, it answers."""

    def __call__(self) -> None: ...

class FileWrapper:
    """`wsgi.file_wrapper` (PEP 3333)."""

    def __init__(self, filelike: Any, blksize: int = ...) -> None: ...
