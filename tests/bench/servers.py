"""Who is measured: the command line of every server, with one worker and one thread unless its name says otherwise."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: The packages, by the first word of a contender's name.
FAMILIES = {
    "podicorn": "Podicorn",
    "bjoern": "bjoern",
    "fastpysgi": "FastPySGI",
    "granian": "Granian",
    "pyuwsgi": "uWSGI",
    "waitress": "Waitress",
    "uvicorn": "Uvicorn",
    "hypercorn": "Hypercorn",
    "gunicorn": "Gunicorn",
}
SERVE = Path(__file__).with_name("serve.py")


@dataclass(frozen=True)
class Launch:
    """What a command line is made from."""

    programs: Path
    port: int
    admin_port: int
    app: str
    workers: int
    access_log: Path


@dataclass(frozen=True)
class Contender:
    """A server in one configuration. ``family`` is the package; ``logs`` says that it writes ``Launch.access_log``;
    ``library`` is a directory of the environment whose packages go before its own; ``traced``: every request's span
    goes to a collector; ``scraped``: its metrics are read each second."""

    name: str
    label: str
    arguments: Callable[[Launch], list[str]]
    logs: bool = False
    library: str | None = None
    traced: bool = False
    scraped: bool = False

    @property
    def family(self) -> str:
        return self.name.partition("-")[0]

    def command(self, launch: Launch) -> list[str]:
        """argv."""
        program, *rest = self.arguments(launch)
        return [str(launch.programs / program), *rest]


def podicorn(*options: str) -> Callable[[Launch], list[str]]:
    """With limits, deadlines, watchdog, scoreboard, ring and metrics on, as in a pod."""

    def arguments(launch: Launch) -> list[str]:
        return [
            "podicorn",
            "--bind",
            f"127.0.0.1:{launch.port}",
            "--workers",
            str(launch.workers),
            "--admin-bind",
            f"127.0.0.1:{launch.admin_port}",
            "--request-timeout",
            "30",
            *(option.format(log=launch.access_log) for option in options),
            launch.app,
        ]

    return arguments


def gunicorn(*options: str) -> Callable[[Launch], list[str]]:
    """Its defaults, without the control socket that would write into the home directory.

    The long timeout concerns only the master, which must not take a worker that was frozen for one that hangs.
    """

    def arguments(launch: Launch) -> list[str]:
        return [
            "gunicorn",
            "--bind",
            f"127.0.0.1:{launch.port}",
            "--workers",
            str(launch.workers),
            "--no-control-socket",
            "--timeout",
            "3600",
            *(option.format(log=launch.access_log) for option in options),
            launch.app,
        ]

    return arguments


def last_with_eventlet(launch: Launch) -> list[str]:
    """Gunicorn 25.3, which lies beside the current one; see ``Contender.library``."""
    address = f"127.0.0.1:{launch.port}"
    options = ("--workers", str(launch.workers), "--timeout", "3600", "--worker-class", "eventlet")
    return ["python", "-m", "gunicorn", "--bind", address, "--no-control-socket", *options, launch.app]


def uvicorn(launch: Launch) -> list[str]:
    """What ``pip install uvicorn[standard]`` runs, without the access log."""
    address = ("--host", "127.0.0.1", "--port", str(launch.port), "--workers", str(launch.workers))
    choice = ("--loop", "uvloop", "--http", "httptools", "--ws", "websockets")
    return ["uvicorn", *address, *choice, "--no-access-log", "--log-level", "warning", launch.app]


def hypercorn(launch: Launch) -> list[str]:
    """Its defaults, on uvloop."""
    address = ("--bind", f"127.0.0.1:{launch.port}", "--workers", str(launch.workers))
    return ["hypercorn", *address, "--worker-class", "uvloop", launch.app]


def granian(*options: str, interface: str = "wsgi") -> Callable[[Launch], list[str]]:
    """HTTP/1, one runtime thread and one thread for Python unless ``options`` say otherwise."""

    def arguments(launch: Launch) -> list[str]:
        return [
            "granian",
            "--interface",
            interface,
            "--host",
            "127.0.0.1",
            "--port",
            str(launch.port),
            "--workers",
            str(launch.workers),
            "--runtime-threads",
            "1",
            "--http",
            "1",
            *options,
            launch.app,
        ]

    return arguments


#: With its router process: a worker's own HTTP/1.1 socket stays with one client and lets the others wait. Between the
#: two a unix socket, and larger pieces than a page: small ones wait for an acknowledgement (Nagle), for 40 ms.
UWSGI_KEEP_ALIVE = (
    "--http",
    "127.0.0.1:{port}",
    "--http-keepalive",
    "--socket",
    "{log}.socket",
    "--http-buffer-size",
    "32768",
)
UWSGI_CLOSE = ("--http-socket", "127.0.0.1:{port}", "--add-header", "Connection: close")


def uwsgi(*options: str) -> Callable[[Launch], list[str]]:
    """A master, as it is always run; ``options`` name the socket."""

    def arguments(launch: Launch) -> list[str]:
        module, _, attribute = launch.app.partition(":")
        return [
            "uwsgi",
            "--listen",
            "1024",
            "--master",
            "--need-app",
            "--die-on-term",
            "--processes",
            str(launch.workers),
            "--module",
            module,
            "--callable",
            attribute or "application",
            *(option.format(log=launch.access_log, port=launch.port) for option in options),
        ]

    return arguments


def waitress(threads: int) -> Callable[[Launch], list[str]]:
    """With room for 256 connections; there is only one process."""

    def arguments(launch: Launch) -> list[str]:
        return [
            "waitress-serve",
            f"--listen=127.0.0.1:{launch.port}",
            f"--threads={threads}",
            "--connection-limit=1000",
            "--asyncore-use-poll",
            launch.app,
        ]

    return arguments


def by_script(name: str) -> Callable[[Launch], list[str]]:
    """A server that is started from Python."""

    def arguments(launch: Launch) -> list[str]:
        return ["python", str(SERVE), name, str(launch.port), str(launch.workers), launch.app]

    return arguments


GTHREAD = ("--worker-class", "gthread", "--threads", "1")
GTHREAD_4 = ("--worker-class", "gthread", "--threads", "4")
GEVENT = ("--worker-class", "gevent")
ACCESS_LOG = ("--access-logfile", "{log}")
ONE, FOUR = ("--no-ws", "--blocking-threads", "1"), ("--no-ws", "--blocking-threads", "4")
UVLOOP = ("--loop", "uvloop")
ASGI = ("--worker-class", "asgi", "--asgi-loop", "uvloop")

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("podicorn", "Podicorn", podicorn(*GTHREAD)),
        Contender("podicorn-sync", "Podicorn sync", podicorn("--worker-class", "sync")),
        Contender("podicorn-threads", "Podicorn, 4 threads", podicorn(*GTHREAD_4)),
        Contender("podicorn-gevent", "Podicorn gevent", podicorn(*GEVENT)),
        Contender("podicorn-eventlet", "Podicorn eventlet", podicorn("--worker-class", "eventlet")),
        Contender("podicorn-asgi", "Podicorn asgi", podicorn(*ASGI)),
        Contender("podicorn-eager", "Podicorn asgi, eager", podicorn(*ASGI, "--asgi-eager")),
        Contender("podicorn-preload", "Podicorn, preloaded", podicorn(*GTHREAD, "--preload")),
        Contender("podicorn-log", "Podicorn, access log", podicorn(*GTHREAD, *ACCESS_LOG), logs=True),
        Contender("podicorn-metrics", "Podicorn, metrics read each second", podicorn(*GTHREAD), scraped=True),
        Contender("podicorn-traces", "Podicorn, every request traced", podicorn(*GTHREAD), traced=True),
        Contender("podicorn-asgi-metrics", "Podicorn asgi, metrics read each second", podicorn(*ASGI), scraped=True),
        Contender("podicorn-asgi-traces", "Podicorn asgi, every request traced", podicorn(*ASGI), traced=True),
        Contender("podicorn-asgi-log", "Podicorn asgi, access log", podicorn(*ASGI, *ACCESS_LOG), logs=True),
        Contender("gunicorn", "Gunicorn gthread", gunicorn(*GTHREAD)),
        Contender("gunicorn-sync", "Gunicorn sync", gunicorn("--worker-class", "sync")),
        Contender("gunicorn-threads", "Gunicorn gthread, 4 threads", gunicorn(*GTHREAD_4)),
        Contender("gunicorn-gevent", "Gunicorn gevent", gunicorn(*GEVENT)),
        Contender("gunicorn-eventlet", "Gunicorn 25.3 eventlet", last_with_eventlet, library="gunicorn-25.3"),
        Contender("gunicorn-asgi", "Gunicorn asgi", gunicorn(*ASGI)),
        Contender("gunicorn-preload", "Gunicorn gthread, preloaded", gunicorn(*GTHREAD, "--preload")),
        Contender("gunicorn-log", "Gunicorn gthread, access log", gunicorn(*GTHREAD, *ACCESS_LOG), logs=True),
        Contender("granian", "Granian", granian(*ONE)),
        Contender("granian-threads", "Granian, 4 threads", granian(*FOUR)),
        Contender("granian-asgi", "Granian", granian("--no-ws", *UVLOOP, interface="asgi")),
        Contender("granian-websocket", "Granian", granian(*UVLOOP, interface="asgi")),
        # Its access log goes to the standard output, which the harness sends to the file.
        Contender("granian-log", "Granian, access log", granian(*ONE, "--access-log"), logs=True),
        Contender("bjoern", "bjoern", by_script("bjoern")),
        Contender("fastpysgi", "FastPySGI", by_script("fastpysgi")),
        Contender("fastpysgi-asgi", "FastPySGI", by_script("fastpysgi")),
        Contender("uvicorn", "Uvicorn", uvicorn),
        Contender("hypercorn", "Hypercorn", hypercorn),
        Contender("pyuwsgi", "uWSGI", uwsgi(*UWSGI_KEEP_ALIVE, "--disable-logging")),
        Contender("pyuwsgi-close", "uWSGI", uwsgi(*UWSGI_CLOSE, "--disable-logging")),
        Contender(
            "pyuwsgi-threads", "uWSGI, 4 threads", uwsgi(*UWSGI_KEEP_ALIVE, "--disable-logging", "--threads", "4")
        ),
        Contender("pyuwsgi-log", "uWSGI, access log", uwsgi(*UWSGI_KEEP_ALIVE, "--logto", "{log}"), logs=True),
        Contender("waitress", "Waitress", waitress(1)),
        Contender("waitress-threads", "Waitress, 4 threads", waitress(4)),
    )
}
