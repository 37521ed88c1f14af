"""What Gunicorn's arbiter hands to its workers, made from the installed package and the server's own settings.

Imported only where a worker class of somebody else is to be run.
"""

from __future__ import annotations

import threading

import gunicorn.glogging
import gunicorn.sock
import gunicorn.util
import gunicorn.workers.base
import gunicorn.workers.workertmp
from gunicorn.config import Config

from podicorn import app, log
from podicorn.failure import trimmed
from podicorn.heartbeat import Heartbeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from podicorn.arbiter_view import Listener
    from podicorn.settings import Settings


class LibraryLogger(log.Logger, gunicorn.glogging.Logger):  # type: ignore[misc]
    """Our logger with Gunicorn's access log on top, which its worker classes write themselves."""

    def __init__(self, cfg: Any) -> None:
        # What Gunicorn's own constructor sets beside the two loggers.
        self.error_handlers: list[Any] = []
        self.access_handlers: list[Any] = []
        self.logfile = None
        self.lock = threading.Lock()
        log.Logger.__init__(self, cfg)


class LibraryApplication:
    """`worker.app`, with what Gunicorn's applications have."""

    usage = None
    prog = "podicorn"
    logger = None

    def __init__(self, application: app.Application, cfg: Config) -> None:
        self._application = application
        self.cfg = cfg

    @property
    def callable(self) -> Callable[..., Any] | None:
        """The app, once it is loaded."""
        return self._application.callable

    def load(self) -> Callable[..., Any]:
        """The app."""
        return self.wsgi()

    def wsgi(self) -> Callable[..., Any]:
        """The app; loads it at the first call. Raises Failure, which knows the exit code."""
        try:
            return self._application.wsgi()
        except BaseException as error:
            failure = app.failure(self._application.uri, error)
            raise failure from (trimmed(error) if failure.traceback is not None else None)

    def reload(self) -> None:
        """Nothing: a reload is a new fork server, which reads everything anew."""


def plain_logger() -> type:
    """Gunicorn's logger as it is."""
    return gunicorn.glogging.Logger  # type: ignore[no-any-return]


def make_config(cfg: Settings) -> Config:
    """Gunicorn's config with the values of our settings; ours that Gunicorn does not know are plain attributes."""
    config = Config(prog="podicorn")
    for name, value in cfg.to_dict().items():
        setting = config.settings.get(name)
        if setting is None:
            setattr(config, name, value)
        elif value is None and callable(setting.value):
            # A hook that the config file does not define: Gunicorn's own does nothing.
            continue
        elif name == "reload":
            # The class would leave at every change, serving or not; our own watcher asks for a reload.
            setting.value = False
        elif name == "sendfile":
            # There it is the switch that turns it off.
            setting.value = None if value else False
        else:
            # In the form that Gunicorn's own check has for its result.
            setting.value = value
    return config


def make_sockets(listeners: list[Listener], config: Config, logger: LibraryLogger) -> list[Any]:
    """The listeners as Gunicorn's socket objects, which take their descriptors over."""
    return [_socket(listener, config, logger) for listener in listeners]


def _socket(listener: Listener, config: Config, logger: LibraryLogger) -> Any:
    address = listener.getsockname()
    if isinstance(address, str):
        kind = gunicorn.sock.UnixSocket
    elif ":" in address[0]:
        kind = gunicorn.sock.TCP6Socket
    else:
        kind = gunicorn.sock.TCPSocket
    made = kind(address, config, logger, fd=listener.fileno())
    # Gunicorn's master passes them on by exec; nobody does that here.
    made.sock.set_inheritable(False)
    return made


def install() -> None:
    """In the fork server, before any class is imported: workers make no heartbeat files."""
    gunicorn.workers.workertmp.WorkerTmp = Heartbeat
    gunicorn.workers.base.WorkerTmp = Heartbeat


def keep_user() -> None:
    """In the worker, which has its user and group already."""
    gunicorn.util.set_owner_process = _stay


def _stay(uid: int, gid: int, initgroups: bool = False) -> None:
    """The worker's `init_process` would change to the user that it is."""
