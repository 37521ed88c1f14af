"""What RFC 6455 and RFC 7692 ask of a server, seen from the wire.

``server/http/RFC6455.md`` names for each requirement the test that shows it. What the client reads it judges, too:
``podtest.websocket`` fails on every frame that a server must not send.
"""

import itertools
import json
import socket
import zlib
from urllib.parse import quote

import pytest
from podtest import http, websocket
from podtest.server import Server
from podtest.waiting import wait_until
from podtest.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    close_payload,
    frame,
)

LIMIT = 100_000


@pytest.fixture(scope="module")
def server():
    """One for all: nothing here changes its state. Messages may have up to 100 kB."""
    options = ("--websocket-max-message-size", str(LIMIT), "--ws-ping-interval", "600")
    with Server("sockets:app", "-k", "asgi", *options) as made:
        made.wait_ready()
        yield made
        assert "panicked" not in made.err.text, made.err.text
        assert "Traceback" not in made.err.text, made.err.text


@pytest.fixture
def echo(server):
    """An open WebSocket, at an app that sends back what comes."""
    with websocket.connect(server.address, "/echo") as client:
        yield client


NUMBERS = itertools.count()


def scripted(*steps, name=None):
    """The target of a script, see ``apps/sockets.py``."""
    return f"/script?do={quote(json.dumps(steps))}" + (f"&name={name}" if name else "")


#: Takes `websocket.connect` and accepts.
ACCEPT = ("accept",)


# ---- the opening handshake (§4) ----


def refusal(server, **options):
    """The response to a handshake that is refused, after which the connection ends."""
    connection, response, _ = websocket.ask(server.address, "/echo", **options)
    with connection:
        assert response.status != 101, response
        assert response.header("Upgrade") in (None, "websocket")
        assert response.header("Sec-WebSocket-Accept") is None
        response.body = connection.read_to_end()
        return response


def test_a_handshake_is_accepted(server):
    """The client checks the response: status, Upgrade, Connection, and the hash of a key of its own."""
    with websocket.connect(server.address, "/echo") as client:
        names = [name.lower() for name, _ in client.response.headers]
        assert len(names) == len(set(names))
        assert client.response.reason == "Switching Protocols"
        assert "sec-websocket-protocol" not in names
        assert "sec-websocket-extensions" not in names
        client.leave()


@pytest.mark.parametrize(
    "changed",
    [
        {"upgrade": "WebSocket"},
        {"upgrade": "h2c, websocket"},
        {"connection": "keep-alive, UPGRADE"},
        {"sec_websocket_key": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"sec_websocket_key": "/+/+/+/+/+/+/+/+/+/+/w=="},
        {"origin": "http://elsewhere.example"},
        {"x_unknown": "yes"},
        {"sec_websocket_extensions": "unknown; a=1, other"},
    ],
)
def test_handshakes_that_are_accepted(server, changed):
    connection, response, key = websocket.ask(server.address, "/echo", **changed)
    with connection:
        assert response.status == 101
        key = changed.get("sec_websocket_key", key)
        assert response.header("Sec-WebSocket-Accept") == websocket.accept_value(key)
        assert response.header("Sec-WebSocket-Extensions") is None


@pytest.mark.parametrize(
    "options",
    [
        {"method": "POST"},
        {"method": "PUT"},
        {"more": [("Content-Length", "3")], "body": b"abc"},
        {"more": [("Transfer-Encoding", "chunked")], "body": b"0\r\n\r\n"},
        {"sec_websocket_key": None},
        {"sec_websocket_key": ""},
        {"sec_websocket_key": "short"},
        {"sec_websocket_key": "dGhlIHNhbXBsZSBub25j"},
        {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZTE="},
        {"sec_websocket_key": "dGhlIHNhbXBsZSBub25j!!=="},
        {"more": [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]},
        {"more": [("Sec-WebSocket-Version", "13")]},
        {"sec_websocket_protocol": "a b"},
        {"sec_websocket_protocol": ""},
        {"sec_websocket_protocol": "a;q=1"},
        {"sec_websocket_extensions": ""},
        {"sec_websocket_extensions": "a;"},
        {"sec_websocket_extensions": 'a; b="c d"'},
        {"sec_websocket_extensions": "a b"},
        {"sec_websocket_extensions": "permessage-deflate; =1"},
    ],
    ids=str,
)
def test_handshakes_that_are_refused(server, options):
    """400, and a word about why."""
    response = refusal(server, **options)
    assert response.status == 400
    assert response.header("Connection") == "close"
    assert b"WebSocket" in response.body


def test_a_handshake_needs_a_host(server):
    raw = http.head("GET", "/echo", websocket.fields("dGhlIHNhbXBsZSBub25jZQ==")).replace(b"Host: testserver\r\n", b"")
    with server.connect() as connection:
        connection.send(raw)
        assert connection.read_response().status == 400


@pytest.mark.parametrize("version", [None, "", "0", "7", "8", "12", "14", "013", "13, 8", "x"])
def test_other_versions_are_refused_with_the_one_that_is_spoken(server, version):
    response = refusal(server, sec_websocket_version=version)
    assert response.status == 426
    assert response.header("Sec-WebSocket-Version") == "13"
    assert response.header("Upgrade") == "websocket"
    assert "upgrade" in response.header("Connection").lower()


@pytest.mark.parametrize(
    "options",
    [
        {"version": "1.0"},
        {"upgrade": None},
        {"connection": None},
        {"connection": "keep-alive"},
        {"upgrade": "h2c"},
    ],
    ids=str,
)
def test_what_is_no_handshake_is_an_ordinary_request(server, options):
    connection, response, _ = websocket.ask(server.address, "/echo", **options)
    with connection:
        assert response.status == 200
        assert connection._exactly(4, "the body").endswith(b"http") or b"http" in connection.buffer


def test_the_app_may_refuse(server):
    """For the origin, say (§4.2.2), or because there is nothing at this path."""
    target = scripted(("receive",), ("send", {"type": "websocket.close"}))
    connection, response, _ = websocket.ask(server.address, target, origin="http://elsewhere.example")
    with connection:
        assert response.status == 403
    denial = (
        ("send", {"type": "websocket.http.response.start", "status": 404, "headers": []}),
        ("send", {"type": "websocket.http.response.body", "body": {"bytes": "nothing here"}}),
    )
    connection, response, _ = websocket.ask(server.address, scripted(*denial))
    with connection:
        assert (response.status, connection.read_to_end()) == (404, b"nothing here")


def test_the_app_may_redirect_or_ask_for_authentication(server):
    for status, headers in [(302, [("location", "/other")]), (401, [("www-authenticate", "Basic")])]:
        pairs = [[{"bytes": name}, {"bytes": value}] for name, value in headers]
        start = {"type": "websocket.http.response.start", "status": status, "headers": pairs}
        body = {"type": "websocket.http.response.body"}
        connection, response, _ = websocket.ask(server.address, scripted(("send", start), ("send", body)))
        with connection:
            assert response.status == status
            assert response.header(headers[0][0]) == headers[0][1]


@pytest.mark.parametrize(
    ("offered", "chosen"), [("chat", "chat"), ("a, b ,c", "b"), ("v1.x,v2.x", "v2.x"), ("a, b", None)]
)
def test_subprotocols(server, offered, chosen):
    """One of those that the client offers, once, or none."""
    accept = {"type": "websocket.accept"} | ({"subprotocol": chosen} if chosen else {})
    with websocket.connect(server.address, scripted(("send", accept), ("receive",)), protocols=offered) as client:
        assert client.response.header("Sec-WebSocket-Protocol") == chosen


@pytest.mark.parametrize("offered", [None, "a, b", "C"])
def test_no_other_subprotocol_is_agreed_on(server, offered):
    """An app that wants one gets an exception instead."""
    name = f"other-{next(NUMBERS)}"
    steps = [
        ("send", {"type": "websocket.accept", "subprotocol": "c"}),
        ACCEPT,
    ]
    with websocket.connect(server.address, scripted(*steps, name=name), protocols=offered) as client:
        assert client.response.header("Sec-WebSocket-Protocol") is None
    seen = wait_until(lambda: server.get(f"/seen/{name}").json(), "what the app has seen")
    assert seen[0] == 'ValueError: the client has not offered the subprotocol "c"'


def test_the_fields_of_the_handshake_are_the_servers(server):
    """None of them twice, whatever the app says (§11.3)."""
    name = f"own-{next(NUMBERS)}"
    own = ["Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Sec-WebSocket-Version"]
    steps = [("send", {"type": "websocket.accept", "headers": [[{"bytes": one}, {"bytes": "x"}]]}) for one in own]
    hop = [["connection", "close"], ["upgrade", "h2c"], ["content-length", "5"], ["transfer-encoding", "chunked"]]
    pairs = [[{"bytes": key}, {"bytes": value}] for key, value in [*hop, ["x-mine", "yes"]]]
    steps.append(("send", {"type": "websocket.accept", "headers": pairs}))
    with websocket.connect(server.address, scripted(*steps, name=name)) as client:
        for one in own[1:]:
            assert client.response.header(one) is None
        assert client.response.header("X-Mine") == "yes"
    seen = wait_until(lambda: server.get(f"/seen/{name}").json(), "what the app has seen")
    assert all("invalid response header name" in step for step in seen[:4])


def test_frames_may_follow_the_handshake_at_once(server):
    """The client has to wait for the response; one that does not is served nevertheless."""
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    with server.connect() as connection:
        early = http.head("GET", "/echo", websocket.fields(key)) + frame(TEXT, "early") + frame(TEXT, "too")[:5]
        connection.send(early)
        assert connection.read_head().status == 101
        client = websocket.WebSocket(connection, None)
        client.expect(TEXT, "early")
        client.send(frame(TEXT, "too")[5:])
        client.expect(TEXT, "too")


def test_a_handshake_byte_by_byte(server):
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    with server.connect() as connection:
        for byte in http.head("GET", "/echo", websocket.fields(key)) + frame(TEXT, "slow"):
            connection.send(bytes([byte]))
        assert connection.read_head().header("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        websocket.WebSocket(connection, None).expect(TEXT, "slow")


# ---- data framing (§5.1 to §5.4) ----


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, LIMIT])
def test_messages_of_every_length(echo, size):
    text = "x" * size
    echo.text(text)
    assert echo.read_message() == text
    data = bytes(number % 256 for number in range(size))
    echo.binary(data)
    assert echo.read_message() == data
    echo.leave()


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04", b"\x80\0\x7f\xfe"])
def test_every_mask_is_removed(echo, mask):
    for size in (1, 3, 4, 7, 100, 1000):
        text = "abcdefghij"[: size % 10 or 10] * (size // 10 + 1)
        echo.send(frame(TEXT, text, mask=mask))
        assert echo.read_message() == text


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_a_frame_without_a_mask_ends_the_connection(echo, opcode):
    echo.send(frame(opcode, b"", mask=None))
    echo.expect_failure(1002)


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE, CONTINUATION])
def test_reserved_bits_end_the_connection(echo, opcode, rsv):
    if opcode == CONTINUATION:
        echo.send(frame(TEXT, "a", fin=False))
    echo.send(frame(opcode, b"", rsv=rsv))
    echo.expect_failure(1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_reserved_opcodes_end_the_connection(echo, opcode):
    echo.send(frame(opcode, b"abc"))
    echo.expect_failure(1002)


@pytest.mark.parametrize(
    "length",
    [
        b"\x7e\x00\x05",
        b"\x7e\x00\x7d",
        b"\x7f\0\0\0\0\0\0\0\x05",
        b"\x7f\0\0\0\0\0\0\xff\xff",
        b"\x7f\x80\0\0\0\0\0\0\x05",
        b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_wrong_lengths_end_the_connection(echo, length):
    echo.send(frame(BINARY, b"hello", length=length))
    echo.expect_failure(1002)


def test_a_fault_ends_the_connection_at_its_first_byte(echo):
    """What comes behind it could not make it right (§7.1.7, "immediately")."""
    echo.send(bytes([0x80 | 3]))
    echo.expect_failure(1002)


@pytest.mark.parametrize("sizes", [(1, 1), (0, 0, 0), (5, 0, 5), (1000, 60000, 1), (1,) * 300])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_fragments_are_put_together(echo, opcode, sizes):
    parts = [bytes([97 + number % 26]) * size for number, size in enumerate(sizes)]
    frames = [
        frame(CONTINUATION if number else opcode, part, fin=number == len(parts) - 1)
        for number, part in enumerate(parts)
    ]
    echo.send(*frames)
    whole = b"".join(parts)
    assert echo.read_message() == (whole.decode() if opcode == TEXT else whole)
    echo.leave()


def test_messages_keep_their_order_and_kind(echo):
    echo.send(
        frame(TEXT, "one"),
        frame(BINARY, b"t", fin=False),
        frame(CONTINUATION, b"wo"),
        frame(TEXT, ""),
        frame(TEXT, "th", fin=False),
        frame(CONTINUATION, "", fin=False),
        frame(CONTINUATION, "ree"),
        frame(BINARY, b"\xff"),
    )
    assert [echo.read_message() for _ in range(5)] == ["one", b"two", "", "three", b"\xff"]


def test_control_frames_in_the_middle_of_a_message(echo):
    echo.send(
        frame(TEXT, "a", fin=False),
        frame(PING, b"1"),
        frame(CONTINUATION, "b", fin=False),
        frame(PONG, b"nobody asked"),
        frame(PING, b"2"),
        frame(CONTINUATION, "c"),
    )
    echo.expect(PONG, b"1")
    echo.expect(PONG, b"2")
    echo.expect(TEXT, "abc")
    echo.leave()


def test_a_close_in_the_middle_of_a_message(echo):
    echo.send(frame(TEXT, "a", fin=False), frame(CLOSE, close_payload(1000)), frame(CONTINUATION, "b"))
    echo.expect_close(1000)
    echo.expect_end()


@pytest.mark.parametrize("fin", [False, True])
def test_a_continuation_of_nothing_ends_the_connection(echo, fin):
    echo.send(frame(TEXT, "whole"))
    echo.expect(TEXT, "whole")
    echo.send(frame(CONTINUATION, "more", fin=fin))
    echo.expect_failure(1002)


@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_inside_a_message_ends_the_connection(echo, opcode, fin):
    echo.send(frame(TEXT, "a", fin=False), frame(opcode, "b", fin=fin))
    echo.expect_failure(1002)


def test_frames_byte_by_byte(echo):
    frames = frame(TEXT, "sl", fin=False) + frame(PING, b"p") + frame(CONTINUATION, "ow") + frame(BINARY, b"z" * 200)
    for byte in frames:
        echo.send(bytes([byte]))
    echo.expect(PONG, b"p")
    echo.expect(TEXT, "slow")
    echo.expect(BINARY, b"z" * 200)


# ---- control frames (§5.5) ----


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_may_not_be_long(echo, opcode):
    echo.send(frame(opcode, b"\x03\xe8" + b"a" * 124))
    echo.expect_failure(1002)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_may_not_be_fragmented(echo, opcode):
    echo.send(frame(opcode, b"", fin=False))
    echo.expect_failure(1002)


@pytest.mark.parametrize("payload", [b"", b"a", bytes(range(125)), b"\xff\xfe"])
def test_a_ping_is_answered_with_its_payload(echo, payload):
    echo.send(frame(PING, payload))
    echo.expect(PONG, payload)


def test_pings_are_answered_whatever_the_app_does(server):
    """It does not receive at all, and its client may still ask whether the server lives."""
    steps = [ACCEPT, ("receive",), ("receive",)]
    with websocket.connect(server.address, scripted(*steps)) as client:
        client.send(frame(TEXT, "for nobody"), *(frame(PING, bytes([number])) for number in range(100)))
        for number in range(100):
            client.expect(PONG, bytes([number]))
    with websocket.connect(server.address, "/echo") as client:
        client.send(frame(PING, b"between"), frame(TEXT, "a"), frame(PING, b"after"))
        found = [client.read_frame() for _ in range(3)]
        assert [one.payload for one in found if one.opcode == PONG] == [b"between", b"after"]


def test_a_pong_is_not_answered(echo):
    echo.send(frame(PONG, b"unsolicited"), frame(PONG, b""), frame(TEXT, "next"))
    echo.expect(TEXT, "next")


# ---- text (§5.6, §8.1) ----


@pytest.mark.parametrize("text", ["", "plain", "Grüße", "κόσμε", "日本語", "😀\U0010ffff", "\0", "\ufeffa", "\uffff"])
def test_text_of_every_kind(echo, text):
    echo.text(text)
    assert echo.read_message() == text
    data = text.encode()
    for cut in range(len(data) + 1):
        echo.send(frame(TEXT, data[:cut], fin=False), frame(CONTINUATION, data[cut:]))
        assert echo.read_message() == text


@pytest.mark.parametrize(
    "data",
    [
        b"\x80",
        b"\xff",
        b"a\xc0\x80",
        b"\xe2\x82",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"ok \xc3",
        b"\xc3(",
    ],
)
def test_text_that_is_not_utf8_ends_the_connection(server, data):
    for frames in (
        [frame(TEXT, data)],
        [frame(TEXT, data[:1], fin=False), frame(CONTINUATION, data[1:])],
    ):
        with websocket.connect(server.address, "/echo") as client:
            client.send(*frames)
            client.expect_failure(1007)


def test_wrong_text_ends_the_connection_before_the_message_is_whole(server):
    with websocket.connect(server.address, "/echo") as client:
        client.send(frame(TEXT, "fine", fin=False), frame(CONTINUATION, b"\xed\xa0", fin=False))
        client.expect_failure(1007)
    with websocket.connect(server.address, "/echo") as client:
        client.send(frame(TEXT, b"\xff" + b"a" * 10000)[:20])
        client.expect_failure(1007)


def test_binary_data_may_be_anything(echo):
    for data in (b"\xff\xfe", b"\xed\xa0\x80", bytes(range(256))):
        echo.binary(data)
        assert echo.read_message() == data


# ---- closing (§5.5.1, §7) ----

VALID = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
INVALID = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", VALID)
def test_a_close_is_answered_and_the_connection_ends(server, code):
    """The code is echoed; the server ends the connection first, at once, and without a reset."""
    name = f"close-{next(NUMBERS)}"
    with websocket.connect(server.address, f"/echo?name={name}") as client:
        client.close(code, "aus Gründen")
        client.expect_close(code)
        client.expect_end()
    seen = wait_until(lambda: "end" in (found := server.get(f"/seen/{name}").json()) and found, "the app's end")
    assert seen[1] == {"type": "websocket.disconnect", "code": code, "reason": "aus Gründen"}


def test_a_close_without_a_code(server):
    name = f"close-{next(NUMBERS)}"
    with websocket.connect(server.address, f"/echo?name={name}") as client:
        client.send(frame(CLOSE))
        client.expect_close(None)
        client.expect_end()
    seen = wait_until(lambda: "end" in (found := server.get(f"/seen/{name}").json()) and found, "the app's end")
    assert seen[1] == {"type": "websocket.disconnect", "code": 1005, "reason": ""}


@pytest.mark.parametrize("code", INVALID)
def test_invalid_close_codes_are_a_protocol_error(echo, code):
    echo.close(code)
    echo.expect_failure(1002)


def test_a_close_of_one_byte_is_a_protocol_error(echo):
    echo.send(frame(CLOSE, b"\x03"))
    echo.expect_failure(1002)


@pytest.mark.parametrize("reason", [b"\xff", b"\xc3", b"cut \xe2\x82"])
def test_a_reason_is_utf8(echo, reason):
    echo.send(frame(CLOSE, close_payload(1000, reason)))
    echo.expect_failure(1007)


def test_nothing_is_read_behind_a_close(echo):
    echo.send(frame(CLOSE, close_payload(1000)), frame(TEXT, "late"), frame(PING, b"late"), frame(3, b"wrong"))
    echo.expect_close(1000)
    echo.expect_end()


def test_nothing_is_read_behind_a_failure(echo):
    echo.send(frame(3, b""), frame(TEXT, "late"), frame(CLOSE, close_payload(1000)))
    echo.expect_failure(1002)


def test_what_has_come_before_a_close_is_answered_if_there_is_time(server):
    """The app gets all messages before it is told of the end."""
    name = f"before-{next(NUMBERS)}"
    steps = [ACCEPT, *[("receive",)] * 5]
    with websocket.connect(server.address, scripted(*steps, name=name)) as client:
        client.send(*(frame(TEXT, str(number)) for number in range(4)), frame(CLOSE, close_payload(1001)))
        client.expect_close(1001)
        client.expect_end()
    seen = wait_until(lambda: "end" in (found := server.get(f"/seen/{name}").json()) and found, "the app's end")
    assert [step["text"] for step in seen[1:5]] == ["0", "1", "2", "3"]
    assert seen[5] == {"type": "websocket.disconnect", "code": 1001, "reason": ""}


def test_the_servers_close_waits_for_the_clients(server):
    """Data that is on its way is read, Pings are answered, and no frame comes behind the Close but Pongs."""
    steps = [ACCEPT, ("send", {"type": "websocket.close", "code": 3000, "reason": "done"})]
    with websocket.connect(server.address, scripted(*steps)) as client:
        client.expect_close(3000, "done")
        client.send(frame(TEXT, "on its way"), frame(BINARY, b"x", fin=False), frame(PING, b"p"))
        client.send(frame(CONTINUATION, b"y"))
        client.expect(PONG, b"p")
        client.close(3000)
        client.expect_end()


def test_both_may_close_at_the_same_time(server):
    steps = [ACCEPT, ("send", {"type": "websocket.close", "code": 1000})]
    with websocket.connect(server.address, scripted(*steps)) as client:
        client.close(4000)
        client.expect_close()
        client.expect_end()


def test_no_data_is_sent_behind_the_close(server):
    name = f"behind-{next(NUMBERS)}"
    steps = [
        ACCEPT,
        ("send", {"type": "websocket.send", "text": "a"}),
        ("send", {"type": "websocket.close"}),
        ("send", {"type": "websocket.send", "text": "b"}),
        ("send", {"type": "websocket.close"}),
    ]
    with websocket.connect(server.address, scripted(*steps, name=name)) as client:
        client.expect(TEXT, "a")
        client.expect_close(1000)
        client.close()
        client.expect_end()
    seen = wait_until(lambda: "end" in (found := server.get(f"/seen/{name}").json()) and found, "the app's end")
    assert seen[:3] == [None, None, None]
    assert all(step.startswith("RuntimeError: websocket.") for step in seen[3:5])


@pytest.mark.parametrize("code", INVALID)
def test_no_invalid_code_is_sent(server, code):
    name = f"code-{next(NUMBERS)}"
    steps = [ACCEPT, ("send", {"type": "websocket.close", "code": code})]
    with websocket.connect(server.address, scripted(*steps, name=name)) as client:
        client.expect_close(1000)
    seen = wait_until(lambda: "end" in (found := server.get(f"/seen/{name}").json()) and found, "the app's end")
    assert seen[1].startswith("ValueError: ")


@pytest.mark.parametrize("code", VALID)
def test_valid_codes_are_sent_with_their_reason(server, code):
    steps = [ACCEPT, ("send", {"type": "websocket.close", "code": code, "reason": "weil ä"})]
    with websocket.connect(server.address, scripted(*steps)) as client:
        client.expect_close(code, "weil ä")


def test_a_long_reason_is_cut(server):
    steps = [ACCEPT, ("send", {"type": "websocket.close", "reason": "ä" * 200})]
    with websocket.connect(server.address, scripted(*steps)) as client:
        client.expect_close(1000, "ä" * 61)


def test_a_failure_is_logged(server):
    with websocket.connect(server.address, "/echo") as client:
        mark = server.err.mark()
        client.send(frame(TEXT, b"\xff"))
        client.expect_failure(1007)
    server.err.wait_for(r"WARNING.*Invalid WebSocket data from ip=127\.0\.0\.1: text is not UTF-8", since=mark)


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_client_that_leaves_without_a_close(server, how):
    name = f"left-{next(NUMBERS)}"
    with websocket.connect(server.address, f"/echo?name={name}") as client:
        client.text("a")
        client.expect(TEXT, "a")
        if how == "reset":
            linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
            client.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    seen = wait_until(lambda: "end" in (found := server.get(f"/seen/{name}").json()) and found, "the app's end")
    assert seen[1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


# ---- limits (§10.4) ----


def test_a_frame_above_the_limit_is_refused_by_its_length(server):
    for length in (LIMIT + 1, 1 << 40, (1 << 63) - 1):
        with websocket.connect(server.address, "/echo") as client:
            size = b"\x7f" + length.to_bytes(8, "big")
            client.send(frame(BINARY, b"", length=size))
            assert str(LIMIT) in client.expect_failure(1009).reason


def test_fragments_above_the_limit_are_refused(echo):
    part = b"x" * (LIMIT // 4)
    echo.send(frame(BINARY, part, fin=False), *[frame(CONTINUATION, part, fin=False)] * 3)
    echo.send(frame(PING))
    echo.expect(PONG)
    echo.send(frame(CONTINUATION, b"y"))
    echo.expect_failure(1009)


def test_endless_empty_fragments_do_no_harm(echo):
    echo.send(frame(TEXT, "", fin=False), frame(CONTINUATION, "", fin=False) * 20_000, frame(CONTINUATION, "end"))
    echo.expect(TEXT, "end")


# ---- permessage-deflate (RFC 7692) ----


def deflate_client(server, parameters="", target="/echo"):
    return websocket.connect(server.address, target, extensions=f"permessage-deflate{parameters}")


class Deflate:
    """A client's compressor and decompressor."""

    def __init__(self, bits=15, keep=True):
        self.bits, self.keep = bits, keep
        self.compressor = zlib.compressobj(wbits=-bits)
        self.decompressor = zlib.decompressobj(wbits=-bits)

    def pack(self, data):
        if not self.keep:
            self.compressor = zlib.compressobj(wbits=-self.bits)
        packed = self.compressor.compress(data) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
        assert packed.endswith(b"\0\0\xff\xff")
        return packed[:-4]

    def unpack(self, found, fresh=False):
        assert found.fin and found.rsv in (0, RSV1), found
        if not found.rsv:
            return found.payload
        if fresh:
            self.decompressor = zlib.decompressobj(wbits=-self.bits)
        return self.decompressor.decompress(found.payload + b"\0\0\xff\xff")


TEXTS = [f"message {number}: the quick brown fox jumps over the lazy dog, again and again" for number in range(20)]


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("", {"server_max_window_bits": "12"}),
        ("; client_max_window_bits", {"server_max_window_bits": "12", "client_max_window_bits": "12"}),
        ("; client_max_window_bits=10", {"server_max_window_bits": "12", "client_max_window_bits": "10"}),
        ("; server_max_window_bits=9", {"server_max_window_bits": "9"}),
        ("; server_max_window_bits=15", {"server_max_window_bits": "12"}),
        ('; server_max_window_bits="10"', {"server_max_window_bits": "10"}),
        ("; server_no_context_takeover", {"server_max_window_bits": "12", "server_no_context_takeover": None}),
        ("; client_no_context_takeover", {"server_max_window_bits": "12", "client_no_context_takeover": None}),
        ("; unknown, permessage-deflate; server_max_window_bits=11", {"server_max_window_bits": "11"}),
    ],
)
def test_permessage_deflate_is_agreed_on(server, offer, answer):
    with deflate_client(server, offer) as client:
        extension, *parameters = client.response.header("Sec-WebSocket-Extensions").split("; ")
        assert extension == "permessage-deflate"
        found = [
            (name, value if equals else None) for name, equals, value in (one.partition("=") for one in parameters)
        ]
        assert len(found) == len(dict(found))
        assert dict(found) == answer


@pytest.mark.parametrize(
    "offer",
    [
        "; unknown",
        "; server_no_context_takeover=1",
        "; client_no_context_takeover; client_no_context_takeover",
        "; server_max_window_bits",
        "; server_max_window_bits=7",
        "; server_max_window_bits=8",
        "; server_max_window_bits=16",
        "; server_max_window_bits=09",
        "; client_max_window_bits=7",
        "; client_max_window_bits=x",
        "; client_max_window_bits; client_max_window_bits=10",
    ],
)
def test_offers_that_must_be_declined(server, offer):
    with deflate_client(server, offer) as client:
        assert client.response.header("Sec-WebSocket-Extensions") is None
        client.send(frame(TEXT, "plain"))
        client.expect(TEXT, "plain")
        client.send(frame(TEXT, b"\xf2H\xcd\xc9\xc9\x07\x00", rsv=RSV1))
        client.expect_failure(1002)


def test_compressed_messages_both_ways(server):
    """With the context kept: the server's messages can only be read by one decompressor, in their order."""
    with deflate_client(server) as client:
        deflate = Deflate()
        sizes = []
        for text in TEXTS:
            client.send(frame(TEXT, deflate.pack(text.encode()), rsv=RSV1))
            found = client.read_frame()
            assert found.rsv == RSV1
            sizes.append(len(found.payload))
            assert deflate.unpack(found).decode() == text
        assert max(sizes[1:]) < sizes[0] / 2, sizes


def test_messages_may_go_uncompressed(server):
    with deflate_client(server) as client:
        deflate = Deflate()
        for number, text in enumerate(TEXTS):
            compressed = number % 3 == 0
            payload = deflate.pack(text.encode()) if compressed else text
            client.send(frame(TEXT, payload, rsv=RSV1 if compressed else 0))
            assert deflate.unpack(client.read_frame()).decode() == text
        client.text("short")
        client.expect(TEXT, "short")


def test_neither_side_keeps_its_context_where_that_is_agreed(server):
    with deflate_client(server, "; server_no_context_takeover; client_no_context_takeover") as client:
        deflate = Deflate(keep=False)
        for text in TEXTS:
            client.send(frame(TEXT, deflate.pack(text.encode()), rsv=RSV1))
            assert deflate.unpack(client.read_frame(), fresh=True).decode() == text
        # A message that refers to one before it refers to nothing.
        client.send(frame(TEXT, b"\xf2H\xcd\xc9\xc9\x07\x00", rsv=RSV1))
        client.expect(TEXT, "Hello")
        client.send(frame(TEXT, b"\xf2\0\x11\0\0", rsv=RSV1))
        client.expect_failure(1007)


@pytest.mark.parametrize("bits", range(9, 16))
def test_no_window_is_larger_than_agreed(server, bits):
    """zlib refuses what refers back beyond its window."""
    data = bytes(number * number % 251 for number in range(20_000))
    message = data + data + b"end"
    with deflate_client(server, f"; server_max_window_bits={bits}; client_max_window_bits={bits}") as client:
        agreed = client.response.header("Sec-WebSocket-Extensions")
        window = min(bits, 12)
        assert f"client_max_window_bits={window}" in agreed
        assert f"server_max_window_bits={window}" in agreed
        deflate = Deflate(window)
        for _ in range(2):
            client.send(frame(BINARY, deflate.pack(message), rsv=RSV1))
            assert deflate.unpack(client.read_frame()) == message


def test_a_client_that_was_not_told_a_window_uses_the_largest(server):
    data = zlib.compress(bytes(number * number % 251 for number in range(100_000)))[:20_000].ljust(30_000, b"\1")
    with deflate_client(server) as client:
        deflate = Deflate(15)
        for _ in range(2):
            client.send(frame(BINARY, deflate.pack(data), rsv=RSV1))
            assert deflate.unpack(client.read_frame()) == data


def test_fragments_of_a_compressed_message(server):
    with deflate_client(server) as client:
        deflate = Deflate()
        for text in TEXTS[:5]:
            packed = deflate.pack(text.encode())
            for_first = len(packed) // 3
            client.send(
                frame(TEXT, packed[:for_first], fin=False, rsv=RSV1),
                frame(PING, b"p"),
                frame(CONTINUATION, packed[for_first:], fin=False),
                frame(CONTINUATION),
            )
            client.expect(PONG, b"p")
            assert deflate.unpack(client.read_frame()).decode() == text


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_control_frames_are_never_compressed(server, opcode):
    with deflate_client(server) as client:
        client.send(frame(opcode, b"", rsv=RSV1))
        client.expect_failure(1002)


def test_the_bit_is_of_the_first_fragment_only(server):
    with deflate_client(server) as client:
        packed = Deflate().pack(b"a message in two frames")
        client.send(frame(TEXT, packed[:5], fin=False, rsv=RSV1), frame(CONTINUATION, packed[5:], rsv=RSV1))
        client.expect_failure(1002)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xf2\x48\xcd\xc9\xc9\x07\x00",
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
    ],
)
def test_blocks_of_every_kind(server, payload):
    """The examples of RFC 7692 §7.2.3."""
    with deflate_client(server) as client:
        for _ in range(3):
            client.send(frame(TEXT, payload, rsv=RSV1))
            client.expect(TEXT, "Hello")
        client.send(frame(TEXT, b"\0", rsv=RSV1))
        client.expect(TEXT, "")


def test_what_is_decompressed_is_text_again(server):
    with deflate_client(server) as client:
        client.send(frame(TEXT, Deflate().pack(b"not \xff utf-8"), rsv=RSV1))
        client.expect_failure(1007)


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x06", b"\x00\x05\x00\x00\x00hello"])
def test_data_that_cannot_be_decompressed(server, payload):
    with deflate_client(server) as client:
        client.send(frame(BINARY, payload, rsv=RSV1))
        client.expect_failure(1007)


def test_a_bomb_does_not_go_off(server):
    """100 MB in 100 kB."""
    bomb = Deflate().pack(b"\0" * 100_000_000)
    assert len(bomb) < LIMIT
    with deflate_client(server) as client:
        client.send(frame(BINARY, bomb, rsv=RSV1))
        client.expect_failure(1009)
    with deflate_client(server) as client:
        step = len(bomb) // 20
        client.send(frame(BINARY, bomb[:step], fin=False, rsv=RSV1), frame(CONTINUATION, bomb[step:], fin=False))
        client.expect_failure(1009)
