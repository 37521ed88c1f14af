"""Python's own logging, set up as `gunicorn.glogging` does: logconfig, syslog, and a base for logger classes.

Where the package gunicorn is not installed, this module stands in for `gunicorn.glogging` while the config file and a
logger class are imported (`loggers.py`). Hence the names, which are that module's.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import logging.config
import logging.handlers
import os
import socket
import threading
import time
import traceback

from podicorn import log
from podicorn.failure import Failure, first_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta
    from typing import Any

#: RFC 5424 §6.2.1, table 1; `security` is an old name of `auth`.
SYSLOG_FACILITIES = {
    **{
        name: number
        for number, name in enumerate(
            ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp")
        )
    },
    **{f"local{number}": 16 + number for number in range(8)},
    "security": 4,
}

_STREAM_HANDLER = "logging.StreamHandler"

#: What `logconfig_dict` and `logconfig_json` are laid over, key by key, and the defaults of `logconfig`.
CONFIG_DEFAULTS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        name: {"level": "INFO", "handlers": [handler], "propagate": True, "qualname": name}
        for name, handler in ((log.ERROR_LOGGER, "error_console"), (log.ACCESS_LOGGER, "console"))
    },
    "handlers": {
        name: {"class": _STREAM_HANDLER, "formatter": "generic", "stream": f"ext://sys.{stream}"}
        for name, stream in (("console", "stdout"), ("error_console", "stderr"))
    },
    "formatters": {
        "generic": {"format": log.ERROR_FORMAT, "datefmt": log.DATE_FORMAT, "class": "logging.Formatter"},
    },
}


def loggers() -> list[logging.Logger]:
    """All loggers there are."""
    return [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]


class SafeAtoms(dict[str, "Any"]):
    """Atoms for a `%` format: no text ends a quoted field, and what is absent is `-`."""

    def __init__(self, atoms: Mapping[str, Any]) -> None:
        super().__init__(
            (name, value.replace('"', '\\"') if isinstance(value, str) else value) for name, value in atoms.items()
        )

    def __getitem__(self, name: str) -> Any:
        return self.get(name.lower() if name.startswith("{") else name, "-")


def parse_syslog_address(addr: str) -> tuple[int | None, str | tuple[str, int]]:
    """The socket type (None: try both) and the address of `udp://HOST:PORT`, `tcp://HOST:PORT`, `unix://PATH#dgram`."""
    scheme, separator, rest = addr.partition("://")
    if separator and scheme == "unix":
        path, _, kind = rest.partition("#")
        # As in Gunicorn a stream is what SysLogHandler finds by itself when the socket takes no datagrams.
        return (socket.SOCK_DGRAM if kind == "dgram" else None, path)
    kinds = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
    if not separator or scheme not in kinds:
        raise RuntimeError("invalid syslog address")
    if rest.startswith("[") and "]" in rest:
        host, _, after = rest[1:].partition("]")
    else:
        host, colon, port_text = rest.partition(":")
        after = colon + port_text
    port = after.partition(":")[2] if ":" in after else "514"
    if not port.isdigit():
        raise RuntimeError(f"{port!r} is not a valid port number.")
    return (kinds[scheme], (host.lower() or "localhost", int(port)))


class Logger(log.Logger):
    """Gunicorn's logger: handlers from logconfig and syslog, and the access log through `access`."""

    LOG_LEVELS = log.LEVELS
    loglevel = logging.INFO
    error_fmt = log.ERROR_FORMAT
    datefmt = log.DATE_FORMAT
    access_fmt = "%(message)s"
    syslog_fmt = "[%(process)d] %(message)s"
    atoms_wrapper_class: Callable[[Mapping[str, Any]], Any] = SafeAtoms

    def __init__(self, cfg: Any) -> None:
        self.error_handlers: list[Any] = []
        self.access_handlers: list[Any] = []
        self.logfile = None
        self.lock = threading.Lock()
        super().__init__(cfg)

    def setup(self, cfg: Any) -> None:
        """Gives the loggers their level and handlers. Raises RuntimeError for a setting that cannot be used."""
        self.cfg = cfg
        self.loglevel = self.LOG_LEVELS.get(str(cfg.loglevel).lower(), logging.INFO)
        self.error_log.setLevel(self.loglevel)
        self.access_log.setLevel(logging.INFO)
        self._set_handler(self.error_log, cfg.errorlog, 2, logging.Formatter(self.error_fmt, self.datefmt))
        self._set_handler(self.access_log, cfg.accesslog, 1, logging.Formatter(self.access_fmt))
        if cfg.syslog:
            self._set_syslog_handler(self.error_log, cfg, self.syslog_fmt, "error")
            if not cfg.disable_redirect_access_to_syslog:
                self._set_syslog_handler(self.access_log, cfg, self.syslog_fmt, "access")
        _configure(cfg)
        if cfg.capture_output:
            self._capture()

    def _set_syslog_handler(self, logger: logging.Logger, cfg: Any, fmt: str, name: str) -> None:
        prefix = cfg.syslog_prefix or cfg.proc_name.replace(":", ".")
        try:
            facility = SYSLOG_FACILITIES[cfg.syslog_facility.lower()]
        except KeyError:
            names = ", ".join(SYSLOG_FACILITIES)
            raise RuntimeError(
                f"unknown facility name: syslog_facility {cfg.syslog_facility!r} is none of {names}"
            ) from None
        kind, address = parse_syslog_address(cfg.syslog_addr)
        try:
            handler = logging.handlers.SysLogHandler(address=address, facility=facility, socktype=kind)  # type: ignore[arg-type]
        except OSError as error:
            raise RuntimeError(
                f"cannot reach syslog at {cfg.syslog_addr} ({error}); check syslog_addr (--log-syslog-to)"
            ) from error
        handler.setFormatter(logging.Formatter(f"gunicorn.{prefix}.{name}: {fmt}"))
        setattr(handler, log._OURS, True)
        logger.addHandler(handler)

    # ---- the access log ----

    @property
    def access_log_enabled(self) -> bool:
        """Whether `access` writes anything."""
        cfg = self.cfg
        to_syslog = cfg.syslog and not cfg.disable_redirect_access_to_syslog
        return bool(cfg.accesslog or cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json or to_syslog)

    def atoms(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta) -> dict[str, Any]:
        """The values of one line of the access log, by Gunicorn's names."""
        seconds, microseconds = request_time.seconds, request_time.microseconds
        sent = getattr(resp, "sent", None)
        status = resp.status.split(None, 1)[0] if isinstance(resp.status, str) else resp.status
        request = (environ["REQUEST_METHOD"], environ["RAW_URI"], environ["SERVER_PROTOCOL"])
        atoms: dict[str, Any] = {
            "h": environ.get("REMOTE_ADDR", "-"),
            "l": "-",
            "u": self._get_user(environ) or "-",
            "t": self.now(),
            "r": "{} {} {}".format(*request),
            "s": status,
            "m": environ.get("REQUEST_METHOD"),
            "U": environ.get("PATH_INFO"),
            "q": environ.get("QUERY_STRING"),
            "H": environ.get("SERVER_PROTOCOL"),
            "b": "-" if sent is None else str(sent),
            "B": sent,
            "f": environ.get("HTTP_REFERER", "-"),
            "a": environ.get("HTTP_USER_AGENT", "-"),
            "T": seconds,
            "D": seconds * 1_000_000 + microseconds,
            "M": seconds * 1000 + microseconds // 1000,
            "L": f"{seconds}.{microseconds:06d}",
            "p": f"<{os.getpid()}>",
        }
        for fields, kind in ((getattr(req, "headers", req), "i"), (resp.headers, "o"), (environ, "e")):
            atoms.update((f"{{{name.lower()}}}{kind}", value) for name, value in _items(fields))
        return atoms

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta) -> None:
        """Logs one request that has been answered."""
        if not self.access_log_enabled:
            return
        atoms = self.atoms_wrapper_class(self.atoms(resp, req, environ, request_time))
        try:
            self.access_log.info(self.cfg.access_log_format, atoms)
        except Exception:
            self.error("%s", traceback.format_exc())

    def now(self) -> str:
        """The time in Apache's form."""
        return time.strftime("[%d/%b/%Y:%H:%M:%S %z]")

    def _get_user(self, environ: Mapping[str, Any]) -> str | None:
        scheme, space, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if not space or not scheme.lower().startswith("basic"):
            return None
        try:
            return base64.b64decode(credentials.strip().encode()).partition(b":")[0].decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            self.debug("Couldn't get username: %s", error)
            return None


def _items(fields: Any) -> Iterable[tuple[str, Any]]:
    items: Iterable[tuple[str, Any]] = fields.items() if hasattr(fields, "items") else fields
    return items


def _configure(cfg: Any) -> None:
    """Puts the first of logconfig_dict, logconfig_json and logconfig to work that is set."""
    if cfg.logconfig_dict:
        _configure_dict("logconfig_dict", {**CONFIG_DEFAULTS, **cfg.logconfig_dict})
    elif cfg.logconfig_json:
        try:
            with open(cfg.logconfig_json, encoding="utf-8") as file:
                given = json.load(file)
        except FileNotFoundError:
            # As in Gunicorn, which says nothing; here the start-up log does.
            logging.getLogger(log.ERROR_LOGGER).warning("logconfig_json: there is no file %r", cfg.logconfig_json)
            return
        except (OSError, ValueError) as error:
            raise RuntimeError(f"logconfig_json {cfg.logconfig_json!r}: {first_line(error)}") from error
        if not isinstance(given, dict):
            raise RuntimeError(f"logconfig_json {cfg.logconfig_json!r}: it must hold one object")
        _configure_dict(f"logconfig_json {cfg.logconfig_json!r}", {**CONFIG_DEFAULTS, **given})
    elif cfg.logconfig:
        if not os.path.exists(cfg.logconfig):
            raise RuntimeError(f"Error: log config '{cfg.logconfig}' not found")
        defaults = {**CONFIG_DEFAULTS, "__file__": cfg.logconfig, "here": os.path.dirname(cfg.logconfig)}
        try:
            logging.config.fileConfig(cfg.logconfig, defaults=defaults, disable_existing_loggers=False)
        except Exception as error:
            # configparser and the handlers' classes raise whatever they like.
            raise RuntimeError(f"logconfig {cfg.logconfig!r}: {first_line(error)}") from error


def _configure_dict(what: str, config: dict[str, Any]) -> None:
    try:
        logging.config.dictConfig(config)
    except (AttributeError, ImportError, ValueError, TypeError) as error:
        cause = f" ({first_line(error.__cause__)})" if error.__cause__ is not None else ""
        raise RuntimeError(f"{what}: {first_line(error)}{cause}") from error


def failure(error: BaseException) -> Failure:
    """What a logger's setup has raised, as the end of the start."""
    if isinstance(error, RuntimeError):
        return Failure.config(f"the logs cannot be set up: {error}")
    from podicorn.failure import traceback_text

    return Failure.config(f"the logs cannot be set up: {first_line(error)}", traceback_text(error))
