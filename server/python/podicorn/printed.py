"""What the app prints, as records: `capture_output` where the log is JSON.

`sys.stdout` and `sys.stderr` become streams whose lines go to the error log's handlers. Only what is written through
them is caught: subprocesses and C libraries write to the descriptors, which stay as they are.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Buffer

#: A line that never ends is cut here (bytes).
LONGEST = 1 << 20


class _Descriptor(io.RawIOBase):
    """Bytes in, records out: one for each write that ends a line, with all the lines that it ends."""

    def __init__(self, name: str, fd: int, logger: logging.Logger) -> None:
        super().__init__()
        self._name = name
        self._fd = fd
        self._logger = logger
        # Threads that print at once do not mix their lines.
        self._begun = threading.local()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        """For subprocesses: they write to the stream itself."""
        return self._fd

    def write(self, data: Buffer, /) -> int:
        """Takes text in; what has no line end yet waits for it."""
        piece = bytes(data)
        begun: bytearray | None = getattr(self._begun, "bytes", None)
        if begun is None:
            begun = self._begun.bytes = bytearray()
        begun += piece
        if begun.endswith(b"\n") or len(begun) >= LONGEST:
            text = begun.decode("utf-8", "backslashreplace").removesuffix("\n")
            begun.clear()
            if text:
                self._tell(text)
        return len(piece)

    def _tell(self, text: str) -> None:
        record = logging.LogRecord(self._name, logging.INFO, "", 0, "%s", (text,), None)
        if _is_json(text):
            record.as_it_is = text
        # Not `handle`: an app that disables the loggers that it finds does not mean its own lines.
        self._logger.callHandlers(record)


def _is_json(text: str) -> bool:
    """Whether it is an object on a line already: apps have JSON logs of their own."""
    if not (text.startswith("{") and text.endswith("}")) or "\n" in text:
        return False
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def catch(logger: logging.Logger) -> None:
    """Puts the streams in place. What held the old ones, such as a handler of the app's, goes on writing to them."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        if isinstance(getattr(old, "buffer", None), _Descriptor):
            continue
        if old is not None:
            old.flush()
        raw = _Descriptor(name, fd, logger)
        # No buffer between: what a worker has printed is out when it is killed.
        stream = io.TextIOWrapper(raw, "utf-8", "backslashreplace", newline="\n", write_through=True)  # type: ignore[type-var]
        setattr(sys, name, stream)
