"""Real clients and real apps: `websockets` and `wsproto`, Starlette and Django Channels."""

import asyncio
import json
import socket
import threading
from contextlib import AsyncExitStack

import pytest
import websockets
import wsproto
from podtest.waiting import DEADLINE, wait_until
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage

STARLETTE = ("chat:app", "-k", "asgi")
CHANNELS = ("channels_chat:application", "-k", "asgi")


def url(server, target):
    return f"ws://127.0.0.1:{server.port}{target}"


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return ("--asgi-loop", request.param)


# ---- the library websockets ----


@pytest.fixture(params=[None, "deflate"], ids=["plain", "deflate"])
def compression(request):
    return request.param


MESSAGES = [
    "",
    "a",
    "grüße 😀" * 50,
    "the same again and again " * 5000,
    b"",
    b"\0\xff" * 100,
    bytes(range(256)) * 4096,
    "x" * 5_000_000,
]


def test_messages_of_every_size(serve, loop, compression):
    server = serve("sockets:app", "-k", "asgi", *loop)
    with connect(url(server, "/echo"), compression=compression, max_size=None) as client:
        assert bool(client.protocol.extensions) == (compression is not None)
        for _ in range(2):
            for message in MESSAGES:
                client.send(message)
                assert client.recv() == message


def test_messages_in_fragments(serve, compression):
    server = serve("sockets:app", "-k", "asgi")
    with connect(url(server, "/echo"), compression=compression) as client:
        client.send(["frag", "", "mented ", "ä" * 1000])
        assert client.recv() == "fragmented " + "ä" * 1000
        client.send([bytes([number]) * 1000 for number in range(200)])
        assert client.recv() == b"".join(bytes([number]) * 1000 for number in range(200))


def test_pings_and_pongs(serve, compression):
    server = serve("sockets:app", "-k", "asgi", "--ws-ping-interval", "0.1", "--ws-ping-timeout", "5")
    with connect(url(server, "/echo"), compression=compression) as client:
        for _ in range(5):
            assert client.ping(b"there?").wait(DEADLINE)
            client.send("still here")
            assert client.recv() == "still here"


def test_subprotocols(serve):
    server = serve(*STARLETTE)
    with connect(url(server, "/chat/a"), subprotocols=["other", "chat"]) as client:
        assert client.subprotocol == "chat"
    with connect(url(server, "/chat/a"), subprotocols=["other"]) as client:
        assert client.subprotocol is None


def test_many_clients(serve, loop, compression):
    server = serve("sockets:app", "-k", "asgi", *loop)

    async def one(stack, number):
        client = await stack.enter_async_context(
            connect_async(url(server, "/echo"), compression=compression, open_timeout=DEADLINE)
        )
        await client.send(f"client {number}")
        return client

    async def everybody():
        async with AsyncExitStack() as stack:
            clients = []
            for start in range(0, 500, 50):
                clients += await asyncio.gather(*(one(stack, number) for number in range(start, start + 50)))
            for number, client in enumerate(clients):
                assert await client.recv() == f"client {number}"

    asyncio.run(everybody())
    wait_until(lambda: server.admin.workers()[0]["connections"] == 0, "no connections")


def test_a_stop_is_seen_as_going_away(serve):
    server = serve("sockets:app", "-k", "asgi")
    with connect(url(server, "/echo")) as client:
        threading.Thread(target=server.stop).start()
        with pytest.raises(websockets.ConnectionClosedOK) as caught:
            client.recv()
        assert caught.value.rcvd.code == 1001


# ---- wsproto ----


class WsProto:
    """A client of wsproto's on a socket."""

    def __init__(self, server, target="/echo"):
        self.socket = socket.create_connection(server.address, timeout=DEADLINE)
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.events = []
        self.deflate = wsproto.extensions.PerMessageDeflate()
        self.send(Request(host="testserver", target=target, extensions=[self.deflate]))
        assert isinstance(self.next(), AcceptConnection)

    def send(self, event):
        self.socket.sendall(self.protocol.send(event))

    def next(self):
        while not self.events:
            data = self.socket.recv(65536)
            self.protocol.receive_data(data or None)
            self.events += self.protocol.events()
        return self.events.pop(0)

    def message(self):
        event = self.next()
        data = event.data
        while not event.message_finished:
            event = self.next()
            data += event.data
        return data


def test_wsproto(serve):
    server = serve("sockets:app", "-k", "asgi")
    client = WsProto(server)
    assert client.deflate.enabled()
    for message in ("grüße" * 100, "short", "x" * 100_000):
        client.send(TextMessage(message))
        assert client.message() == message
    client.send(BytesMessage(b"a" * 100, message_finished=False))
    client.send(Ping(b"between"))
    client.send(BytesMessage(b"b" * 100))
    assert client.next() == Pong(b"between")
    assert client.message() == b"a" * 100 + b"b" * 100
    client.send(CloseConnection(4000, "bye"))
    assert client.next() == CloseConnection(4000, "")
    assert client.socket.recv(1) == b""


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: bytes([data[0] | 0x10]) + data[1:], 1002),
        (lambda data: bytes([data[0] & 0xF0 | 3]) + data[1:], 1002),
        (lambda data: data[:1] + bytes([data[1] & 0x7F]) + data[2:], 1002),
        (lambda data: bytes([data[0] & 0xF0]) + data[1:], 1002),
        (lambda data: data[:6] + bytes([data[6] ^ 0xFF]) + data[7:], 1007),
    ],
    ids=["reserved bit", "reserved opcode", "no mask", "continuation", "not utf-8"],
)
def test_frames_of_wsproto_gone_bad(serve, change, code):
    server = serve("sockets:app", "-k", "asgi", "--no-ws-per-message-deflate")
    client = WsProto(server)
    client.socket.sendall(change(client.protocol.send(TextMessage("a good frame"))))
    event = client.next()
    assert isinstance(event, CloseConnection) and event.code == code


# ---- Starlette ----


def test_a_chat_on_starlette(serve, loop):
    server = serve(*STARLETTE, *loop)
    with connect(url(server, "/chat/a?name=one")) as one, connect(url(server, "/chat/a?name=two")) as two:
        assert json.loads(one.recv())["say"] == "welcome"
        assert json.loads(two.recv())["say"] == "welcome"
        with connect(url(server, "/chat/b?name=three")) as three:
            assert json.loads(three.recv()) == {"say": "welcome", "there": 0}
            for speaker, name in ((one, "one"), (two, "two")):
                speaker.send(json.dumps({"hello": name}))
                for listener in (one, two):
                    assert json.loads(listener.recv()) == {"say": {"hello": name}, "by": name}
            three.send('"alone"')
            assert json.loads(three.recv()) == {"say": "alone", "by": "three"}
        assert server.get("/rooms").json()["a"] == 2
    wait_until(lambda: server.get("/rooms").json() == {"a": 0, "b": 0}, "empty rooms")
    assert "Traceback" not in server.err.text


def test_an_app_that_only_sends_sees_its_client_leave(serve, loop):
    server = serve(*STARLETTE, *loop)
    with connect(url(server, "/ticker")) as client:
        assert [client.recv() for _ in range(5)] == ["0", "1", "2", "3", "4"]
    ticks = wait_until(lambda: server.get("/ticks").json(), "ticks")

    def stopped():
        nonlocal ticks
        before, ticks = ticks, server.get("/ticks").json()
        return before == ticks

    wait_until(stopped, "the end of the ticking", every=0.2)
    assert "Traceback" not in server.err.text


def test_denials_and_closes_of_starlette(serve):
    server = serve(*STARLETTE)
    with pytest.raises(websockets.InvalidStatus) as caught:
        connect(url(server, "/private"))
    assert caught.value.response.status_code == 401
    assert caught.value.response.body == b"not for you"
    assert caught.value.response.headers["WWW-Authenticate"] == "Bearer"
    with pytest.raises(websockets.InvalidStatus) as caught:
        connect(url(server, "/no/such/path"))
    assert caught.value.response.status_code in (403, 404)
    with connect(url(server, "/private"), additional_headers={"Authorization": "Bearer secret"}) as client:
        assert client.recv() == "come in"
        with pytest.raises(websockets.ConnectionClosed) as closed:
            client.recv()
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (3001, "that is all")
    assert "Traceback" not in server.err.text


def test_an_endpoint_of_starlette(serve):
    server = serve(*STARLETTE)
    with connect(url(server, "/echo")) as client:
        client.send(b"bytes")
        assert client.recv() == b"bytes"
        client.close(4444)
    wait_until(lambda: 4444 in server.get("/ticks").json(), "on_disconnect")


# ---- Django Channels ----


def test_a_chat_on_channels(serve, loop):
    server = serve(*CHANNELS, *loop)
    assert server.get("/").text == "plain Django"
    with connect(url(server, "/chat/a"), origin="http://testserver") as one:
        assert json.loads(one.recv()) == "somebody came"
        with connect(url(server, "/chat/a"), origin="http://testserver") as two:
            assert [json.loads(client.recv()) for client in (one, two)] == ["somebody came"] * 2
            two.send('{"say": "hello"}')
            assert [json.loads(client.recv()) for client in (one, two)] == [{"say": "hello"}] * 2
            two.close(4001)
        assert json.loads(one.recv()) == "somebody left: 4001"
        one.send('"quit"')
        with pytest.raises(websockets.ConnectionClosed) as closed:
            one.recv()
        assert closed.value.rcvd.code == 4000
    assert "Traceback" not in server.err.text


def test_channels_may_refuse(serve):
    server = serve(*CHANNELS)
    for target, origin in [("/chat/closed", "http://testserver"), ("/chat/a", "http://elsewhere.example")]:
        with pytest.raises(websockets.InvalidStatus) as caught:
            connect(url(server, target), origin=origin)
        assert caught.value.response.status_code == 403


def test_a_consumer_in_a_thread(serve):
    server = serve(*CHANNELS)
    with connect(url(server, "/blocking"), origin="http://testserver") as client:
        for word in ("one", "two", "three"):
            client.send(word)
            assert client.recv() == word.upper()
