"""The worker types whose sockets belong to Python, each with an app that has the same paths (apps/socket_types)."""

import pytest

from podtest import http
from podtest.gate import Gate
from podtest.server import Server

#: Command lines. Where two apps could go with a class, the tests of that class try the other one.
ALL = {
    "tornado": ("-k", "tornado", "socket_types.tornado_app:app"),
    "tornado-wsgi": ("-k", "tornado", "socket_types.wsgi_app"),
    "uvicorn.workers": ("-k", "uvicorn.workers.UvicornWorker", "socket_types.fastapi_app:app"),
    "uvicorn_worker": ("-k", "uvicorn_worker.UvicornWorker", "socket_types.fastapi_app:app"),
    "aiohttp": ("-k", "aiohttp.GunicornWebWorker", "socket_types.aiohttp_app:app"),
    "geventwebsocket": ("-k", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker", "socket_types.wsgi_app"),
    "sync-subclass": ("-k", "socket_types.worker_classes.Sync", "socket_types.wsgi_app"),
    "gthread-subclass": ("-k", "socket_types.worker_classes.Threads", "--threads", "8", "socket_types.wsgi_app"),
}
THIRD_PARTY = tuple(name for name in ALL if not name.startswith("tornado"))
#: They go on while a request waits.
CONCURRENT = ("tornado", "uvicorn.workers", "uvicorn_worker", "aiohttp", "geventwebsocket", "gthread-subclass")
WEBSOCKET = ("tornado", "uvicorn.workers", "uvicorn_worker", "aiohttp", "geventwebsocket")


def params(*names: str) -> list[object]:
    """For ``pytest.mark.parametrize``: the command lines of those types, or of all."""
    return [pytest.param(ALL[name], id=name) for name in names or ALL]


every_socket_type = pytest.mark.parametrize("line", params())
third_party_types = pytest.mark.parametrize("line", params(*THIRD_PARTY))
concurrent_types = pytest.mark.parametrize("line", params(*CONCURRENT))
websocket_types = pytest.mark.parametrize("line", params(*WEBSOCKET))


def check_requests_seen(server: Server, gate: Gate) -> None:
    """Three requests that are over and one that runs, as the pool shows them."""
    over = {"/": 200, "/nothing?secret=1": 404, "/boom": 500}
    for target in over:
        server.get(target)
    with server.connect() as client:
        client.send(http.head("GET", "/await/known"))
        gate.wait(1, "known")
        (worker,) = server.admin.workers()
        assert (worker["state"], worker["inFlight"], worker["requests"]) == ("busy", 1, 3)
        assert worker["currentRequest"]["path"] == "/await/known"
        recent = [(entry["method"], entry["path"], entry["status"]) for entry in worker["recentRequests"]]
        assert recent == [("GET", target.partition("?")[0], status) for target, status in reversed(over.items())]
        gate.release_all()
        client.read_response()
