"""The worker types gevent and eventlet: what they have in common. Each has a module of its own beside this one.

Such a module has `patch`, `renew`, `serve`, `wait`, `ClientSocket`, `in_hub` and `spawn`. The fork server imports it,
and patches before the app is imported, under `--preload` too.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import warnings

from podicorn import _engine, leaving
from podicorn.failure import Failure
from podicorn.stacks import calls, dump_waiting
from podicorn.worker import WorkerProcess
from podicorn.worker_types import WorkerType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType
    from typing import Any

    from podicorn.arbiter_view import ArbiterView
    from podicorn.hooks import Hooks
    from podicorn.settings import Settings
    from podicorn.worker import Claim

#: Worker type, then its module and the oldest version of its library that is supported.
_TYPES = {
    "gevent": ("podicorn.green_gevent", (24, 10, 1)),
    "eventlet": ("podicorn.green_eventlet", (0, 40, 3)),
}
#: What a dump may add to the stacks of the threads; a pipe takes this much without a reader.
_MOST_DUMPED = 48 * 1024

#: In a child that the app has forked: the greenlet that has.
_forker: list[Any] = []


class Green(WorkerType):
    """Patches the standard library: from here on what blocks lets other greenlets run."""

    threads_survive = True

    def __init__(self, cfg: Settings) -> None:
        super().__init__(cfg)
        self._library = _library_of(cfg.worker_type)
        self.dump_more = dump_greenlets
        _engine.keep_stack_chunks()
        self._library.patch()

    def make_process(self, worker: Any, server: ArbiterView, hooks: Hooks, claim: Claim) -> WorkerProcess:
        """What runs in the process after the fork."""
        return GreenProcess(worker, server, hooks, claim, self._library)


class GreenProcess(WorkerProcess):
    """One worker, whose main greenlet boots, waits for the end, and leaves."""

    def __init__(self, worker: Any, server: ArbiterView, hooks: Hooks, claim: Claim, library: ModuleType) -> None:
        super().__init__(worker, server, hooks, claim)
        self._library = library
        self.dump_more = dump_greenlets

    def _boot(self) -> None:
        self._library.renew()
        super()._boot()

    def _options(self) -> dict[str, Any]:
        library = self._library
        own = {"client_socket": library.ClientSocket, "wait": library.wait, "back_in_child": back_in_child}
        return {**super()._options(), **own}

    def _run_engine(self) -> None:
        # No signal waits for the end of a wait: it makes the engine's descriptor readable.
        before = signal.set_wakeup_fd(self._engine.wakeup_fileno(), warn_on_full_buffer=False)
        try:
            self._library.serve(self._engine)
        finally:
            signal.set_wakeup_fd(before)

    # Hooks and logs may wait, and a hub must not.

    def _on_quit(self, number: int, frame: FrameType | None) -> None:
        self._outside_the_hub(lambda: super(GreenProcess, self)._on_quit(number, frame))

    def _reopen_logs(self) -> None:
        self._outside_the_hub(super()._reopen_logs)

    def _outside_the_hub(self, act: Callable[[], None]) -> None:
        if self._library.in_hub():
            self._library.spawn(act)
        else:
            act()


def _library_of(worker_type: str) -> ModuleType:
    """The module of a worker type, if its library is there."""
    name, oldest = _TYPES[worker_type]
    advice = f"install it with: pip install podicorn[{worker_type}]"
    try:
        # eventlet says on stderr that it is deprecated: whoever names it here has decided, and the log may be JSON.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            library = importlib.import_module(worker_type)
    except ImportError as error:
        raise Failure.config(
            f"the worker type {worker_type} needs the package {worker_type}, which {sys.executable} cannot import "
            f"({error}); {advice}"
        ) from error
    if _version(library.__version__) < oldest:
        wanted = ".".join(map(str, oldest))
        raise Failure.config(
            f"the worker type {worker_type} needs {worker_type} {wanted} or newer, and here is "
            f"{library.__version__}; {advice}"
        )
    return importlib.import_module(name)


def _version(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def remember_forker() -> None:
    """For the child after a fork of the app."""
    _forker[:] = [_current()]


def back_in_child() -> None:
    """A request has ended in a child that the app has forked. If it is the one that forked, so does the child."""
    if _current() in _forker:
        leaving.flush()
        os._exit(0)


def _current() -> Any:
    from greenlet import getcurrent

    return getcurrent()


def dump_greenlets(fd: int) -> None:
    """Writes where all waiting greenlets are, those at the same place together."""
    from greenlet import greenlet

    waiting = (thing for thing in gc.get_objects() if isinstance(thing, greenlet) and thing.gr_frame is not None)
    dump_waiting(fd, "greenlet", (calls(one.gr_frame) for one in waiting), _MOST_DUMPED)
