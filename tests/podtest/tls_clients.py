"""Clients of TLS: half a handshake, little room, one version, certificates of their own."""

import socket
import ssl
from pathlib import Path

import pytest

from podtest import http
from podtest.certificates import Authority
from podtest.server import Server


def first_flight() -> bytes:
    """What a real client sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


def slow_client(address: http.Address, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Connected, with little room for what it does not read."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(60)
    plain.connect(address)
    return context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)


def only(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Speaks that version alone. Of 1.2 Python knows the session before it has read anything."""
    context.minimum_version = context.maximum_version = version
    return context


def serves_only_clients_of(authority: Authority, server: Server, directory: Path) -> None:
    """Those with a certificate of that authority, and neither strangers nor who has none."""
    good = authority.issue("good", client=True)
    assert server.get("/", context=authority.trusting(good, directory / "good")).status == 200
    stranger = Authority("stranger").issue("bad", client=True)
    for context in (authority.trusting(), authority.trusting(stranger, directory / "bad")):
        with pytest.raises((OSError, http.ExchangeError)):
            server.get("/", context=context)
    assert server.get("/", context=authority.trusting(good, directory / "good")).status == 200
