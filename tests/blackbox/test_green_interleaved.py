"""Greenlets that leave Rust code half-way and come back in another order: slow uploads and downloads, by the hundred.

Each wait for a client is a switch in the midst of the engine's own frames, and the others run on the same addresses of
the stack meanwhile. Whatever is mixed up shows in the bytes.
"""

import asyncio
import hashlib
import random

import pytest
from podtest.types import green_types
from podtest.waiting import wait_until

PATTERN = hashlib.sha512(b"pattern").digest() * 1024
#: Smaller than what is sent, so that the app waits for it itself.
OPTIONS = ("--body-buffer", "2k", "--worker-connections", "2000", "--keep-alive", "60")


class Client:
    """One connection, with little room in the kernel, so that both sides have to wait."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    async def connect(self, port: int) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port, limit=8192)

    async def head(self) -> dict[str, str]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        assert " 200 " in lines[0], lines
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    async def body(self, head: dict[str, str], rest: float) -> bytes:
        if "content-length" in head:
            return await self.reader.readexactly(int(head["content-length"]))
        pieces = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            pieces.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
            await self.pause(rest)
        await self.reader.readexactly(2)
        return b"".join(pieces)

    async def pause(self, rest: float) -> None:
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.random() * rest)

    async def send_slowly(self, data: bytes, rest: float) -> None:
        at = 0
        while at < len(data):
            size = self.random.randrange(1, 30_000)
            self.writer.write(data[at : at + size])
            await self.writer.drain()
            at += size
            await self.pause(rest)

    def request(self, line: str, *fields: str) -> bytes:
        return "\r\n".join([f"{line} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


async def upload(port: int, seed: int) -> None:
    client = Client(seed)
    await client.connect(port)
    for turn in range(3):
        data = client.random.randbytes(client.random.randrange(1, 300_000))
        client.writer.write(client.request(f"POST /digest-slowly/{seed}-{turn}", f"Content-Length: {len(data)}"))
        await client.send_slowly(data, 0.02)
        answer = await client.body(await client.head(), 0)
        assert (
            answer
            == (
                f'{{"length": {len(data)}, "sha256": "{hashlib.sha256(data).hexdigest()}", "name": "{seed}-{turn}"}}'
            ).encode()
        )
    client.writer.close()


async def download(port: int, seed: int) -> None:
    client = Client(seed)
    await client.connect(port)
    for _ in range(3):
        size = client.random.randrange(1, 3_000_000)
        client.writer.write(client.request(f"GET /pattern/{size}"))
        body = await client.body(await client.head(), 0.005)
        assert len(body) == size
        assert body == expected(size)
    client.writer.close()


def expected(size: int) -> bytes:
    """What the app's generator gives: it goes on where it was, modulo the length of the pattern's period."""
    parts, left, at, number = [], size, 0, 0
    while left:
        number += 1
        step = min(left, 1 + (number * 7919) % 40_000)
        parts.append(PATTERN[at : at + step])
        at = (at + step) % 4096
        left -= step
    return b"".join(parts)


async def both_ways(port: int, seed: int) -> None:
    """The body comes back while it is still being sent."""
    client = Client(seed)
    await client.connect(port)
    data = client.random.randbytes(client.random.randrange(100_000, 600_000))
    client.writer.write(client.request("POST /echo-both-ways", f"Content-Length: {len(data)}"))
    sending = asyncio.create_task(client.send_slowly(data, 0.02))
    body = await client.body(await client.head(), 0.005)
    await sending
    assert body == data
    client.writer.close()


@green_types
@pytest.mark.timeout(600)
def test_slow_uploads_and_downloads_side_by_side(serve, kind):
    server = serve("green_app:application", *kind, *OPTIONS)
    (pid,) = server.admin.pids()

    async def everybody() -> None:
        tasks = []
        for seed in range(100):
            tasks += [
                upload(server.port, seed),
                download(server.port, seed + 1000),
                both_ways(server.port, seed + 2000),
            ]
        await asyncio.gather(*tasks)

    asyncio.run(everybody())
    assert server.admin.pids() == [pid]
    wait_until(lambda: server.admin.workers()[0]["inFlight"] == 0, "the end of all requests")
    assert "Traceback" not in server.err.text


@green_types
@pytest.mark.timeout(600)
def test_clients_that_break_off_hurt_nobody(serve, kind):
    server = serve("green_app:application", *kind, *OPTIONS)
    (pid,) = server.admin.pids()

    async def leave(port: int, seed: int) -> None:
        client = Client(seed)
        await client.connect(port)
        if seed % 2:
            client.writer.write(client.request("POST /digest-slowly/x", "Content-Length: 1000000"))
            await client.send_slowly(client.random.randbytes(50_000), 0.01)
        else:
            client.writer.write(client.request("GET /pattern/5000000"))
            await client.reader.readexactly(20_000)
        if seed % 4 < 2:
            client.writer.transport.abort()
        else:
            client.writer.close()

    async def everybody() -> None:
        tasks = []
        for seed in range(80):
            tasks += [leave(server.port, seed), leave(server.port, seed + 1), upload(server.port, seed + 1000)]
        await asyncio.gather(*tasks)

    asyncio.run(everybody())
    assert server.admin.pids() == [pid]
    assert server.get("/pid").text == str(pid)
    assert "Traceback" not in server.err.text
