"""Which logger the processes with Python in them use, and the arbiter's records that pass through it."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import socket
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType

from podicorn import entry_point
from podicorn.failure import Failure, first_line, traceback_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.metadata import EntryPoint
    from typing import Any

    from podicorn.settings import Settings

#: Names of classes whose work is done without Python's logging: Gunicorn's own, and that which also counts for StatsD.
BUILT_IN = ("gunicorn.glogging.Logger", "gunicorn.instrument.statsd.Statsd", "simple")
#: Where packages announce logger classes, as Gunicorn has it.
GROUP = "gunicorn.loggers"
#: What subclasses and config files take from `gunicorn.glogging`.
GLOGGING = ("CONFIG_DEFAULTS", "SYSLOG_FACILITIES", "Logger", "SafeAtoms", "loggers", "parse_syslog_address")
#: One record of the arbiter in a packet; longer ones were cut there.
PACKET_BYTES = 512 * 1024


def make(cfg: Settings, default: Callable[[], type] | None = None, given: Any = None) -> Any:
    """The logger of the settings. `default` gives the class where none is named; `given` is what it is made from."""
    with stand_in():
        made = _class_of(cfg, default)
        try:
            if hasattr(made, "install"):
                made.install()
            return made(cfg if given is None else given)
        except Failure:
            raise
        except BaseException as error:
            from podicorn.glogging import failure

            raise failure(error) from error


def _class_of(cfg: Settings, default: Callable[[], type] | None) -> Any:
    named = cfg.logger_class
    if isinstance(named, type):
        return named
    if named not in BUILT_IN:
        return _by_name(str(named))
    if default is not None:
        return default()
    from podicorn.glogging import Logger

    return Logger


def _by_name(name: str) -> Any:
    """`package.module.Class`, `module:Class`, `egg:DIST#NAME`, or the name of an entry point."""
    if name.startswith(entry_point.EGG):
        return _announced(name)
    module_name, colon, path = name.partition(":")
    if not colon:
        module_name, _, path = name.rpartition(".")
    if not module_name:
        return _announced(name)
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise Failure.config(
                f"logger_class {name}: there is no module {error.name!r} on sys.path; install it, or see --pythonpath"
            ) from error
        raise Failure.config(f"logger_class {name}: {first_line(error)}", traceback_text(error)) from error
    except AttributeError as error:
        raise Failure.config(f"logger_class {name}: {module_name!r} has no {path!r}") from error
    except BaseException as error:
        raise Failure.config(f"logger_class {name}: {first_line(error)}", traceback_text(error)) from error
    if not callable(found):
        raise Failure.config(f"logger_class {name}: {found!r} is no class")
    return found


def _announced(name: str) -> Any:
    if name.startswith(entry_point.EGG):
        found: EntryPoint | None = entry_point.of_package(name, GROUP, "logger_class")
    else:
        found = entry_point.of_any(name, GROUP)
    if found is None:
        raise Failure.config(
            f"logger_class {name!r} is no class, nor an entry point of that name in the group {GROUP}; name a class as "
            "package.module.Class"
        )
    try:
        return found.load()
    except BaseException as error:
        raise Failure.config(f"logger_class {name}: {first_line(error)}", traceback_text(error)) from error


class _StandIn:
    """Finds `gunicorn.glogging` where nothing else does, and makes it of ours."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As `importlib` asks, after everybody else."""
        if name in ("gunicorn", "gunicorn.glogging"):
            return ModuleSpec(name, self, is_package=name == "gunicorn")  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """A module as usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Its content."""
        if module.__name__ != "gunicorn":
            from podicorn import glogging

            for name in GLOGGING:
                setattr(module, name, getattr(glogging, name))


@contextlib.contextmanager
def stand_in() -> Iterator[None]:
    """`import gunicorn.glogging` finds our module where that package is not installed.

    Only while config file and logger class are imported: to the app, which may look for Gunicorn, it is not there.
    """
    finder = _StandIn()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in ("gunicorn.glogging", "gunicorn"):
            if getattr(sys.modules.get(name), "__loader__", None) is finder:
                del sys.modules[name]


class ArbiterRecords:
    """The arbiter's log records: it has no Python, so it sends them here while the fork server is there."""

    def __init__(self, fd: int, logger: Any) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._logger = logger

    def fileno(self) -> int:
        """Readable when records wait."""
        return self._socket.fileno()

    def close(self) -> None:
        """In a worker: they are none of its business."""
        self._socket.close()

    def pass_on(self) -> None:
        """Logs what waits."""
        while True:
            try:
                packet = self._socket.recv(PACKET_BYTES)
            except OSError:
                return
            if not packet:
                return
            try:
                self._take(json.loads(packet))
            except Exception:
                # A handler of the app's own; the arbiter's life does not depend on it.
                logging.getLogger("podicorn").debug("a record of the arbiter was not logged", exc_info=True)

    def _take(self, record: dict[str, Any]) -> None:
        if record.get("reopen"):
            self._logger.reopen_files()
            return
        method = getattr(self._logger, record["level"])
        with _written_by(int(record["pid"]), float(record["time"])):
            method("%s", record["message"])


@contextlib.contextmanager
def _written_by(pid: int, created: float) -> Iterator[None]:
    """Records that this thread makes meanwhile have another process and time.

    Not `Logger.handle` with a record of our own: subclasses of Gunicorn's logger change its methods.
    """
    factory = logging.getLogRecordFactory()
    here = threading.get_ident()

    def make_record(*arguments: Any, **named: Any) -> logging.LogRecord:
        made = factory(*arguments, **named)
        if threading.get_ident() == here:
            made.process = pid
            made.created = created
            made.msecs = int(created * 1000) % 1000 + 0.0
        return made

    logging.setLogRecordFactory(make_record)
    try:
        yield
    finally:
        logging.setLogRecordFactory(factory)
