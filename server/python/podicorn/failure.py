"""What the fork server answers when a request cannot be met (PROTOCOL.md, `failed`), and the exit codes behind it."""

from __future__ import annotations

import os
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

#: Gunicorn's exit codes.
CONFIG_ERROR = 1
BOOT_ERROR = 3
APP_LOAD_ERROR = 4
UNHANDLED = 255

#: A traceback longer than this loses its middle: the reply has to fit into one packet.
LONGEST_TRACEBACK = 64 * 1024
#: Nor is one line of a log to be longer than a person reads.
LONGEST_LINE = 1000

_PACKAGE = os.path.dirname(__file__) + os.sep
_IMPORTLIB = os.path.join("importlib", "__init__.py")


class Failure(Exception):  # noqa: N818
    """A request that failed: what, where and what to do in `message`; `traceback` where the fault is in user code."""

    def __init__(self, kind: str, exit_code: int, message: str, traceback: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.exit_code = exit_code
        self.message = message
        self.traceback = traceback

    @classmethod
    def config(cls, message: str, traceback: str | None = None) -> Failure:
        """The configuration cannot be used."""
        return cls("config", CONFIG_ERROR, message, traceback)

    @classmethod
    def internal(cls, message: str, traceback: str | None = None) -> Failure:
        """A fault of Podicorn's own."""
        return cls("internal", CONFIG_ERROR, message, traceback)


def first_line(error: BaseException) -> str:
    """`ValueError: wrong` on one line."""
    name = type(error).__name__
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{name} line {error.lineno}: {error.msg}"
    text = " ".join(str(error).split())
    if len(text) > LONGEST_LINE:
        text = text[:LONGEST_LINE] + "…"
    return f"{name}: {text}" if text else name


def user_frames(error: BaseException) -> TracebackType | None:
    """The error's traceback after our last frame and the import machinery that follows it; None if that is all."""
    start = frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            start = frame.tb_next
        frame = frame.tb_next
    while start is not None and _imports(start.tb_frame.f_code.co_filename):
        start = start.tb_next
    return start


def _imports(file: str) -> bool:
    return file.startswith("<frozen importlib") or file.endswith(_IMPORTLIB)


def trimmed(error: BaseException) -> BaseException:
    """The error without the frames that are ours, as far as there are others."""
    start = user_frames(error)
    if start is not None or isinstance(error, SyntaxError):
        error.__traceback__ = start
    return error


def traceback_text(error: BaseException) -> str:
    """The traceback as Python prints it, without our own frames."""
    error = trimmed(error)
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip("\n")
    if len(text) > LONGEST_TRACEBACK:
        half = LONGEST_TRACEBACK // 2
        text = f"{text[:half]}\n  [… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
    return text
