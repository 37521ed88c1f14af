"""`spew`: every line that is executed, on stdout, in Gunicorn's form."""

from __future__ import annotations

import linecache
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any


def spew() -> None:
    """From now on, in this thread and in those that it starts."""
    threading.settrace(_trace)
    sys.settrace(_trace)


def _trace(frame: FrameType, event: str, argument: Any) -> Any:
    if event == "line":
        number = frame.f_lineno
        names = frame.f_globals
        file = names.get("__file__")
        if isinstance(file, str):
            line = linecache.getline(file[:-1] if file.endswith((".pyc", ".pyo")) else file, number)
            module = names.get("__name__")
        else:
            line = linecache.getline(frame.f_code.co_filename, number)
            line = line or f"Unknown code named [{frame.f_code.co_name}].  VM instruction #{frame.f_lasti}"
            module = "[unknown]"
        print(f"{module}:{number}: {line.rstrip()}")
    return _trace
