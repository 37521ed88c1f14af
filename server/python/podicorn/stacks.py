"""Stacks as Python sees them: of threads, of asyncio tasks, and that the interpreter is still able to answer."""

from __future__ import annotations

import collections
import gc
import sys
import types

# As they are before anything is patched: a cooperative write would switch in the midst of a signal handler, and a
# greenlet is no thread.
from _thread import get_ident as _get_ident
from os import write as _write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType
    from typing import Any

#: The last line of a dump that Python itself has had a part in. The arbiter looks for it (`arbiter/src/stacks.rs`).
ANSWERED = "(The interpreter answered.)"
#: More is cut off.
_MOST_DUMPED = 128 * 1024
#: Frames of one stack.
_DEEPEST = 100


def dump_answered(fd: int) -> None:
    """Ends a dump. It runs as a signal handler of Python's: so Python runs."""
    _write(fd, f"\n{ANSWERED}\n".encode())


def dump_threads(fd: int, here: FrameType | None) -> None:
    """Writes where all threads are, in faulthandler's format; `here`: where this one was when a signal came.

    Whoever calls it holds the GIL, so that nobody moves meanwhile.
    """
    me = _get_ident()
    parts = [
        f"Thread {ident:#018x} (most recent call first):\n{calls(frame)}\n"
        for ident, frame in sys._current_frames().items()
        if ident != me
    ]
    parts.append(f"Current thread {me:#018x} (most recent call first):\n{calls(here)}")
    _write(fd, "".join(parts).encode("utf-8", "backslashreplace")[:_MOST_DUMPED])


def calls(frame: FrameType | None) -> str:
    """From the innermost call to the outermost, in faulthandler's format."""
    lines: list[str] = []
    while frame is not None:
        if len(lines) == _DEEPEST:
            lines.append("  ...\n")
            break
        lines.append(line_of(frame))
        frame = frame.f_back
    return "".join(lines)


def dump_tasks(fd: int) -> None:
    """Writes where all coroutines wait that no other coroutine waits for, those at the same place together."""
    waiting = [thing for thing in gc.get_objects() if type(thing) is types.CoroutineType and _is_suspended(thing)]
    awaited = {id(coroutine.cr_await) for coroutine in waiting}
    places = ("".join(reversed(_frames(coroutine))) for coroutine in waiting if id(coroutine) not in awaited)
    dump_waiting(fd, "task", places, _MOST_DUMPED)


def dump_waiting(fd: int, what: str, places: Iterable[str], most: int) -> None:
    """Writes how many of these wait at each place, the most frequent first; no more than so many bytes."""
    parts = ["\n"]
    for place, count in collections.Counter(places).most_common():
        waiting = f"1 waiting {what}" if count == 1 else f"{count} waiting {what}s"
        parts.append(f"{waiting} (most recent call first):\n{place}\n")
    _write(fd, "".join(parts).encode("utf-8", "backslashreplace")[:most])


def _is_suspended(coroutine: types.CoroutineType[Any, Any, Any]) -> bool:
    return coroutine.cr_frame is not None and coroutine.cr_await is not None


def _frames(coroutine: Any) -> list[str]:
    """From the outermost call to the innermost."""
    lines: list[str] = []
    thing = coroutine
    while thing is not None and len(lines) < _DEEPEST:
        frame: FrameType | None = getattr(thing, "cr_frame", None) or getattr(thing, "gi_frame", None)
        if frame is None:
            break
        lines.append(line_of(frame))
        thing = getattr(thing, "cr_await", None) or getattr(thing, "gi_yieldfrom", None)
    return lines


def line_of(frame: FrameType) -> str:
    """In faulthandler's format."""
    code = frame.f_code
    return f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}\n'
