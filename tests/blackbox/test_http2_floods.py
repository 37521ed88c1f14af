"""Clients of HTTP/2 that make work and ask for nothing."""

import re
import struct

import pytest
from podtest.http2 import Client
from podtest.types import keeping_types

H2 = ("--http-protocols", "h2,h1")
#: RFC 9113 §7.
ENHANCE_YOUR_CALM = 0xB


def still_serves(server, authority):
    with Client(server.address, authority.trusting()) as other:
        assert other.get("/").status == 200


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


#: A request whose body is still to come.
OPEN = frame(1, 4, 1, b"\x83\x84\x87")
SETTINGS, PING = frame(4, 0, 0), frame(6, 0, 0, b"12345678")
FLOODS = {
    # A header block that never ends (VU#421644).
    "continuation": frame(1, 0, 1, b"\x82\x84\x87") + frame(9, 0, 1, b"\x00\x01a\x7f\x81\x01" + b"b" * 256) * 4000,
    # Frames without any content that are never the last.
    "empty data": OPEN + frame(0, 0, 1) * 2000,
    "padding": OPEN + frame(0, 8, 1, b"\x08" + bytes(8)) * 2000,
    "settings": SETTINGS * 2000,
    "ping": PING * 2000,
    "priority": frame(2, 0, 3, bytes(5)) * 2000,
    "unknown": frame(77, 0, 0, b"x") * 2000,
}


@keeping_types
def test_rapid_reset(serve, kind, files, authority):
    """CVE-2023-44487."""
    server = serve("secure:app", *kind, *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        try:
            for _ in range(300):
                client.reset(client.ask("/"))
                client.flush()
        except OSError:
            pass
        client.drain()
        assert client.goaway == ENHANCE_YOUR_CALM
    still_serves(server, authority)


def test_some_may_be_taken_back(serve, files, authority):
    """A browser that is navigated away."""
    server = serve("secure:app", "-k", "gthread", *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        for _ in range(100):
            client.reset(client.ask("/"))
            client.flush()
        assert client.get("/").status == 200


@pytest.mark.parametrize("flood", FLOODS)
def test_floods_end_the_connection(serve, files, authority, flood):
    server = serve("secure:app", "-k", "gthread", *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        client.wire.send(FLOODS[flood])
        client.drain()
        assert client.goaway == ENHANCE_YOUR_CALM
    still_serves(server, authority)


def test_a_few_are_no_flood(serve, files, authority):
    server = serve("secure:app", "-k", "gthread", *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        client.wire.send((SETTINGS + PING) * 400)
        assert client.get("/").status == 200


@pytest.mark.parametrize("unread", [SETTINGS, PING], ids=["settings", "ping"])
def test_answers_that_nobody_takes_are_not_kept(serve, files, authority, unread):
    """Each asks for an answer, and none is read."""
    server = serve("secure:app", "-k", "gthread", *files, *H2)
    (worker,) = server.worker_pids()

    def resident() -> int:
        with open(f"/proc/{worker}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])

    still_serves(server, authority)
    before = resident()
    with Client(server.address, authority.trusting()) as client:
        client.wire.socket.settimeout(3)
        try:
            for _ in range(2000):
                client.wire.send(unread * 1000)
        except OSError:
            pass
        still_serves(server, authority)
        assert resident() - before < 32 << 10
