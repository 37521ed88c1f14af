"""WebSocket over raw sockets (RFC 6455), for tests that send what no library would.

The reader accepts what RFC 6455 lets a server send and nothing else.
"""

import base64
import hashlib
import os
import struct
from dataclasses import dataclass

from podtest import http

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
#: permessage-deflate's bit.
RSV1 = 4

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_value(key: str) -> str:
    """What Sec-WebSocket-Accept has to be for a key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def fields(key: str, **changed: str | None) -> list[tuple[str, str]]:
    """The fields of a handshake. ``sec_websocket_version="8"`` changes one, ``upgrade=None`` leaves one out."""
    usual = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec_websocket_key": key,
        "sec_websocket_version": "13",
    }
    return [(name.replace("_", "-"), value) for name, value in (usual | changed).items() if value is not None]


@dataclass
class Frame:
    """One frame of the server's."""

    fin: bool
    rsv: int
    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """The code of a Close frame; None without one."""
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    @property
    def reason(self) -> str:
        """The reason of a Close frame."""
        assert self.opcode == CLOSE, self
        return self.payload[2:].decode()


def frame(
    opcode: int,
    payload: bytes | str = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x11\x22\x33\x44",
    length: bytes | None = None,
) -> bytes:
    """A client's frame. ``mask=None`` leaves it out; ``length`` stands for the length as it is sent."""
    payload = payload.encode() if isinstance(payload, str) else payload
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes([size])
        elif size < 65536:
            length = b"\x7e" + struct.pack("!H", size)
        else:
            length = b"\x7f" + struct.pack("!Q", size)
    first = bytes([(fin << 7) | (rsv << 4) | opcode])
    if mask is None:
        return first + length + payload
    # As numbers: a byte at a time would take seconds for some tests.
    key = (mask * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return first + bytes([length[0] | 0x80]) + length[1:] + mask + masked


def close_payload(code: int, reason: str | bytes = b"") -> bytes:
    """The payload of a Close frame."""
    return struct.pack("!H", code) + (reason.encode() if isinstance(reason, str) else reason)


class WebSocket:
    """The client's end, after the handshake."""

    def __init__(self, connection: http.Connection, response: http.Response) -> None:
        self.connection = connection
        self.response = response

    def __enter__(self) -> "WebSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, *frames: bytes) -> None:
        """Send bytes as they are."""
        self.connection.send(b"".join(frames))

    def text(self, text: str) -> None:
        """Send a text message."""
        self.send(frame(TEXT, text))

    def binary(self, data: bytes) -> None:
        """Send a binary message."""
        self.send(frame(BINARY, data))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a Close frame."""
        self.send(frame(CLOSE, close_payload(code, reason)))

    def read_frame(self) -> Frame:
        """The next frame. What a server must not send is an error."""
        exactly = self.connection._exactly
        first, second = exactly(2, "a frame's head")
        fin, rsv, opcode, size = bool(first & 0x80), first >> 4 & 7, first & 15, second & 127
        assert second & 0x80 == 0, "a server must not mask"
        assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG), f"reserved opcode {opcode}"
        if size == 126:
            (size,) = struct.unpack("!H", exactly(2, "a frame's length"))
            assert size > 125, "a length in more bytes than it needs"
        elif size == 127:
            (size,) = struct.unpack("!Q", exactly(8, "a frame's length"))
            assert size > 65535, "a length in more bytes than it needs"
        if opcode >= CLOSE:
            assert fin and rsv == 0 and size <= 125, "a control frame is short and whole"
        return Frame(fin, rsv, opcode, exactly(size, "a frame's payload"))

    def read_message(self) -> str | bytes:
        """The next message, put together from its frames. A control frame is an error."""
        first = self.read_frame()
        assert first.opcode in (TEXT, BINARY) and first.rsv == 0, first
        last, data = first, first.payload
        while not last.fin:
            last = self.read_frame()
            assert last.opcode == CONTINUATION and last.rsv == 0, last
            data += last.payload
        return data.decode() if first.opcode == TEXT else data

    def expect(self, opcode: int, payload: bytes | str = b"") -> None:
        """The next frame is this one."""
        payload = payload.encode() if isinstance(payload, str) else payload
        found = self.read_frame()
        assert found == Frame(True, 0, opcode, payload), found

    def expect_close(self, code: int | None = 1000, reason: str | None = None) -> Frame:
        """The next frame is a Close with this code."""
        found = self.read_frame()
        assert found.opcode == CLOSE, found
        assert found.code == code, found
        assert reason is None or found.reason == reason, found
        return found

    def expect_end(self) -> None:
        """The server ends the connection, cleanly and without another byte."""
        assert self.connection.finish() is http.End.FIN

    def expect_failure(self, code: int) -> Frame:
        """The server fails the connection: a Close with this code and a reason, then the end."""
        found = self.expect_close(code)
        assert found.reason, "it should say why"
        self.expect_end()
        return found

    def leave(self) -> None:
        """The closing handshake, begun by us."""
        self.close()
        self.expect_close(1000)
        self.expect_end()


def ask(
    address: http.Address,
    target: str = "/",
    *,
    method: str = "GET",
    version: str = "1.1",
    more: list[tuple[str, str]] | None = None,
    body: bytes = b"",
    **changed: str | None,
) -> tuple[http.Connection, http.Response, str]:
    """Sends a handshake with a new key; the connection, the response's head, the key. ``changed``: see `fields`."""
    key = base64.b64encode(os.urandom(16)).decode()
    connection = http.Connection(address)
    connection.send(http.head(method, target, fields(key, **changed) + (more or []), version) + body)
    return connection, connection.read_head(), key


def connect(
    address: http.Address,
    target: str = "/",
    *,
    protocols: str | None = None,
    extensions: str | None = None,
    more: list[tuple[str, str]] | None = None,
    silence: float | None = None,
) -> WebSocket:
    """A WebSocket whose handshake is accepted, in the right way."""
    changed = {"sec_websocket_protocol": protocols, "sec_websocket_extensions": extensions}
    connection, response, key = ask(address, target, more=more, **changed)
    if silence is not None:
        connection.socket.settimeout(silence)
    assert response.status == 101, f"{response.status} {connection.read_to_end()[:500]!r}"
    assert response.header("Upgrade").lower() == "websocket"
    assert response.header("Connection").lower() == "upgrade"
    assert response.header("Sec-WebSocket-Accept") == accept_value(key)
    assert response.header("Content-Length") is response.header("Transfer-Encoding") is None
    return WebSocket(connection, response)
