"""How a worker's process ends: as any Python program, but not later than it may."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading

# Before anything is patched: this needs a thread, and not one that a hub would have to run.
from _thread import start_new_thread
from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from podicorn.log import Logger

#: When a worker that exits is to be gone, its code, and what lets go of the app.
_after_the_handlers: list[tuple[float, int, Callable[[], None]]] = []


def exit_code(error: SystemExit) -> int:
    """The code that Python would exit with."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    return 1


def bound(patience: float, last_moment: float, code: int, log: Logger, let_go: Callable[[], None]) -> None:
    """Lets Python's normal exit follow, within limits.

    It waits for non-daemon threads and exit handlers, for `patience` seconds at most, and then clears its memory, until
    `last_moment` (`time.monotonic()`) at most. In between it calls `let_go`, and what holds the app is gone.
    """
    _after_the_handlers.append((last_moment, code, let_go))
    # An interpreter that can start no more threads is not going to wait for any, either.
    with contextlib.suppress(RuntimeError):
        start_new_thread(_insist, (patience, code, log))


@atexit.register
def _clear_in_time() -> None:
    """The last of the exit handlers, as it was registered before any of the app's."""
    for last_moment, code, let_go in _after_the_handlers:
        # Not before: the fork server imports this module first, and says so if the engine cannot be loaded.
        from podicorn import _engine

        flush()
        _engine.exit_at(max(last_moment, 0.0), code)
        let_go()


def _insist(patience: float, code: int, log: Logger) -> None:
    sleep(patience)
    left = [t.name for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    if left:
        log.warning("Worker (pid: %s) exits without waiting longer for its threads: %s", os.getpid(), ", ".join(left))
        # The main thread is still waiting for those threads; the exit handlers of libraries come after that.
        atexit._run_exitfuncs()
    else:
        log.warning("Worker (pid: %s) exits: an exit handler takes too long", os.getpid())
    flush()
    os._exit(code)


def flush() -> None:
    """Writes out what is buffered in stdout and stderr."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
