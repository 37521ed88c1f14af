"""What the worker types gevent and eventlet have in common. Their own modules are `green_gevent` and `green_eventlet`.

Such a module has `patch`, `renew`, `serve`, `wait`, `ClientSocket`, `in_hub` and `spawn`. It is imported by the fork
server, which patches before the app is imported, also for the app's sake under `--preload`.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import warnings

# Before anything is patched: a cooperative write to the stack pipe would switch in the midst of a signal handler.
from os import write as _write

from podicorn import leaving
from podicorn.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType
    from typing import Any

#: Worker type, then its module and the oldest version of its library that is supported.
_TYPES = {
    "gevent": ("podicorn.green_gevent", (24, 10, 1)),
    "eventlet": ("podicorn.green_eventlet", (0, 40, 3)),
}
#: What a dump may add to the stacks of the threads; a pipe takes this much without a reader.
_MOST_DUMPED = 48 * 1024

#: In a child that the app has forked: the greenlet that has.
_forker: list[Any] = []


def module_of(worker_type: str) -> ModuleType | None:
    """The module of a worker type whose requests are greenlets; None for other types."""
    if worker_type not in _TYPES:
        return None
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


def patch(worker_type: str) -> None:
    """In the fork server, before the app is imported: makes blocking calls cooperative, where the type wants that."""
    module = module_of(worker_type)
    if module is not None:
        from podicorn import _engine

        _engine.keep_stack_chunks()
        module.patch()


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


def dumper(worker_type: str) -> Callable[[int], None] | None:
    """What adds to a dump of the threads' stacks, where that is not all."""
    return dump_greenlets if worker_type in _TYPES else None


def dump_greenlets(fd: int) -> None:
    """Writes where all waiting greenlets are, those at the same place together."""
    from greenlet import greenlet

    places: dict[str, int] = {}
    for thing in gc.get_objects():
        if isinstance(thing, greenlet) and thing.gr_frame is not None:
            place = _stack(thing.gr_frame)
            places[place] = places.get(place, 0) + 1
    parts = ["\n"]
    for place, count in sorted(places.items(), key=lambda item: -item[1]):
        waiting = "1 waiting greenlet" if count == 1 else f"{count} waiting greenlets"
        parts.append(f"{waiting} (most recent call first):\n{place}\n")
    _write(fd, "".join(parts).encode("utf-8", "backslashreplace")[:_MOST_DUMPED])


def _stack(frame: FrameType | None) -> str:
    """In faulthandler's format."""
    lines: list[str] = []
    while frame is not None and len(lines) < 100:
        code = frame.f_code
        lines.append(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}\n')
        frame = frame.f_back
    return "".join(lines)
