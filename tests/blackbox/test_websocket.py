"""WebSocket under the asgi worker: scope, messages, keep-alive, back-pressure, and the end of the worker."""

import json
import re
import signal
import socket
from urllib.parse import quote

import pytest
from podtest import http, websocket
from podtest.server import settle
from podtest.waiting import wait_until
from podtest.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

#: No Pings but where a test is about them: on a busy machine they would come in between.
SOCKETS = ("sockets:app", "-k", "asgi", "--ws-ping-interval", "600")
#: Takes `websocket.connect` and accepts; the bare message; as steps.
ACCEPT = ("accept",)
ANSWER = ("send", {"type": "websocket.accept"})
MIB = 1 << 20


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request):
    return ("--asgi-loop", request.param)


@pytest.fixture
def server(serve):
    return serve(*SOCKETS)


def script(server, *steps, name="it", **options):
    """A connection whose app does these steps; see ``apps/sockets.py``."""
    return websocket.ask(server.address, f"/script?name={name}&do={quote(json.dumps(steps))}", **options)


def opened(server, *steps, name="it", **options):
    target = f"/script?name={name}&do={quote(json.dumps(steps))}"
    return websocket.connect(server.address, target, **options)


def seen(server, name="it", whole=True):
    """What the app has seen, once its call is over."""

    def found():
        steps = server.get(f"/seen/{name}").json() or []
        return steps if not whole or steps[-1:] == ["end"] else None

    return wait_until(found, "the end of the app's call")


# ---- the scope ----


def test_the_scope(server):
    more = [("Cookie", "a=b"), ("X-Any", "Thing"), ("Origin", "http://example.com")]
    with websocket.connect(server.address, "/scope/%C3%A4?a=b&c=%20", protocols="chat, superchat", more=more) as client:
        scope = json.loads(client.read_message())
    assert scope["type"] == "websocket"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
    assert (scope["http_version"], scope["scheme"]) == ("1.1", "ws")
    assert (scope["path"], scope["raw_path"]) == ("/scope/ä", {"bytes": "/scope/%C3%A4"})
    assert (scope["query_string"], scope["root_path"]) == ({"bytes": "a=b&c=%20"}, "")
    assert scope["subprotocols"] == ["chat", "superchat"]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert scope["server"] == ["127.0.0.1", server.port]
    assert scope["client"][0] == "127.0.0.1"
    assert "method" not in scope
    headers = [(name["bytes"], value["bytes"]) for name, value in scope["headers"]]
    assert headers[0] == ("host", "testserver")
    assert ("cookie", "a=b") in headers and ("x-any", "Thing") in headers
    assert [name for name, _ in headers if name == "sec-websocket-key"]


def test_without_subprotocols(server):
    with websocket.connect(server.address, "/scope") as client:
        assert json.loads(client.read_message())["subprotocols"] == []


def test_a_trusted_proxys_scheme_counts(serve):
    told = [("X-Forwarded-Proto", "https")]
    for allowed, scheme in [("127.0.0.1", "wss"), ("10.0.0.1", "ws")]:
        server = serve(*SOCKETS, "--forwarded-allow-ips", allowed)
        with websocket.connect(server.address, "/scope", more=told) as client:
            assert json.loads(client.read_message())["scheme"] == scheme


def test_an_http_request_beside_it(server):
    with websocket.connect(server.address, "/echo") as client:
        assert server.get("/").text == "http"
        client.text("still here")
        client.expect(TEXT, "still here")


# ---- the app's messages ----


def test_events_of_a_whole_life(server, loop, serve):
    server = serve(*SOCKETS, *loop)
    steps = [("receive",), ANSWER, *[("receive",)] * 4]
    with opened(server, *steps) as client:
        client.text("grüße")
        client.binary(b"\0\xff")
        client.text("")
        client.close(4321, "that is all")
        client.expect_close(4321)
        client.expect_end()
    assert seen(server) == [
        {"type": "websocket.connect"},
        None,
        {"type": "websocket.receive", "text": "grüße"},
        {"type": "websocket.receive", "bytes": {"bytes": "\0\xff"}},
        {"type": "websocket.receive", "text": ""},
        {"type": "websocket.disconnect", "code": 4321, "reason": "that is all"},
        "end",
    ]


def test_the_disconnect_is_told_as_often_as_it_is_asked_for(server):
    with opened(server, ACCEPT, *[("receive",)] * 3) as client:
        client.leave()
    assert seen(server)[2:4] == [{"type": "websocket.disconnect", "code": 1000, "reason": ""}] * 2


def test_what_may_be_sent(server):
    steps = [
        ACCEPT,
        ("send", {"type": "websocket.send", "text": "t"}),
        ("send", {"type": "websocket.send", "bytes": {"bytes": "b"}}),
        ("send", {"type": "websocket.send", "text": "unused", "bytes": {"bytes": "both"}}),
        ("send", {"type": "websocket.send", "text": "left", "bytes": None}),
        ("send", {"type": "websocket.send", "text": None, "bytes": {"bytes": ""}}),
        ("send", {"type": "websocket.send"}),
        ("send", {"type": "websocket.send", "text": 5}),
        ("send", {"type": "websocket.send", "bytes": "text"}),
        ("send", {"type": "websocket.send", "text": "\ud800"}),
        ("send", {"type": "websocket.accept"}),
        ("send", {"type": "websocket.http.response.start", "status": 200}),
        ("send", {"type": "http.response.start", "status": 200}),
        ("send", {"text": "no type"}),
        ("send", {"type": "websocket.close", "code": "x"}),
        ("send", {"type": "websocket.close", "code": None, "reason": None}),
    ]
    with opened(server, *steps) as client:
        client.expect(TEXT, "t")
        client.expect(BINARY, b"b")
        client.expect(BINARY, b"both")
        client.expect(TEXT, "left")
        client.expect(BINARY, b"")
        client.expect_close(1000)
    found = seen(server)
    assert found[:6] == [None] * 6
    assert [step.partition(":")[0] for step in found[6:15]] == [
        "ValueError",
        "TypeError",
        "TypeError",
        "UnicodeEncodeError",
        "RuntimeError",
        "RuntimeError",
        "ValueError",
        "ValueError",
        "ValueError",
    ]
    assert found[15] is None


def test_what_is_wrong_before_the_accept(server):
    steps = [
        ("send", {"type": "websocket.send", "text": "early"}),
        ("send", {"type": "websocket.http.response.body", "body": {"bytes": "x"}}),
        ("send", {"type": "websocket.accept", "subprotocol": 5}),
        ("send", {"type": "websocket.accept", "headers": [[{"bytes": "bad name"}, {"bytes": "x"}]]}),
        ("send", {"type": "websocket.accept", "headers": [[{"bytes": "x"}, {"bytes": "bad\r\nvalue: 1"}]]}),
        ("send", {"type": "websocket.accept", "headers": [[{"bytes": "x"}, {"bytes": "good"}]]}),
    ]
    with opened(server, *steps) as client:
        assert client.response.header("X") == "good"
        assert b"value" not in client.response.raw_head
    found = seen(server)
    assert [step.partition(":")[0] for step in found[:5]] == [
        "RuntimeError",
        "RuntimeError",
        "TypeError",
        "ValueError",
        "ValueError",
    ]


def test_headers_of_the_accept(server):
    pairs = [[{"bytes": "set-cookie"}, {"bytes": "a=1"}], [{"bytes": "set-cookie"}, {"bytes": "b=2"}]]
    with opened(server, ("send", {"type": "websocket.accept", "headers": pairs})) as client:
        assert client.response.all("Set-Cookie") == ["a=1", "b=2"]


def test_receive_may_be_waited_for_while_another_task_sends(serve, loop):
    server = serve(*SOCKETS, *loop)
    with websocket.connect(server.address, "/two?name=it") as client:
        client.send(*[frame(TEXT, "x")] * 100)
        assert [client.read_message() for _ in range(100)] == [str(number) for number in range(100)]
        client.leave()
    assert seen(server).count("got") == 100


# ---- refusals ----


def test_a_close_before_the_accept_is_403(server):
    connection, response, _ = script(server, ("receive",), ("send", {"type": "websocket.close"}), ("receive",))
    with connection:
        assert response.status == 403
        assert response.header("Connection") == "close"
        connection._exactly(int(response.header("Content-Length")), "the body")
        assert connection.finish() is http.End.FIN
    assert seen(server)[2] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


def test_a_response_in_the_place_of_the_accept(server):
    start = {
        "type": "websocket.http.response.start",
        "status": 418,
        "headers": [[{"bytes": "x-why"}, {"bytes": "tea"}]],
    }
    more = {"type": "websocket.http.response.body", "body": {"bytes": "short and "}, "more_body": True}
    last = {"type": "websocket.http.response.body", "body": {"bytes": "stout"}}
    steps = [("receive",), ("send", start), ("send", more), ("send", last), ("receive",), ("send", last), ANSWER]
    connection, response, _ = script(server, *steps)
    with connection:
        assert response.status == 418
        assert response.header("X-Why") == "tea"
        assert response.header("Connection") == "close"
        assert connection._read_body("GET", response) == b"short and stout"
        assert connection.finish() is http.End.FIN
    found = seen(server)
    assert found[1:4] == [None] * 3
    assert found[4] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert all(step.startswith("RuntimeError: ") for step in found[5:7])


def test_a_response_with_its_length(server):
    start = {"type": "websocket.http.response.start", "status": 403, "headers": []}
    last = {"type": "websocket.http.response.body", "body": {"bytes": "no"}}
    connection, response, _ = script(server, ("send", start), ("send", last))
    with connection:
        assert response.header("Content-Length") == "2"
        assert connection.read_to_end() == b"no"


@pytest.mark.parametrize(
    ("steps", "said"), [([("raise",)], "ValueError: as asked"), ([("receive",)], "without answering")]
)
def test_an_app_that_does_not_answer_is_a_500(server, steps, said):
    connection, response, _ = script(server, *steps)
    with connection:
        assert response.status == 500
    server.err.wait_for(said)
    server.err.wait_for(r"ERROR.*WebSocket /script")


def test_a_denial_that_stops_half_way(server):
    start = {"type": "websocket.http.response.start", "status": 403, "headers": []}
    more = {"type": "websocket.http.response.body", "body": {"bytes": "half"}, "more_body": True}
    connection, response, _ = script(server, ("send", start), ("send", more))
    with connection, pytest.raises(http.ExchangeError):
        assert response.status == 403
        connection._read_body("GET", response)


def test_invalid_handshakes_are_counted_and_logged(serve):
    server = serve(*SOCKETS, "--access-logfile", "-")
    connection, response, _ = websocket.ask(server.address, "/echo", sec_websocket_version="8")
    with connection:
        assert response.status == 426
    server.err.wait_for(r"WARNING.*Invalid WebSocket handshake from ip=127\.0\.0\.1: only version 13")
    server.out.wait_for(r'"GET /echo HTTP/1\.1" 426 ')


# ---- the end of the app's call ----


def test_an_app_that_raises_closes_with_1011(server):
    with opened(server, ACCEPT, ("receive",), ("raise",)) as client:
        client.text("go")
        client.expect_close(1011)
        client.close(1011)
        client.expect_end()
    server.err.wait_for(r"ERROR.*Error handling WebSocket /script")
    server.err.wait_for("ValueError: as asked")


@pytest.mark.parametrize("how", ["exit", "cancel"])
def test_no_exception_of_an_app_ends_the_worker(server, how):
    pids = server.worker_pids()
    with opened(server, ACCEPT, ("receive",), (how,)) as client:
        client.text("go")
        client.expect_close(1011)
    server.err.wait_for("Error handling WebSocket /script")
    assert server.get("/").text == "http"
    assert server.worker_pids() == pids


def test_an_app_that_returns_closes_with_1000(server):
    with opened(server, ACCEPT, ("send", {"type": "websocket.send", "text": "bye"})) as client:
        client.expect(TEXT, "bye")
        client.expect_close(1000)
        client.close()
        client.expect_end()
    assert "ERROR" not in server.err.text


def test_sending_to_a_client_that_has_left(server):
    """An `OSError` (ASGI 2.4); a close that comes too late is nothing."""
    steps = [
        ACCEPT,
        ("receive",),
        ("send", {"type": "websocket.send", "text": "anybody?"}),
        ("send", {"type": "websocket.close"}),
        ("send", {"type": "websocket.close"}),
    ]
    with opened(server, *steps) as client:
        client.leave()
    found = seen(server)
    assert found[2].startswith("BrokenPipeError: ")
    assert found[3:5] == [None, None]
    assert "ERROR" not in server.err.text


def test_a_client_that_leaves_during_the_handshake(serve, gate):
    server = serve(*SOCKETS, environment=gate.environment)
    steps = [("receive",), ("pause", "handshake"), ("receive",), ANSWER, ("send", {"type": "websocket.close"})]
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    with server.connect() as connection:
        target = f"/script?name=it&do={quote(json.dumps(steps))}"
        connection.send(http.head("GET", target, websocket.fields(key)))
        gate.wait(1, "handshake")
    gate.open()
    found = seen(server)
    assert found[2] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert found[3].startswith("BrokenPipeError: ")
    assert "ERROR" not in server.err.text


def test_an_exception_about_the_client_is_not_an_error(serve, tmp_path):
    """What frameworks make of the disconnect: Starlette's exception, by its name."""
    (tmp_path / "leaving.py").write_text(
        "class WebSocketDisconnect(Exception): pass\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] == 'websocket'\n"
        "    await receive()\n"
        "    await send({'type': 'websocket.accept'})\n"
        "    event = await receive()\n"
        "    while event['type'] != 'websocket.disconnect': event = await receive()\n"
        "    if scope['path'] == '/own': raise WebSocketDisconnect(1000)\n"
        "    if scope['path'] == '/send': await send({'type': 'websocket.send', 'text': 'x'})\n"
        "    raise KeyError('a fault of its own')\n"
    )
    server = serve("leaving:app", "-k", "asgi", "--log-level", "debug", cwd=tmp_path)
    for path in ("/own", "/send"):
        with websocket.connect(server.address, path) as client:
            client.leave()
        server.err.wait_for(f"DEBUG.*The client has left WebSocket {path}")
    assert "ERROR" not in server.err.text
    with websocket.connect(server.address, "/fault") as client:
        client.leave()
    server.err.wait_for("KeyError: 'a fault of its own'")


# ---- keep-alive ----

PINGS = ("--ws-ping-interval", "0.2", "--ws-ping-timeout", "0.4")


def test_clients_are_pinged_and_live_on_if_they_answer(serve, loop):
    server = serve(*SOCKETS, *PINGS, *loop)
    with websocket.connect(server.address, "/echo") as client:
        payloads = []
        for _ in range(5):
            ping = client.read_frame()
            assert ping.opcode == PING
            payloads.append(ping.payload)
            client.send(frame(PONG, ping.payload))
        assert len(set(payloads)) == len(payloads)
        client.text("alive")
        found = client.read_frame()
        while found.opcode == PING:
            found = client.read_frame()
        assert found.payload == b"alive"


def test_a_client_that_does_not_answer_is_given_up(serve, loop):
    server = serve(*SOCKETS, *PINGS, *loop)
    with websocket.connect(server.address, "/echo?name=it") as client:
        assert client.read_frame().opcode == PING
        client.expect_close(1011, "keepalive ping timeout")
        client.expect_end()
    assert seen(server)[1] == {"type": "websocket.disconnect", "code": 1011, "reason": "keepalive ping timeout"}


def test_anything_that_a_client_sends_is_an_answer(serve):
    server = serve(*SOCKETS, *PINGS)
    with websocket.connect(server.address, "/slow") as client:
        for _ in range(5):
            assert client.read_frame().opcode == PING
            client.send(frame(TEXT, "part of a message", fin=False) if not _ else frame(CONTINUATION, "x", fin=False))


def test_a_client_that_takes_a_long_message_is_not_given_up(serve):
    """The Ping waits behind 20 MB, of which the client takes some in every period."""
    server = serve(*SOCKETS, *PINGS)
    with websocket.connect(server.address, f"/push?count=1&size={20 * MIB}") as client:
        client.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        size = 0
        for _ in range(10):
            settle(0.15)
            for _ in range(4):
                size += len(client.connection.socket.recv(256 * 1024))
        while size < 20 * MIB + 10:
            size += len(client.connection.socket.recv(MIB))


@pytest.mark.parametrize("how", [PINGS, ("--ws-ping-interval", "0", "--stall-timeout", "1")], ids=["pings", "no pings"])
def test_a_client_that_takes_nothing_is_given_up(serve, loop, how):
    server = serve(*SOCKETS, *how, *loop)
    with websocket.connect(server.address, f"/push?name=it&count=100&size={MIB}"):
        found = seen(server)
    assert found[-2].startswith("BrokenPipeError: ")
    assert len(found) < 100
    assert "ERROR" not in server.err.text


def test_pings_can_be_switched_off(serve):
    server = serve(*SOCKETS, "--ws-ping-interval", "0", "--ws-ping-timeout", "0.1")
    with websocket.connect(server.address, "/echo") as client:
        settle(1)
        client.text("first")
        client.expect(TEXT, "first")


def test_pings_without_a_deadline(serve):
    server = serve(*SOCKETS, "--ws-ping-interval", "0.1", "--ws-ping-timeout", "0")
    with websocket.connect(server.address, "/echo") as client:
        for _ in range(10):
            assert client.read_frame().opcode == PING


def test_other_deadlines_are_not_for_it(serve):
    """Neither those of HTTP's connections nor that of a request."""
    times = ("--head-timeout", "0.3", "--keep-alive", "1", "--request-timeout", "0.5", "--stall-timeout", "1")
    server = serve(*SOCKETS, *times)
    with websocket.connect(server.address, "/echo") as client:
        client.send(frame(TEXT, "half")[:7])
        settle(2.5)
        client.send(frame(TEXT, "half")[7:])
        client.expect(TEXT, "half")


def test_a_handshake_that_is_not_answered_in_time(serve, gate):
    """`request_timeout` is for the answer to the handshake, as to any request."""
    server = serve(*SOCKETS, "--request-timeout", "0.5", environment=gate.environment)
    connection, response, _ = script(server, ("pause", "late"), ACCEPT)
    with connection:
        assert response.status == 504
    gate.open()
    assert seen(server)[1].startswith("BrokenPipeError: ")
    assert "Traceback" not in server.err.text


# ---- back-pressure ----


def test_an_app_that_does_not_receive_makes_its_client_wait(serve, gate, loop):
    server = serve(*SOCKETS, *loop, environment=gate.environment)
    with websocket.connect(server.address, "/slow") as client:
        gate.wait(1, "slow")
        message = frame(BINARY, b"x" * 65536)
        sent = 0
        client.connection.socket.settimeout(2)
        try:
            # Far more than the buffers of kernel and server hold.
            while sent < 200 * MIB:
                sent += client.connection.socket.send(message[sent % len(message) :])
        except TimeoutError:
            pass
        assert sent < 100 * MIB, "nobody makes the client wait"
        client.connection.socket.settimeout(http.SILENCE)
        gate.open()
        client.send(message[sent % len(message) :])
        client.text("how many")
        messages = sent // len(message) + 1
        assert client.read_message() == f"{messages} {messages * 65536}"


def test_pings_are_answered_until_the_client_has_to_wait(serve, gate):
    server = serve(*SOCKETS, environment=gate.environment)
    with websocket.connect(server.address, "/slow") as client:
        gate.wait(1, "slow")
        client.send(frame(TEXT, "unread"), frame(PING, b"there?"))
        client.expect(PONG, b"there?")
        gate.open()
        client.text("how many")
        assert client.read_message() == "1 6"


@pytest.mark.parametrize("kind", ["bytes", "text"])
@pytest.mark.parametrize("size", [1000, MIB])
def test_a_client_that_does_not_read_makes_the_app_wait(serve, loop, size, kind):
    server = serve(*SOCKETS, *loop)
    count = 200 * MIB // size
    text = "&text=yes" if kind == "text" else ""
    with websocket.connect(server.address, f"/push?name=it&count={count}&size={size}{text}") as client:

        def still():
            before = len(seen(server, whole=False))
            settle(0.5)
            return before > 1 and len(seen(server, whole=False)) == before

        wait_until(still, "the app's waiting")
        assert len(seen(server, whole=False)) < count / 2
        for number in range(count):
            message = client.read_message()
            assert (int(message), len(message), type(message)) == (number, size, str if kind == "text" else bytes)
        client.expect_close(1000)
    assert seen(server)[-2] == count - 1


def test_a_flood_of_pings_does_not_fill_the_memory(serve):
    """Their answers are not read, so nothing more is read from the client."""
    server = serve(*SOCKETS)
    with websocket.connect(server.address, "/echo") as client:
        client.connection.socket.settimeout(2)
        ping = frame(PING, b"x" * 125) * 500
        sent = 0
        try:
            while sent < 200 * MIB:
                sent += client.connection.socket.send(ping[sent % len(ping) :])
        except TimeoutError:
            pass
        assert sent < 100 * MIB
        assert server.get("/").text == "http"


def test_one_connection_does_not_keep_others_waiting(serve, loop):
    """It sends without an end and the app does not read it."""
    server = serve(*SOCKETS, *loop)
    with websocket.connect(server.address, "/echo") as flood, websocket.connect(server.address, "/echo") as client:
        flood.connection.socket.setblocking(False)
        fragments = frame(TEXT, "", fin=False) + frame(CONTINUATION, "", fin=False) * 10_000
        flood.connection.socket.setblocking(True)
        flood.send(fragments)
        for number in range(20):
            flood.send(frame(CONTINUATION, "", fin=False) * 1000)
            client.text(str(number))
            client.expect(TEXT, str(number))


# ---- the end of the worker ----


def test_a_graceful_stop_says_1001(serve, loop):
    server = serve(*SOCKETS, *loop)
    with websocket.connect(server.address, "/echo?name=it") as client:
        client.text("a")
        client.expect(TEXT, "a")
        server.send(signal.SIGTERM)
        client.expect_close(1001)
        client.close(1001)
        client.expect_end()
    assert server.wait_exit() == 0


def test_a_client_that_does_not_answer_the_1001_does_not_hold_the_worker_up(serve):
    server = serve(*SOCKETS, "--graceful-timeout", "2")
    with websocket.connect(server.address, "/echo") as client:
        server.send(signal.SIGTERM)
        client.expect_close(1001)
        assert server.wait_exit() == 0


def test_the_worker_waits_for_the_app(serve, gate):
    """It is told of the end by 1001, and may take its time for what it has to do then."""
    server = serve(*SOCKETS, "--graceful-timeout", "60", environment=gate.environment)
    steps = [ACCEPT, ("receive",), ("pause", "cleanup"), ("send", {"type": "websocket.send", "text": "x"})]
    with opened(server, *steps) as client:
        server.send(signal.SIGTERM)
        client.expect_close(1001)
        client.close(1001)
        client.expect_end()
        (visitor,) = gate.wait(1, "cleanup")
        settle(0.5)
        assert server.running()
        gate.release(visitor)
    assert server.wait_exit() == 0
    assert "Traceback" not in server.err.text


def test_an_app_that_does_not_end_is_cut_off(serve, gate):
    server = serve(*SOCKETS, "--graceful-timeout", "1", environment=gate.environment)
    with opened(server, ACCEPT, ("receive",), ("pause", "forever")) as client:
        server.send(signal.SIGTERM)
        client.expect_close(1001)
        client.close(1001)
        gate.wait(1, "forever")
        wait_until(lambda: not server.worker_pids() if server.running() else True, "the worker's end")
        gate.open()
    server.wait_exit()


def test_a_handshake_during_the_stop(serve, gate):
    server = serve(*SOCKETS, "--graceful-timeout", "60", environment=gate.environment)
    steps = [("receive",), ("pause", "handshake"), ANSWER, ("receive",)]
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    with server.connect() as connection:
        target = f"/script?do={quote(json.dumps(steps))}"
        connection.send(http.head("GET", target, websocket.fields(key)))
        gate.wait(1, "handshake")
        server.send(signal.SIGTERM)
        server.err.wait_for("Handling signal: term")
        settle(0.5)
        gate.open()
        assert connection.read_head().status == 101
        client = websocket.WebSocket(connection, None)
        client.expect_close(1001)
        client.close(1001)
        client.expect_end()
    assert server.wait_exit() == 0


def test_a_quick_stop_ends_connections(serve):
    server = serve(*SOCKETS)
    with websocket.connect(server.address, "/echo") as client:
        server.send(signal.SIGQUIT)
        client.connection.read_to_end()
        assert server.wait_exit() == 0


def test_a_replaced_worker_says_1001(serve):
    """`max_requests` counts a handshake as a request."""
    server = serve(*SOCKETS, "--max-requests", "2")
    pids = server.worker_pids()
    with websocket.connect(server.address, "/echo") as first, websocket.connect(server.address, "/echo") as second:
        for client in (first, second):
            client.expect_close(1001)
            client.close(1001)
            client.expect_end()
    wait_until(lambda: server.worker_pids() and server.worker_pids() != pids, "the replacement")
    with websocket.connect(server.address, "/echo") as client:
        client.text("new")
        client.expect(TEXT, "new")


def test_a_reload_says_1001(serve):
    server = serve(*SOCKETS)
    with websocket.connect(server.address, "/echo") as client:
        server.send(signal.SIGHUP)
        client.expect_close(1001)
        client.close(1001)
        client.expect_end()


# ---- limits, counts, logs ----


def test_connections_are_bounded_by_worker_connections(serve):
    server = serve(*SOCKETS, "--worker-connections", "2")
    with websocket.connect(server.address, "/echo") as first, websocket.connect(server.address, "/echo"):
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        with server.connect() as third:
            third.send(http.head("GET", "/echo", websocket.fields(key)))
            third.socket.settimeout(1)
            with pytest.raises(TimeoutError):
                third.read_head()
            third.socket.settimeout(http.SILENCE)
            first.leave()
            assert third.read_head().status == 101


def test_the_scoreboard_counts_connections_and_handshakes(serve):
    server = serve(*SOCKETS)
    clients = [websocket.connect(server.address, "/echo") for _ in range(7)]
    wait_until(lambda: server.admin.workers()[0]["connections"] == 7, "seven connections")
    # An open WebSocket is no request that runs: the load that scaling goes by would never fall.
    wait_until(lambda: server.admin.workers()[0]["inFlight"] == 0, "no request that runs")
    metrics = server.admin.get("/metrics").text
    assert re.search(r'podicorn_requests_total\{[^}]*class="1xx"[^}]*\} 7', metrics), metrics
    for client in clients:
        client.leave()
        client.connection.close()
    wait_until(lambda: server.admin.workers()[0]["connections"] == 0, "no connections")


def test_the_access_log_has_a_line_at_the_end(serve):
    server = serve(
        *SOCKETS, "--access-logfile", "-", "--access-logformat", "%(r)s|%(s)s|%(b)s|%(L)s|%(a)s|%({x-out}o)s"
    )
    pairs = [[{"bytes": "x-out"}, {"bytes": "yes"}]]
    steps = [
        ("accept", {"type": "websocket.accept", "headers": pairs}),
        ("send", {"type": "websocket.send", "text": "äx"}),
    ]
    with opened(server, *steps, ("receive",), more=[("User-Agent", "me")]) as client:
        client.expect(TEXT, "äx")
        settle(0.3)
        assert "script" not in server.out.text
        client.leave()
    line = server.out.wait_for(r"^GET /script\S+ HTTP/1\.1\|101\|3\|([\d.]+)\|me\|yes$")
    assert float(line[1]) > 0.25, "the whole life, not the handshake's"


def test_the_access_log_as_json(serve):
    server = serve(*SOCKETS, "--access-logfile", "-", "--log-format", "json")
    with websocket.connect(server.address, "/echo") as client:
        client.leave()
    line = json.loads(server.out.wait_for(r"^.*/echo.*$")[0])
    assert line["status"] == 101


def test_hooks(serve, config, tmp_path):
    path = tmp_path / "hooks.txt"
    hooks = config(
        "def pre_request(worker, req):\n"
        f"    open({str(path)!r}, 'a').write(f'before {{req.path}}\\n')\n"
        "def post_request(worker, req, environ, resp):\n"
        f"    open({str(path)!r}, 'a').write(f'after {{req.path}} {{resp.status}}\\n')\n"
    )
    server = serve(*SOCKETS, "-c", hooks)
    with websocket.connect(server.address, "/echo") as client:
        wait_until(path.exists, "the hook")
        assert path.read_text() == "before /echo\n"
        client.leave()
    wait_until(lambda: "after" in path.read_text(), "the other hook")
    assert path.read_text().splitlines()[1].startswith("after /echo 101")


# ---- settings ----


@pytest.mark.parity
def test_the_largest_message(serve):
    server = serve("sockets:app", "-k", "asgi", "--websocket-max-message-size", "10")
    with websocket.connect(server.address, "/echo") as client:
        client.text("0123456789")
        client.expect(TEXT, "0123456789")
        client.text("0123456789a")
        client.expect_failure(1009)


def test_no_largest_message(serve):
    server = serve(*SOCKETS, "--websocket-max-message-size", "0")
    data = b"x" * (20 * MIB)
    with websocket.connect(server.address, "/echo") as client:
        client.binary(data)
        assert client.read_message() == data


def test_the_default_of_the_largest_message_is_16_mib(serve):
    server = serve(*SOCKETS)
    with websocket.connect(server.address, "/echo") as client:
        client.send(frame(BINARY, b"", length=b"\x7f" + (16 * MIB + 1).to_bytes(8, "big")))
        client.expect_failure(1009)


def test_compression_can_be_switched_off(serve):
    server = serve(*SOCKETS, "--no-ws-per-message-deflate")
    with websocket.connect(server.address, "/echo", extensions="permessage-deflate") as client:
        assert client.response.header("Sec-WebSocket-Extensions") is None


def test_over_a_unix_socket(serve, tmp_path):
    path = str(tmp_path / "s")
    serve(*SOCKETS, "--bind", f"unix:{path}", bind=False)
    with websocket.connect(path, "/echo") as client:
        client.text("local")
        client.expect(TEXT, "local")
        client.leave()


@pytest.mark.parametrize("kind", [(), ("-k", "gthread")], ids=["sync", "gthread"])
def test_wsgi_workers_leave_it_to_the_app(serve, kind):
    """They serve the handshake as the request that it is."""
    server = serve("probe:app", *kind)
    connection, response, _ = websocket.ask(server.address, "/")
    with connection:
        assert response.status == 200


def test_ten_thousand_messages(serve, loop):
    server = serve(*SOCKETS, *loop)
    with websocket.connect(server.address, "/echo") as client:
        for start in range(0, 10_000, 500):
            client.send(*(frame(TEXT, str(number)) for number in range(start, start + 500)))
            for number in range(start, start + 500):
                client.expect(TEXT, str(number))
        client.leave()


def test_many_connections(serve, loop):
    server = serve(*SOCKETS, *loop)
    clients = [websocket.connect(server.address, "/echo") for _ in range(300)]
    for number, client in enumerate(clients):
        client.text(str(number))
    for number, client in enumerate(clients):
        client.expect(TEXT, str(number))
    for client in clients:
        client.send(frame(CLOSE))
    for client in clients:
        client.expect_close(None)
        client.expect_end()
        client.connection.close()
