"""The PROXY protocol (HAProxy's proxy-protocol.txt): who is believed, what the app sees, and what is refused."""

import ipaddress
import json
import struct

import pytest
from podtest import http, types

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 192.0.2.7 198.51.100.9 56324 443\r\n"


def binary(
    source: str = "192.0.2.7:56324", destination: str = "198.51.100.9:443", version: int = 2, command: int = 1,
    family: int | None = None, extra: bytes = b"",
) -> bytes:  # fmt: skip
    """A header of version 2 (section 2.2)."""
    (source_ip, source_port), (destination_ip, destination_port) = (
        text.rsplit(":", 1) for text in (source, destination)
    )
    one, other = ipaddress.ip_address(source_ip), ipaddress.ip_address(destination_ip)
    addresses = one.packed + other.packed + struct.pack(">HH", int(source_port), int(destination_port)) + extra
    if family is None:
        family = 0x11 if one.version == 4 else 0x21
    return SIGNATURE + bytes([version << 4 | command, family]) + struct.pack(">H", len(addresses)) + addresses


def seen(server, header: bytes, target: str = "/environ") -> dict:
    """What the app sees behind this header."""
    with http.Connection(server.address) as connection:
        connection.send(header + http.head("GET", target, {"Connection": "close"}))
        response = connection.read_response()
    assert response.status == 200, response.text
    return json.loads(response.body)["values"]


def proxied(values: dict) -> dict:
    """The variables that such a header may set."""
    names = ("REMOTE_ADDR", "REMOTE_PORT", "PROXY_PROTOCOL", "PROXY_ADDR", "PROXY_PORT")
    return {name: values[name] for name in names if name in values}


FOUR = {
    "REMOTE_ADDR": "192.0.2.7",
    "REMOTE_PORT": "56324",
    "PROXY_PROTOCOL": "TCP4",
    "PROXY_ADDR": "198.51.100.9",
    "PROXY_PORT": "443",
}
SIX = {
    "REMOTE_ADDR": "2001:db8::7",
    "REMOTE_PORT": "1",
    "PROXY_PROTOCOL": "TCP6",
    "PROXY_ADDR": "2001:db8::9",
    "PROXY_PORT": "65535",
}
HEADERS = [
    ("v1", LINE, FOUR),
    ("v1", b"PROXY TCP6 2001:db8::7 2001:db8::9 1 65535\r\n", SIX),
    ("v2", binary(), FOUR),
    ("v2", binary("2001:db8::7:1", "2001:db8::9:65535"), SIX),
    ("v2", binary(extra=b"\x04\x00\x01\x00"), FOUR),
]


@pytest.mark.parity
@pytest.mark.parametrize("kind", types.params(*types.WSGI))
def test_the_client_is_whom_the_proxy_names(serve, kind):
    server = serve("probe:app", *kind, "--proxy-protocol")
    for _, header, expected in HEADERS:
        assert proxied(seen(server, header)) == expected, header


@pytest.mark.parity
@pytest.mark.parametrize("mode", ["v1", "v2", "off"])
def test_only_the_version_that_is_wanted(serve, mode):
    server = serve("probe:app", "--proxy-protocol", mode)
    for version, header, expected in HEADERS:
        if version == mode:
            assert proxied(seen(server, header)) == expected, header
            continue
        with http.Connection(server.address) as connection:
            connection.send(header + http.head("GET", "/environ"))
            assert connection.read_response().status == 400, header


@pytest.mark.parity
@pytest.mark.parametrize("kind", types.params("sync", "gthread-4", "gevent", "asgi"))
def test_a_connection_without_a_header_is_an_ordinary_one(serve, kind):
    server = serve("probe:app", *kind, "--proxy-protocol")
    assert server.get().status == 200


def test_asgi_sees_the_client(serve):
    server = serve("probe_asgi:app", "-k", "asgi", "--proxy-protocol", "--access-logfile", "-")
    for _, header, expected in HEADERS:
        with http.Connection(server.address) as connection:
            connection.send(header + http.head("GET", "/scope", {"Connection": "close"}))
            scope = json.loads(connection.read_response().body)
        client = scope.get("values", scope)["client"]
        assert expected["REMOTE_ADDR"] in str(client), scope
        assert expected["REMOTE_PORT"] in str(client), scope
    server.out.wait_for(r"^192\.0\.2\.7 - - ")


@pytest.mark.parity
def test_the_access_log_has_the_client(serve):
    server = serve("probe:app", "--proxy-protocol", "--access-logfile", "-")
    seen(server, LINE)
    server.out.wait_for(r"^192\.0\.2\.7 - - ")


@pytest.mark.parametrize(
    "kind",
    [*types.params("gthread-1", "gthread-4"), pytest.param(("-k", "gevent"), marks=pytest.mark.parity, id="gevent")],
)
def test_a_header_holds_for_the_whole_connection(serve, kind):
    """Gunicorn's gthread forgets it after the first request."""
    server = serve("probe:app", *kind, "--proxy-protocol", "v1")
    with http.Connection(server.address) as connection:
        connection.send(LINE + http.head("GET", "/environ"))
        assert proxied(json.loads(connection.read_response().body)["values"]) == FOUR
        connection.send(http.head("GET", "/environ"))
        assert json.loads(connection.read_response().body)["values"]["REMOTE_ADDR"] == "192.0.2.7"
        # Behind a request it is no header any more.
        connection.send(LINE + http.head("GET", "/environ"))
        assert connection.read_response().status == 400


@pytest.mark.parity
@pytest.mark.parametrize("header", [LINE, binary()], ids=["v1", "v2"])
@pytest.mark.parametrize("kind", types.params("sync", "gthread-4", "gevent"))
def test_others_may_not_name_a_client(serve, kind, header):
    server = serve("probe:app", *kind, "--proxy-protocol", "--proxy-allow-from", "10.0.0.0/8,192.0.2.1")
    with http.Connection(server.address) as connection:
        connection.send(header + http.head("GET", "/"))
        assert connection.read_response().status == 403
    assert server.get().status == 200


def test_others_may_not_name_a_client_on_asgi(serve):
    """Gunicorn's ASGI worker takes the header for a request: 400."""
    server = serve("probe_asgi:app", "-k", "asgi", "--proxy-protocol", "--proxy-allow-from", "10.0.0.0/8")
    with http.Connection(server.address) as connection:
        connection.send(LINE + http.head("GET", "/"))
        assert connection.read_response().status == 403
    server.err.wait_for("PROXY protocol from a peer that proxy_allow_ips does not name")


@pytest.mark.parity
@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", "*"])
def test_who_is_allowed(serve, allowed):
    server = serve("probe:app", "--proxy-protocol", "--proxy-allow-from", allowed)
    assert proxied(seen(server, LINE)) == FOUR


WRONG_LINES = {
    "few words": b"PROXY TCP4 192.0.2.7 198.51.100.9 56324\r\n",
    "many words": b"PROXY TCP4 192.0.2.7 198.51.100.9 56324 443 1\r\n",
    "udp": b"PROXY UDP4 192.0.2.7 198.51.100.9 56324 443\r\n",
    "no address": b"PROXY TCP4 192.0.2.777 198.51.100.9 56324 443\r\n",
    "other family": b"PROXY TCP4 2001:db8::7 198.51.100.9 56324 443\r\n",
    "no port": b"PROXY TCP4 192.0.2.7 198.51.100.9 x 443\r\n",
    "great port": b"PROXY TCP4 192.0.2.7 198.51.100.9 65536 443\r\n",
}
#: Gunicorn answers 500.
WRONG_BINARIES = {
    "version 1": binary(version=1),
    "command 2": binary(command=2),
    "datagram": binary(family=0x12),
    "unix": binary(family=0x31),
    "short": SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
}


def refused(server, header: bytes) -> None:
    """400, and the next client is served."""
    with http.Connection(server.address) as connection:
        connection.send(header + http.head("GET", "/"))
        assert connection.read_response().status == 400
    assert server.get().status == 200


@pytest.mark.parity
@pytest.mark.parametrize("wrong", WRONG_LINES)
def test_malformed_lines_are_refused(serve, wrong):
    refused(serve("probe:app", "--proxy-protocol"), WRONG_LINES[wrong])


@pytest.mark.parametrize("wrong", WRONG_BINARIES)
def test_malformed_binary_headers_are_refused(serve, wrong):
    refused(serve("probe:app", "--proxy-protocol"), WRONG_BINARIES[wrong])


#: Gunicorn takes what Python's `int` reads, and lines of any length.
STRICTER = {
    "leading zero": b"PROXY TCP4 192.0.2.7 198.51.100.9 056324 443\r\n",
    "sign": b"PROXY TCP4 192.0.2.7 198.51.100.9 +56324 443\r\n",
    "long": b"PROXY TCP4 192.0.2.7 198.51.100.9 " + b"0" * 100 + b"1 443\r\n",
}


@pytest.mark.parametrize("wrong", STRICTER)
def test_stricter_than_gunicorn(serve, wrong):
    refused(serve("probe:app", "--proxy-protocol"), STRICTER[wrong])


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (b"PROXY UNKNOWN\r\n", "UNKNOWN"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "UNKNOWN"),
        (binary(command=0), "LOCAL"),
        (SIGNATURE + b"\x20\x00\x00\x00", "LOCAL"),
        (SIGNATURE + b"\x21\x00\x00\x00", "UNSPEC"),
    ],
)
def test_a_proxy_that_names_nobody(serve, header, word):
    """The connection's own addresses count (sections 2.1, 2.2). Gunicorn refuses UNKNOWN, and gives None for others."""
    server = serve("probe:app", "--proxy-protocol")
    values = seen(server, header)
    assert values["PROXY_PROTOCOL"] == word
    assert values["REMOTE_ADDR"] == "127.0.0.1"
    assert "PROXY_ADDR" not in values


@pytest.mark.parametrize("header", [LINE, binary()], ids=["v1", "v2"])
@pytest.mark.parametrize("kind", types.params("sync", "gthread-4", "asgi"))
def test_byte_by_byte(serve, kind, header):
    server = serve("probe:app", *kind, "--proxy-protocol")
    with http.Connection(server.address) as connection:
        for byte in header + http.head("GET", "/", {"Connection": "close"}):
            connection.send(bytes([byte]))
        assert connection.read_response().status == 200


@pytest.mark.parametrize("part", [LINE[:20], binary()[:14]], ids=["v1", "v2"])
@pytest.mark.parametrize("kind", types.params("sync", "gthread-4", "asgi"))
def test_the_head_deadline_covers_the_header(serve, kind, part):
    server = serve("probe:app", *kind, "--proxy-protocol", "--head-timeout", "1")
    with http.Connection(server.address) as connection:
        connection.send(part)
        assert connection.read_response().status == 408


@pytest.mark.parity
def test_headers_are_believed_by_who_has_connected(serve):
    """`forwarded_allow_ips` is about the proxy and not about the client that it names."""
    server = serve("probe:app", "--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1")
    with http.Connection(server.address) as connection:
        fields = {"Connection": "close", "X-Forwarded-Proto": "https"}
        connection.send(LINE + http.head("GET", "/environ", fields))
        assert json.loads(connection.read_response().body)["values"]["wsgi.url_scheme"] == "https"
    server = serve("probe:app", "--proxy-protocol", "--forwarded-allow-ips", "192.0.2.7")
    with http.Connection(server.address) as connection:
        connection.send(LINE + http.head("GET", "/environ", fields))
        assert json.loads(connection.read_response().body)["values"]["wsgi.url_scheme"] == "http"


def test_gunicorns_own_parser_reads_it(serve):
    """In a class that has it."""
    server = serve("probe:app", "-k", "socket_types.worker_classes.Sync", "--proxy-protocol")
    assert proxied(seen(server, LINE)) == FOUR


def test_tornado_says_that_it_has_no_effect(serve):
    server = serve("probe:app", "-k", "tornado", "--proxy-protocol")
    server.err.wait_for(r"proxy_protocol .* has no effect on tornado workers")
