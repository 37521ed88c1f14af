"""WebSockets on green workers through the usual libraries, with the usual clients."""

import asyncio
import base64
import os
import signal
import threading

import pytest
import socketio
import websockets
from podtest import http
from podtest.server import settle
from podtest.types import green_types, params
from podtest.waiting import DEADLINE, wait_until
from websockets.sync.client import connect

# ---- flask-sock (simple-websocket) ----


@pytest.mark.parametrize("kind", params("gthread-4", "gevent", "eventlet"))
def test_flask_sock_echoes(serve, kind):
    server = serve("flask_sock_app:app", *kind, "--access-logfile", "-")
    url = f"ws://127.0.0.1:{server.port}/echo"
    with connect(url) as client:
        for message in ("text", "ünïcode ✓", b"\x00\xff bytes", "", "x" * 300_000, os.urandom(1_000_000)):
            client.send(message)
            assert client.recv() == message
        pong = client.ping()
        assert pong.wait(DEADLINE)
        client.send("bye")
        with pytest.raises(websockets.ConnectionClosed) as closed:
            client.recv()
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "as you wish")
    wait_until(lambda: server.admin.workers()[0]["connections"] == 0, "the end of the connection")
    assert server.get("/").text.startswith("hello")
    assert "Traceback" not in server.err.text


@green_types
def test_flask_sock_pings_clients_that_say_nothing(serve, kind):
    server = serve("flask_sock_app:app", *kind, environment={"PING_INTERVAL": "0.2"})
    url = f"ws://127.0.0.1:{server.port}/echo"
    with connect(url, ping_interval=None) as client:
        settle(1.5)  # several pings, answered by the client's library
        client.send("still here")
        assert client.recv() == "still here"


@green_types
def test_a_frame_that_comes_with_the_handshake_is_not_lost(serve, kind):
    """Not what RFC 6455 lets clients do. With pings the library would wait for the kernel, which has nothing more."""
    server = serve("flask_sock_app:app", *kind, environment={"PING_INTERVAL": "0"})
    key = base64.b64encode(os.urandom(16)).decode()
    fields = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key,
    }  # fmt: skip
    with server.connect() as client:
        client.send(http.head("GET", "/echo", fields) + b"\x81\x85\0\0\0\0early")
        assert client.read_head().status == 101
        assert client._exactly(7, "the echo") == b"\x81\x05early"


@green_types
def test_a_chat_of_two_hundred(serve, kind):
    """Each says something to all others; plain requests go on beside them."""
    count = 200
    server = serve("flask_sock_app:app", *kind)
    base = f"ws://127.0.0.1:{server.port}/chat/"

    async def member(number: int, all_there: asyncio.Event) -> list[str]:
        async with websockets.connect(base + str(number), open_timeout=DEADLINE) as client:
            await all_there.wait()
            await client.send(f"hello from {number}")
            return [await client.recv() for _ in range(count - 1)]

    async def room() -> list[list[str]]:
        all_there = asyncio.Event()
        members = [asyncio.create_task(member(number, all_there)) for number in range(count)]
        while (await asyncio.to_thread(server.get, "/members")).text != str(count):
            await asyncio.sleep(0.05)
        all_there.set()
        return await asyncio.gather(*members)

    heard = asyncio.run(asyncio.wait_for(room(), DEADLINE * 2))
    for number, texts in enumerate(heard):
        assert sorted(texts) == sorted(f"{n}: hello from {n}" for n in range(count) if n != number)
    wait_until(lambda: server.get("/members").text == "0", "the end of all members")
    wait_until(lambda: server.admin.workers()[0]["inFlight"] == 0, "the end of all requests")


@green_types
def test_a_handler_that_raises_ends_its_connection_only(serve, kind):
    server = serve("flask_sock_app:app", *kind)
    (pid,) = server.admin.pids()
    with (
        connect(f"ws://127.0.0.1:{server.port}/raise") as client,
        connect(f"ws://127.0.0.1:{server.port}/echo") as other,
    ):
        client.send("go")
        with pytest.raises(websockets.ConnectionClosed):
            client.recv()
        other.send("unharmed")
        assert other.recv() == "unharmed"
    assert server.get("/").text == f"hello {pid}\n"
    server.err.wait_for("the handler raised")


@green_types
def test_a_websocket_is_no_hang_and_has_no_deadline(serve, kind):
    server = serve("flask_sock_app:app", *kind, "--timeout", "2", "--request-timeout", "1", "--stall-timeout", "1")
    (pid,) = server.admin.pids()
    with connect(f"ws://127.0.0.1:{server.port}/echo") as client:
        settle(3.5)
        client.send("still here")
        assert client.recv() == "still here"
    assert server.admin.pids() == [pid]


@green_types
def test_a_graceful_stop_is_not_held_up_for_ever_by_websockets(serve, kind):
    server = serve("flask_sock_app:app", *kind, "--graceful-timeout", "2")
    with connect(f"ws://127.0.0.1:{server.port}/echo") as client:
        client.send("one")
        assert client.recv() == "one"
        server.send(signal.SIGTERM)
        server.err.wait_for("Shutting down")
        client.send("two")
        assert client.recv() == "two"
        with pytest.raises(websockets.ConnectionClosed):
            client.recv()
    assert server.wait_exit() == 0


# ---- Flask-SocketIO ----


class User:
    """A socket.io client that remembers what it hears."""

    def __init__(self, port: int, *transports: str) -> None:
        self.client = socketio.Client(reconnection=False)
        self.heard: list[object] = []
        self.client.on("said", self.heard.append)
        self.client.on("number", self.heard.append)
        self.client.connect(
            f"http://127.0.0.1:{port}", transports=list(transports) or None, wait_timeout=DEADLINE, retry=False
        )

    def ask(self, event: str, data: object) -> object:
        return self.client.call(event, data, timeout=DEADLINE)


@pytest.fixture
def users():
    made: list[User] = []
    yield made
    for user in made:
        user.client.disconnect()


@green_types
@pytest.mark.parametrize(
    "transports", [(), ("websocket",), ("polling",)], ids=lambda names: "-".join(names) or "upgrade"
)
def test_flask_socketio(serve, users, kind, transports):
    server = serve("socketio_app:app", *kind, environment={"ASYNC_MODE": kind[1]})
    user = User(server.port, *transports)
    users.append(user)
    wait_until(lambda: user.client.transport() == (transports or ("websocket",))[0], "the transport")
    assert user.ask("double", 21) == 42
    data = os.urandom(200_000)
    assert user.ask("blob", data) == data[::-1]
    user.client.emit("count", 20)
    wait_until(lambda: user.heard == list(range(20)), lambda: f"twenty numbers; heard {user.heard}")
    assert server.get("/").text == f"1 connected, mode {kind[1]}\n"
    user.client.disconnect()
    wait_until(lambda: server.get("/").text.startswith("0 connected"), "the end of the session")
    assert "Traceback" not in server.err.text
    assert server.stop() == 0


@green_types
def test_flask_socketio_with_rooms_full_of_users(serve, users, kind):
    server = serve("socketio_app:app", *kind, environment={"ASYNC_MODE": kind[1]})
    lock = threading.Lock()

    def come(number: int) -> None:
        user = User(server.port, *[(), ("websocket",), ("polling",)][number % 3])
        with lock:
            users.append(user)
        user.ask("enter", f"room {number % 2}")
        user.room = number % 2

    threads = [threading.Thread(target=come, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(users) == 30
    for number in range(20):
        users[number].client.emit("say", {"room": f"room {number % 2}", "text": f"text {number}"})
    for user in users:
        wanted = sorted(f"text {number}" for number in range(20) if number % 2 == user.room)
        wait_until(
            lambda user=user, wanted=wanted: sorted(user.heard) == wanted, lambda user=user: f"heard {user.heard}"
        )


# ---- eventlet's own ----


def test_eventlets_own_websockets(serve):
    server = serve("eventlet_websocket_app:application", "-k", "eventlet")
    with connect(f"ws://127.0.0.1:{server.port}/echo") as one, connect(f"ws://127.0.0.1:{server.port}/echo") as two:
        for message in ("text", b"bytes", "x" * 200_000):
            for client in (one, two):
                client.send(message)
            for client in (two, one):
                assert client.recv() == message
    assert server.get("/").text == "plain\n"
    with connect(f"ws://127.0.0.1:{server.port}/echo") as client:
        client.send("again")
        assert client.recv() == "again"
    assert "Traceback" not in server.err.text
