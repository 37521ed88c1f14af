"""The worker types of the server, as command lines: for tests that must hold on each of them."""

import pytest

#: One thread that is the engine's own, and threads beside it, are two ways through the engine.
ALL = {
    "sync": (),
    "gthread-1": ("-k", "gthread"),
    "gthread-4": ("-k", "gthread", "--threads", "4"),
    "gevent": ("-k", "gevent"),
    "eventlet": ("-k", "eventlet"),
    "asgi": ("-k", "asgi"),
}
#: Types whose requests are greenlets: many at a time, as long as none of them keeps the thread.
GREEN = ("gevent", "eventlet")
#: Those that call a WSGI app.
WSGI = ("sync", "gthread-1", "gthread-4", *GREEN)
#: Types that keep connections.
KEEPING = ("gthread-1", "gthread-4", *GREEN, "asgi")


def params(*names: str) -> list[object]:
    """For ``pytest.mark.parametrize``: those types, or all."""
    return [pytest.param(ALL[name], id=name) for name in names or ALL]


every_type = pytest.mark.parametrize("kind", params())
wsgi_types = pytest.mark.parametrize("kind", params(*WSGI))
keeping_types = pytest.mark.parametrize("kind", params(*KEEPING))
green_types = pytest.mark.parametrize("kind", params(*GREEN))
