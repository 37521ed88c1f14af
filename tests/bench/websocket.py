"""A load generator for WebSockets: each connection sends a message, waits for it to come back, and sends the next.

Run as a program, ``python -m bench.websocket PORT CONNECTIONS SECONDS SIZE``, it prints one line of JSON. wrk knows no
WebSockets, and the usual clients take several times the server's own CPU: here a message is one send and one receive.
"""

import base64
import json
import os
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from itertools import cycle, islice

BINARY = 0x82
MASK = b"\x37\xfa\x21\x3d"
#: RFC 6455 §5.2: lengths up to here stand in the second byte, up to 2^16 - 1 in two more.
SHORT = 125


def head(length: int, bit: int) -> bytes:
    """The first bytes of a frame; ``bit`` says that it is masked."""
    if length > SHORT:
        return struct.pack("!BBH", BINARY, bit | 126, length)
    return struct.pack("!BB", BINARY, bit | length)


def masked(payload: bytes) -> bytes:
    """The frame of a client (RFC 6455 §5.2, §5.3)."""
    mixed = bytes(byte ^ key for byte, key in zip(payload, cycle(MASK), strict=False))
    return head(len(payload), 0x80) + MASK + mixed


def plain(payload: bytes) -> bytes:
    """The frame that a server sends back."""
    return head(len(payload), 0) + payload


def payload(size: int) -> bytes:
    """Bytes that are not all the same."""
    return bytes(islice(cycle(range(256)), size))


def connect(port: int) -> socket.socket:
    """A connection after the handshake; nothing is asked for but the protocol itself."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(4096)
        if not piece:
            raise ConnectionError(f"the handshake ended early: {head!r}")
        head += piece
    if not head.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(f"no WebSocket: {head[:200]!r}")
    return connection


def exchange(connection: socket.socket, message: bytes) -> bytes:
    """One message there and back: the whole frame that came."""
    connection.sendall(masked(message))
    wanted = len(plain(message))
    got = b""
    while len(got) < wanted:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection")
        got += piece
    return got


@dataclass
class Client:
    """One connection under load."""

    connection: socket.socket
    missing: int = 0
    sent_at: float = 0.0
    times: list[float] = field(default_factory=list)


def run(port: int, connections: int, seconds: float, size: int) -> dict[str, float]:
    """The figures of one run. An interrupt ends it early, and well."""
    message = payload(size)
    frame, length = masked(message), len(plain(message))
    clients = {}
    poll = select.epoll()
    for _ in range(connections):
        connection = connect(port)
        if exchange(connection, message) != plain(message):
            raise ConnectionError("the message came back changed")
        connection.setblocking(False)
        clients[connection.fileno()] = Client(connection)
        poll.register(connection.fileno(), select.EPOLLIN)
    buffer = bytearray(1 << 16)
    clock = time.perf_counter
    begin = now = clock()
    try:
        for client in clients.values():
            client.missing, client.sent_at = length, clock()
            client.connection.send(frame)
        end = begin + seconds
        while now < end:
            for number, _ in poll.poll(1.0):
                client = clients[number]
                got = client.connection.recv_into(buffer)
                if got == 0:
                    raise ConnectionError("the server closed the connection")
                client.missing -= got
                if client.missing == 0:
                    now = clock()
                    client.times.append(now - client.sent_at)
                    client.missing, client.sent_at = length, now
                    client.connection.send(frame)
            now = clock()
    except KeyboardInterrupt:
        now = clock()
    times = sorted(value for client in clients.values() for value in client.times)
    for client in clients.values():
        client.connection.close()
    count = len(times)
    return {
        "messages": count,
        "seconds": now - begin,
        "p50_us": times[count // 2] * 1e6 if times else 0.0,
        "p99_us": times[count * 99 // 100] * 1e6 if times else 0.0,
    }


if __name__ == "__main__":
    port, connections, seconds, size = sys.argv[1:]
    print(json.dumps(run(int(port), int(connections), float(seconds), int(size))))
