"""The loggers `gunicorn.error` and `gunicorn.access`, in Gunicorn's formats or as JSON lines."""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import os
import sys
import time

# As they are before anything is patched: the log is written from a hub too, which must not wait.
from os import write as _write
from select import PIPE_BUF, POLLNVAL, POLLOUT, poll

from podicorn import printed
from podicorn.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from podicorn.settings import Settings

ERROR_LOGGER = "gunicorn.error"
ACCESS_LOGGER = "gunicorn.access"
ERROR_FORMAT = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
DATE_FORMAT = "[%Y-%m-%d %H:%M:%S %z]"
_OURS = "_podicorn"
#: Where the engine looks for what `wsgi.errors` writes to, before the handler's own stream.
_ERROR_STREAM = "error_stream"
LEVELS = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}


#: The ids of the trace and of the span that runs: the engine sets it around each call of the app.
running_trace: contextvars.ContextVar[tuple[str, str] | None] = contextvars.ContextVar("podicorn_trace", default=None)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, as the arbiter writes them: time (RFC 3339), level, pid, logger, message, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        as_it_is: str | None = getattr(record, "as_it_is", None)
        if as_it_is is not None:
            return as_it_is
        seconds, microseconds = divmod(int(record.created * 1_000_000), 1_000_000)
        local = time.localtime(seconds)
        zone = time.strftime("%z", local)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", local)
        line: dict[str, Any] = {
            "time": f"{moment}.{microseconds:06d}{zone[:3]}:{zone[3:]}",
            "level": record.levelname.lower(),
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        # The engine's records of what a request has raised have their own, and those of apps that set them.
        for name, running in zip(("trace_id", "span_id"), running_trace.get() or (None, None), strict=True):
            if value := getattr(record, name, None) or running:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


class RecordCounter(logging.Handler):
    """Counts a worker's records in the scoreboard, by Gunicorn's four names for them."""

    def __init__(self, logged: Callable[[int], None]) -> None:
        super().__init__(logging.WARNING)
        self._logged = logged

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock that handlers have: a count needs none."""
        if record.exc_info:
            self._logged(3)
        elif record.levelno >= logging.CRITICAL:
            self._logged(0)
        else:
            self._logged(1 if record.levelno >= logging.ERROR else 2)
        return True


class RecordStream:
    """`wsgi.errors` where the log is JSON: each line that is written becomes a record."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._begun = ""

    def write(self, text: str) -> int:
        """Takes text in; what has no line end yet waits for it."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._logger.error("%s", line)
        return len(text)

    def flush(self) -> None:
        """`print` writes the line end by itself, so the end of a line is the only moment that matters."""


class DescriptorHandler(logging.Handler):
    """Writes to stdout or stderr, but does not wait for a reader that has stopped reading: it counts lost lines.

    A worker that blocked in its log would be killed as hung. The wait is bounded; once a line was lost, the next ones
    do not wait at all until there is room again.
    """

    PATIENCE_MS = 200
    #: poll(2) says that a pipe is writable when this much fits.
    PIECE = PIPE_BUF

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._lost = 0
        self._torn = False

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record, in pieces that cannot block."""
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        prefix = "\n" if self._torn else ""
        if self._lost:
            prefix += f"({self._lost} log lines were lost: nothing read them)\n"
        data = (prefix + text + "\n").encode("utf-8", "backslashreplace")
        for start in range(0, len(data), self.PIECE):
            if not self._write(data[start : start + self.PIECE]):
                self._torn = self._torn or start > 0
                self._lost += 1
                return
        self._lost, self._torn = 0, False

    def _write(self, piece: bytes) -> bool:
        room = poll()
        room.register(self._fd, POLLOUT)
        try:
            events = room.poll(0 if self._lost else self.PATIENCE_MS)
            if not events or events[0][1] & POLLNVAL:
                return False
            return _write(self._fd, piece) == len(piece)
        except OSError:
            return False


class Logger:
    """The `log` of servers and workers in hooks: the methods of Gunicorn's logger on top of the two loggers."""

    def __init__(self, cfg: Settings) -> None:
        self.error_log = logging.getLogger(ERROR_LOGGER)
        self.access_log = logging.getLogger(ACCESS_LOGGER)
        self.error_log.propagate = False
        self.access_log.propagate = False
        self.setup(cfg)

    def setup(self, cfg: Settings) -> None:
        """Gives the loggers their level and handlers."""
        self.cfg = cfg
        self.loglevel = LEVELS.get(str(cfg.loglevel).lower(), logging.INFO)
        self.error_log.setLevel(self.loglevel)
        self.access_log.setLevel(logging.INFO)
        as_json = cfg.log_format == "json"
        error_format = JsonFormatter() if as_json else logging.Formatter(ERROR_FORMAT, DATE_FORMAT)
        access_format = JsonFormatter() if as_json else logging.Formatter("%(message)s")
        self._set_handler(self.error_log, cfg.errorlog, 2, error_format)
        # Requests are logged by the engine; this is for apps that write to the access logger themselves.
        self._set_handler(self.access_log, cfg.accesslog, 1, access_format)
        if cfg.capture_output:
            self._capture()

    def _set_handler(self, logger: logging.Logger, target: str | None, fd: int, formatter: logging.Formatter) -> None:
        for old in [handler for handler in logger.handlers if getattr(handler, _OURS, False)]:
            logger.removeHandler(old)
            old.close()
        handler: logging.Handler
        if target is None:
            handler = logging.NullHandler()
        elif target == "-":
            handler = DescriptorHandler(fd)
        else:
            try:
                handler = logging.FileHandler(target, encoding="utf-8", errors="backslashreplace")
            except OSError as error:
                raise Failure.config(f"cannot open the log file {target!r}: {error.strerror}") from error
            self._give_away(handler.baseFilename)
        handler.setFormatter(formatter)
        if isinstance(formatter, JsonFormatter) and logger is self.error_log:
            setattr(handler, _ERROR_STREAM, RecordStream(logger))
        setattr(handler, _OURS, True)
        logger.addHandler(handler)

    def _give_away(self, path: str) -> None:
        """The workers' user must be able to open the file again after it was rotated."""
        with contextlib.suppress(OSError):
            os.chown(path, self.cfg.uid, self.cfg.gid)

    def _capture(self) -> None:
        """capture_output: what the app prints goes to the error log's file, as JSON where that is JSON."""
        if self.cfg.log_format == "json" and self.cfg.errorlog is not None:
            printed.catch(self.error_log)
        path = self.cfg.errorlog
        if path is None or path == "-":
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for target in (1, 2):
            os.dup2(fd, target)
        os.close(fd)

    def reopen_files(self) -> None:
        """Opens all log files again by their names, those of the app's own loggers too."""
        for handler in _file_handlers():
            _reopen(handler)
        if self.cfg.capture_output:
            self._capture()

    def reopen_moved_files(self) -> None:
        """Opens those again whose name now means another file: the fork server hears no USR1."""
        moved = [handler for handler in _file_handlers() if _has_moved(handler)]
        for handler in moved:
            _reopen(handler)
        if moved and self.cfg.capture_output:
            self._capture()

    def close_on_exec(self) -> None:
        """Log files are close-on-exec anyway (PEP 446); Gunicorn's loggers have the method."""

    def critical(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Logs at the level CRITICAL."""
        self.error_log.critical(msg, *args, **kwargs)

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Logs at the level ERROR."""
        self.error_log.error(msg, *args, **kwargs)

    def warning(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Logs at the level WARNING."""
        self.error_log.warning(msg, *args, **kwargs)

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Logs at the level INFO."""
        self.error_log.info(msg, *args, **kwargs)

    def debug(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Logs at the level DEBUG."""
        self.error_log.debug(msg, *args, **kwargs)

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Logs at the level ERROR, with the traceback of the exception that is being handled."""
        self.error_log.exception(msg, *args, **kwargs)

    def log(self, lvl: int | str, msg: object, *args: object, **kwargs: Any) -> None:
        """Logs at a level given by number or name."""
        number = LEVELS.get(lvl.lower(), logging.INFO) if isinstance(lvl, str) else lvl
        self.error_log.log(number, msg, *args, **kwargs)


def _file_handlers() -> Iterator[logging.FileHandler]:
    loggers: list[Any] = [logging.root, *list(logging.root.manager.loggerDict.values())]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.FileHandler):
                yield handler


def has_moved_files() -> bool:
    """Whether the name of a log file means another file by now."""
    return any(_has_moved(handler) for handler in _file_handlers())


def _reopen(handler: logging.FileHandler) -> None:
    handler.acquire()
    try:
        if handler.stream is not None:
            handler.close()
            handler.stream = handler._open()
    except OSError:
        # The old file is closed; the next record tries again and reports what is wrong.
        pass
    finally:
        handler.release()


def _has_moved(handler: logging.FileHandler) -> bool:
    if handler.stream is None:
        return False
    try:
        named = os.stat(handler.baseFilename)
    except OSError:
        return True
    opened = os.fstat(handler.stream.fileno())
    return (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino)
