"""What is measured: the requests, the answers that are right, and who takes part."""

import sys
from dataclasses import dataclass
from datetime import date, timedelta

#: One worker each, as a keep-alive server with one thread.
PEERS = ("gunicorn", "granian", "bjoern", "fastpysgi", "pyuwsgi", "waitress")
EVERYONE = ("podicorn", *PEERS)
#: One worker each, on uvloop.
ASYNC_PEERS = ("uvicorn", "hypercorn", "granian-asgi", "fastpysgi-asgi", "gunicorn-asgi")
ASYNC = ("podicorn-asgi", *ASYNC_PEERS)
#: Where the interpreter can start a task at once.
EAGER = ("podicorn-eager",) if sys.version_info >= (3, 12) else ()


@dataclass(frozen=True)
class Scenario:
    """One row of the result: a request, sent by so many connections, to these servers."""

    name: str
    title: str
    app: str
    expected: bytes
    content_type: str
    contenders: tuple[str, ...] = EVERYONE
    method: str = "GET"
    path: str = "/"
    body_byte: str = "x"
    body_size: int = 0
    connections: int = 32
    keep_alive: bool = True
    #: Messages of ``body_size`` bytes on WebSockets instead of requests.
    websocket: bool = False
    workers: int = 1
    #: Server and load generator share all cores, instead of one each.
    spread: bool = False
    load_threads: int = 1
    quick: bool = False
    #: The app is measured without a server, too.
    alone: bool = False

    @property
    def interface(self) -> str:
        """What the app speaks."""
        return "ASGI" if self.contenders[0].endswith("-asgi") else "WSGI"

    @property
    def body(self) -> bytes:
        """The request's body."""
        return self.body_byte.encode() * self.body_size

    @property
    def ours(self) -> str:
        """Podicorn's configuration that the peers are compared with: the first."""
        return next(name for name in self.contenders if name.partition("-")[0] == "podicorn")

    def plain(self, family: str) -> str | None:
        """The configuration that stands for a package: that made for this scenario, else its first here."""
        mine = [name for name in self.contenders if name.partition("-")[0] == family]
        return next((name for name in mine if name == f"{family}-{self.name}"), mine[0] if mine else None)


def django_page() -> bytes:
    """The page as it must be, written without Django."""
    first = date(2026, 1, 1)
    rows = "".join(f"<li>note &lt;{day}&gt; ({first + timedelta(days=day)})</li>\n" for day in range(99, 79, -1))
    return f"<!doctype html>\n<title>Notes</title>\n<ul>\n{rows}</ul>\n".encode()


ASYNC_HELLO = {"app": "asgi_plain:hello", "expected": b"Hello, World!", "content_type": "text/plain"}
HELLO = {"app": "plain:hello", "expected": b"Hello, World!", "content_type": "text/plain"}

SCENARIOS = (
    Scenario(
        "hello", "Hello, 32 connections", contenders=(*EVERYONE, "podicorn-preload"), quick=True, alone=True, **HELLO
    ),
    Scenario("hello-256", "Hello, 256 connections", connections=256, **HELLO),
    Scenario("hello-1", "Hello, one connection", connections=1, **HELLO),
    Scenario(
        "close",
        "Hello, a connection per request",
        keep_alive=False,
        contenders=("podicorn-sync", "gunicorn-sync", "granian", "bjoern", "fastpysgi", "pyuwsgi-close", "waitress"),
        quick=True,
        **HELLO,
    ),
    Scenario("10k", "10 KiB", "plain:ten_kib", b"x" * 10240, "text/plain", quick=True),
    Scenario("100k", "100 KiB", "plain:hundred_kib", b"x" * 102400, "text/plain"),
    Scenario(
        "echo",
        "POST echo, 1 KiB",
        "plain:echo",
        b"x" * 1024,
        "application/octet-stream",
        method="POST",
        body_size=1024,
        quick=True,
        alone=True,
    ),
    Scenario(
        "upload",
        "Upload, 1 MiB",
        "plain:upload",
        b"1048576",
        "text/plain",
        method="POST",
        body_size=1 << 20,
    ),
    Scenario(
        "flask",
        "Flask hello",
        "flask_hello:app",
        b"Hello, World!",
        "text/html; charset=utf-8",
        quick=True,
        alone=True,
    ),
    Scenario(
        "django",
        "Django page with a query",
        "django_page.wsgi:application",
        django_page(),
        "text/html; charset=utf-8",
        alone=True,
    ),
    Scenario(
        "threads",
        "Hello, 4 threads",
        contenders=(
            "podicorn",
            "podicorn-threads",
            "gunicorn-threads",
            "granian-threads",
            "pyuwsgi-threads",
            "waitress-threads",
        ),
        **HELLO,
    ),
    Scenario("gevent", "Hello, gevent", contenders=("podicorn-gevent", "gunicorn-gevent"), quick=True, **HELLO),
    # Gunicorn dropped eventlet in version 26: the peer is the last one that had it.
    Scenario("eventlet", "Hello, eventlet", contenders=("podicorn-eventlet", "gunicorn-eventlet"), **HELLO),
    Scenario(
        "log",
        "Hello, access log",
        contenders=(
            "podicorn",
            "podicorn-log",
            "gunicorn",
            "gunicorn-log",
            "granian",
            "granian-log",
            "pyuwsgi",
            "pyuwsgi-log",
        ),
        **HELLO,
    ),
    Scenario("asgi-hello", "ASGI hello, 32 connections", contenders=ASYNC, quick=True, alone=True, **ASYNC_HELLO),
    Scenario("asgi-hello-1", "ASGI hello, one connection", contenders=ASYNC, connections=1, **ASYNC_HELLO),
    Scenario(
        "asgi-echo",
        "ASGI POST echo, 1 KiB",
        "asgi_plain:echo",
        b"x" * 1024,
        "application/octet-stream",
        contenders=ASYNC,
        method="POST",
        body_size=1024,
        quick=True,
        alone=True,
    ),
    Scenario(
        "fastapi",
        "FastAPI hello",
        "fastapi_hello:app",
        b'{"hello":"world"}',
        "application/json",
        contenders=(*ASYNC, *EAGER),
        quick=True,
        alone=True,
    ),
    *(
        Scenario(
            name,
            f"WebSocket echo, {title}",
            "asgi_plain:websocket",
            b"",
            "",
            contenders=("podicorn-asgi", "uvicorn", "hypercorn", "granian-websocket", "gunicorn-asgi"),
            websocket=True,
            body_size=size,
            quick=size < 1024,
        )
        for name, title, size in (("websocket", "64 B", 64), ("websocket-1k", "1 KiB", 1024))
    ),
)

#: What it costs to see: metrics, traces, access log, each against the same server without.
SEEING = (
    *(
        Scenario(
            f"see-{name}",
            f"{title}: what it costs to see",
            *app,
            contenders=("podicorn", "podicorn-metrics", "podicorn-traces", "podicorn-log"),
        )
        for name, title, app in (
            ("hello", "Hello", ("plain:hello", b"Hello, World!", "text/plain")),
            ("flask", "Flask hello", ("flask_hello:app", b"Hello, World!", "text/html; charset=utf-8")),
        )
    ),
    Scenario(
        "see-fastapi",
        "FastAPI hello: what it costs to see",
        "fastapi_hello:app",
        b'{"hello":"world"}',
        "application/json",
        contenders=("podicorn-asgi", "podicorn-asgi-metrics", "podicorn-asgi-traces", "podicorn-asgi-log"),
    ),
)

#: How the throughput grows with the workers. Waitress has one process only.
WORKERS = (1, 2, 4, 8)
SCALING = tuple(
    Scenario(
        f"scaling-{workers}",
        f"Hello, {workers} worker{'s' * (workers > 1)} on all cores",
        contenders=tuple(name for name in EVERYONE if name != "waitress"),
        connections=64,
        workers=workers,
        load_threads=2,
        spread=True,
        **HELLO,
    )
    for workers in WORKERS
)
ALL = SCENARIOS + SEEING + SCALING


def by_name() -> dict[str, Scenario]:
    """All of them."""
    return {scenario.name: scenario for scenario in ALL}
