"""What RFC 9112 and RFC 9110 ask of an origin server, seen from the wire, on every worker type.

``server/http/RFC9112.md`` names for each requirement the test that shows it.
"""

import os
import re
import socket
import time
import uuid
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

import pytest
from podtest import http
from podtest.server import Server
from podtest.types import KEEPING, WSGI, params, wsgi_types
from podtest.waiting import wait_until

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
HEAD = re.compile(rb"HTTP/1\.1 \d{3} [\t\x20-\x7e\x80-\xff]*\r\n(?:" + TOKEN + rb": ?[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")

UPGRADE = {"Connection": "Upgrade", "Upgrade": "echo, other"}


def running(*options: str):
    with Server("answers", *options, "--timeout", "60") as made:
        made.wait_ready()
        yield made
        assert "panicked" not in made.err.text, made.err.text


@pytest.fixture(scope="module", params=params(*WSGI))
def server(request):
    """One for each worker type: nothing here changes its state."""
    yield from running(*request.param)


@pytest.fixture(scope="module", params=params(*(name for name in KEEPING if name in WSGI)))
def keeping(request):
    """One for each worker type that keeps connections."""
    yield from running(*request.param)


def answer(status="200 OK", *fields: str, hints: tuple[str, ...] = (), **query: str) -> str:
    """The target for that answer; ``as_`` for ``as``."""
    pairs = [("status", status), *(("header", field) for field in fields), *(("hint", field) for field in hints)]
    return "/answer?" + urlencode(pairs + [(name.rstrip("_"), value) for name, value in query.items()])


def only_response(client: http.Connection, method: str = "GET") -> http.Response:
    """The one response that still comes, after which the connection ends, as it says."""
    response = client.read_response(method)
    assert response.header("Connection") == "close", response
    assert client.finish() is http.End.FIN
    return response


# ---- what is sent ----


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("/", "GET"),
        ("/bytes/100", "HEAD"),
        ("/stream", "GET"),
        ("/file", "GET"),
        ("/no-body/204", "GET"),
        ("/no-body/304", "GET"),
        ("/raise", "GET"),
        ("/bad/header-newline", "GET"),
        (answer("299"), "GET"),
        (answer("205 Reset", body="x"), "GET"),
        (answer("426 Upgrade", "Upgrade:a,,b"), "GET"),
        (answer(hints=("Link:</x>",)), "GET"),
    ],
)
def test_every_response_matches_the_grammar(server, target, method):
    with server.connect() as client:
        client.send(http.head(method, target, {"Connection": "close"}))
        response = client.read_response(method)
        for part in [*response.interim, response]:
            assert HEAD.fullmatch(part.raw_head), part.raw_head
        client.finish()
    assert response.header("Server") == "podicorn"
    for single in ("Server", "Date", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade"):
        assert len(response.all(single)) < 2
    own = {name for name, _ in response.headers}
    assert own <= {
        "Server", "Date", "Connection", "Content-Length", "Content-Type", "Transfer-Encoding", "Upgrade",
    }  # fmt: skip
    assert "" not in [member.strip() for value in response.all("Upgrade") for member in value.split(",")]


def test_a_status_without_a_reason_keeps_its_space(server):
    assert server.get(answer("299")).raw_head.startswith(b"HTTP/1.1 299 \r\n")


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "301 Moved", "304 Not Modified", "404 No", "500 Oh"])
def test_the_date_is_sent_once_and_is_right(server, status):
    before = int(time.time())
    response = server.get(answer(status, "Date:Thu, 01 Jan 1970 00:00:00 GMT"))
    date = response.header("Date")
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert before - 1 <= parsedate_to_datetime(date).timestamp() <= time.time() + 1


def test_what_the_server_answers_itself_has_a_date_and_says_what_is_wrong(server):
    for raw, status, word in [
        (b"GET / HTTP/1.1\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400, "header name"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400, "folding"),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n", 414, "too large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417, "expectation"),
        (http.head("GET", "/raise", {"Connection": "close"}), 500, "Internal Server Error"),
    ]:
        with server.connect() as client:
            client.send(raw)
            response = only_response(client)
        assert response.status == status
        assert response.header("Date")
        assert response.header("Content-Type") == "text/html; charset=utf-8"
        assert word in response.text


def test_version_1_0_is_answered_as_1_1(server):
    response = server.get("/", version="1.0")
    assert response.version == "HTTP/1.1"


def test_get_and_head_are_supported(server):
    """And HEAD has the fields of GET, but no content."""
    for target in ("/", "/bytes/100000", "/no/such", "/file", answer("404 No", "Content-Length:3", body="abc")):
        full, bare = server.get(target), server.get(target, method="HEAD")
        assert (full.status, bare.body) == (bare.status, b"")
        assert bare.end is http.End.FIN  # and http.request fails on any byte more
        assert full.header("Content-Length") == bare.header("Content-Length")
        names = [sorted(name for name, _ in response.headers) for response in (full, bare)]
        assert names[0] == names[1]


@pytest.mark.parametrize(
    "raw",
    [
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"HEAD / HTTP/3.0\r\nHost: a\r\n\r\n",
        b"HEAD /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\r\nHEAD * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"HEAD /raise HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ],
)
def test_head_gets_no_content_even_where_it_is_refused(server, raw):
    with server.connect() as client:
        client.send(raw)
        assert only_response(client, "HEAD").status >= 400


# ---- how responses are framed ----


@pytest.mark.parametrize("status", ["204 No Content", "205 Reset Content", "304 Not Modified"])
@pytest.mark.parametrize("fields", [(), ("Content-Length:7",), ("Transfer-Encoding:chunked",)])
@pytest.mark.parametrize("how", ["list", "pieces"])
def test_statuses_without_content_have_no_framing_of_it(server, status, fields, how):
    response = server.get(answer(status, *fields, body="content", as_=how))
    assert response.body == b""
    assert response.header("Transfer-Encoding") is None
    given = "7" if fields == ("Content-Length:7",) else None
    assert response.header("Content-Length") == {"204": None, "205": "0", "304": given}[status[:3]]


@pytest.mark.parametrize("how", ["list", "pieces"])
def test_a_length_that_nobody_has_said_is_not_made_up(server, how):
    """An app may leave the content out itself: that tells nothing of how long it would be."""
    for method, status in (("GET", "304 Not Modified"), ("HEAD", "200 OK"), ("HEAD", "404 No")):
        response = server.get(answer(status, as_=how), method=method)
        assert response.header("Content-Length") is None
        assert response.header("Transfer-Encoding") is None


def test_a_known_length_is_said(server):
    assert server.get(answer(body="12345")).header("Content-Length") == "5"
    assert server.get(answer()).header("Content-Length") == "0"
    assert server.get("/file").header("Content-Length") == str(len(server.get("/file").body))
    assert server.get("/stream").header("Transfer-Encoding") == "chunked"


def test_transfer_encoding_is_not_sent_to_version_1_0(server):
    for headers in ({"Connection": "close"}, {"Connection": "keep-alive"}):
        response = server.get("/stream", version="1.0", headers=headers)
        assert response.header("Transfer-Encoding") is None
        assert (response.header("Connection"), response.body) == ("close", b"aaaaabbbbbccccc")


def test_a_tunnel_has_no_framing(server):
    """2xx to CONNECT, to an app that says a Content-Length."""
    with server.connect() as client:
        client.send(http.head("CONNECT", "shop.example:443") + b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
        response = only_response(client, "GET")
    assert response.status == 200
    assert response.header("Transfer-Encoding") is None
    assert response.header("Content-Length") is None
    assert response.body == b"probe\n", "what follows is not taken for a request"


@pytest.mark.parametrize("target", ["h:", "h", ":80", "h:0", "h:65536", "h:x", "/"])
def test_a_tunnel_to_no_port_is_refused(server, target):
    with server.connect() as client:
        client.send(http.head("CONNECT", target))
        assert only_response(client).status == 400


def test_responses_without_content_leave_the_connection_in_step(keeping):
    statuses = ["204 No Content", "205 Reset Content", "304 Not Modified"]
    with keeping.connect() as client:
        for status in statuses:
            client.send(http.head("GET", answer(status, "Content-Length:7", body="content")))
        client.send(http.head("HEAD", "/bytes/1000") + http.head("GET", "/"))
        for status in statuses:
            response = client.read_response()
            assert (response.status, response.header("Connection")) == (int(status[:3]), "keep-alive")
            if response.status == 205:
                assert response.body == b""
        assert client.read_response("HEAD").header("Content-Length") == "1000"
        assert client.read_response().body == b"probe\n"


# ---- interim responses and upgrades ----


@pytest.mark.parametrize("status", ["100 Continue", "102 Processing", "103 Early Hints", "000 Nothing"])
def test_an_interim_status_is_no_answer(server, status):
    """The client would wait for the final one, and take that of its next request for it."""
    response = server.get(answer(status))
    assert (response.status, response.interim) == (500, [])
    server.err.wait_for("does not answer a request")


def test_version_1_0_gets_no_interim_response(server):
    for target, headers in (
        (answer(hints=("Link:</x>",)), {}),
        (answer("101 Switch", "Upgrade:echo", "Connection:upgrade"), UPGRADE),
    ):
        with server.connect() as client:
            client.send(http.head("GET", target, headers, version="1.0"))
            assert only_response(client).interim == []
    with server.connect() as client:
        client.send(http.head("POST", "/echo", {"Expect": "100-continue", "Content-Length": "4"}, version="1.0"))
        client.send(b"body")
        response = only_response(client)
        assert (response.interim, response.body) == ([], b"body")


def test_version_1_0_asks_for_no_upgrade(server):
    values = server.get("/environ", version="1.0", headers=UPGRADE).json()["values"]
    assert "HTTP_UPGRADE" not in values
    values = server.get("/environ", headers=UPGRADE).json()["values"]
    assert values["HTTP_UPGRADE"] == "echo, other"


def test_early_hints_carry_nothing_about_the_connection(server):
    hints = ("Link:</x>", "Content-Length:5", "Transfer-Encoding:chunked", "Connection:close", "Upgrade:echo")
    response = server.get(answer(hints=hints, body="hello"))
    assert [interim.headers for interim in response.interim] == [[("Link", "</x>")]]
    assert response.body == b"hello"


def test_switching_protocols_names_them(server):
    with server.connect() as client:
        client.send(http.head("GET", answer("101 Switch", "Upgrade:echo"), UPGRADE))
        response = client.read_head()
        assert response.status == 101
        assert (response.header("Connection"), response.header("Upgrade")) == ("upgrade", "echo")
        assert client.finish() is http.End.FIN  # the app has not taken the connection


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({}, ("Upgrade:echo",)),
        ({"Upgrade": "echo"}, ("Upgrade:echo",)),
        ({"Connection": "upgrade"}, ("Upgrade:echo",)),
        (UPGRADE, ()),
        (UPGRADE, ("Connection:upgrade",)),
    ],
    ids=["nothing-asked", "no-option", "no-protocol", "no-answer", "option-only"],
)
def test_nothing_is_switched_unasked_or_unnamed(server, headers, fields):
    with server.connect() as client:
        client.send(http.head("GET", answer("101 Switch", *fields), headers))
        assert only_response(client).status == 500


def test_an_upgrade_that_is_required_or_offered_is_named(server):
    for status, fields in (
        ("426 Upgrade Required", ("Upgrade:echo/2",)),
        ("200 OK", ("Upgrade:echo/2", "Connection:upgrade")),
    ):
        response = server.get(answer(status, *fields))
        assert response.header("Upgrade") == "echo/2"
        assert response.header("Connection") == "upgrade, close"
        assert response.end is http.End.FIN
    response = server.get(answer("200 OK", "Upgrade:echo/2"))
    assert (response.header("Upgrade"), response.header("Connection")) == (None, "close")


LONG = 4 * 1024 * 1024  # more than the server reads before the app is called


@pytest.mark.parametrize("size", [5, LONG])
def test_continue_comes_before_the_content(server, size):
    with server.connect() as client:
        headers = {"Expect": "100-continue", "Content-Length": str(size), "Connection": "close"}
        client.send(http.head("POST", "/digest", headers))
        assert client.read_head().status == 100
        client.send(b"x" * size)
        response = only_response(client)
        assert (response.interim, response.json()["length"]) == ([], size)


def test_a_final_status_at_once_in_place_of_continue_ends_the_connection(server):
    with server.connect() as client:
        client.send(http.head("POST", "/unread", {"Expect": "100-continue", "Content-Length": str(LONG)}))
        response = only_response(client)
        assert (response.interim, response.body) == ([], b"unread\n")


def test_continue_comes_before_switching(server):
    headers = UPGRADE | {"Expect": "100-continue", "Content-Length": str(LONG)}
    with server.connect() as client:
        client.send(http.head("POST", answer("101 Switch", "Upgrade:echo"), headers))
        assert [client.read_head().status for _ in range(2)] == [100, 101]


# ---- what is refused ----

GOOD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        # not the grammar
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\t2\r\n\r\n", 400),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http:///p HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        # Host
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400),
        # too large
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 200 + b"\r\n", 431),
        # framing
        (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (POST + b"Content-Length: 5, 6\r\n\r\nhello", 400),
        (POST + b"Content-Length: five\r\n\r\nhello", 400),
        (POST + b"Content-Length: 18446744073709551621\r\n\r\nhello", 400),
        (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: x-mine, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /echo HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        # chunks
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 20000 + b"\r\nhello\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400),
        # what the server will not do
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
    ],
    ids=lambda value: repr(value)[2:60] if isinstance(value, bytes) else None,
)
def test_what_is_refused_ends_the_connection(server, raw, status):
    """One answer, which says so; what follows is not taken for a request."""
    with server.connect() as client:
        client.send(raw + GOOD)
        assert only_response(client).status == status
    assert server.get("/").status == 200


def test_https_is_refused_unless_a_trusted_proxy_asks(serve):
    stranger = serve("answers", "--forwarded-allow-ips", "192.0.2.1")
    with stranger.connect() as client:
        client.send(b"GET https://shop.example/environ HTTP/1.1\r\nHost: shop.example\r\n\r\n" + GOOD)
        assert only_response(client).status == 421
    trusted = serve("answers", "--forwarded-allow-ips", "127.0.0.1")
    values = trusted.get("https://shop.example/environ").json()["values"]
    assert (values["wsgi.url_scheme"], values["HTTP_HOST"]) == ("https", "shop.example")


# ---- what is accepted ----


def test_the_absolute_form_names_the_host(server):
    for version in ("1.0", "1.1"):
        response = server.get("http://shop.example:81/environ?a=b", headers={"Host": "other.example"}, version=version)
        values = response.json()["values"]
        assert (values["HTTP_HOST"], values["PATH_INFO"]) == ("shop.example:81", "/environ")
    with server.connect() as client:
        client.send(b"GET http://shop.example/environ HTTP/1.0\r\n\r\n")
        assert client.read_response().json()["values"]["HTTP_HOST"] == "shop.example"


def test_the_asterisk_form_is_for_the_server_as_a_whole(server):
    response = server.get("*", method="OPTIONS")
    assert response.status == 404, "the app was asked, and the probe has no such path"


def test_later_minor_versions_are_taken_for_1_1(server):
    with server.connect() as client:
        client.send(http.head("POST", "/echo", {"Transfer-Encoding": "chunked", "Connection": "close"}, version="1.9"))
        client.send(b"5\r\nhello\r\n0\r\n\r\n")
        response = only_response(client)
        assert (response.version, response.body) == ("HTTP/1.1", b"hello")


def test_an_empty_line_before_a_request_is_skipped(server):
    with server.connect() as client:
        client.send(b"\r\n" + http.head("GET", "/", {"Connection": "close"}))
        assert only_response(client).body == b"probe\n"


def test_an_empty_line_between_requests_is_skipped(keeping):
    with keeping.connect() as client:
        client.send(http.head("POST", "/echo", {"Content-Length": "4"}) + b"body\r\n" + http.head("GET", "/"))
        assert client.read_response().body == b"body"
        assert client.read_response().body == b"probe\n"


def test_chunks_with_everything_that_is_allowed(keeping):
    body = b'00005;name\r\nhello\r\n6 ; a = "b\\"c" ;d\r\n world\r\nA\r\n0123456789\r\n000;e=f\r\nX-Sum: 1\r\n\r\n'
    with keeping.connect() as client:
        client.send(http.head("POST", "/echo", {"Transfer-Encoding": "Chunked"}) + body + http.head("GET", "/"))
        assert client.read_response().body == b"hello world0123456789"
        assert client.read_response().body == b"probe\n"


def test_trailers_do_not_become_headers(server):
    with server.connect() as client:
        client.send(http.head("POST", "/environ", {"Transfer-Encoding": "chunked", "Trailer": "X-Late, Cookie"}))
        client.send(b"1\r\nx\r\n0\r\nX-Late: yes\r\nCookie: admin=1\r\n\r\n")
        values = client.read_response().json()["values"]
    assert values["HTTP_TRAILER"] == "X-Late, Cookie"
    assert not {"HTTP_X_LATE", "HTTP_COOKIE"} & set(values)


def test_unknown_fields_and_methods_are_passed_on(server):
    values = server.get("/environ", method="BREW", headers={"X-New": "thing", "Max-Forwards": "0"}).json()["values"]
    assert (values["REQUEST_METHOD"], values["HTTP_X_NEW"]) == ("BREW", "thing")


def test_content_has_no_meaning_to_the_server_for_any_method(keeping):
    """It is framed by its fields, whatever the method, so that the next request is found."""
    with keeping.connect() as client:
        for method in ("GET", "DELETE", "OPTIONS", "TRACE", "BREW"):
            client.send(http.head(method, "/echo", {"Content-Length": "5"}) + method[:5].ljust(5).encode())
            assert client.read_response().body == method[:5].ljust(5).encode()


# ---- connections ----


def test_requests_of_one_connection_share_nothing(keeping):
    with keeping.connect() as client:
        first = [
            ("Host", "a.example"), ("Cookie", "user=1"), ("Authorization", "Basic eA=="), ("Content-Type", "a/b"),
            ("X-Forwarded-Proto", "https"), ("SCRIPT_NAME", "/environ"), ("Content-Length", "1"),
        ]  # fmt: skip
        client.send(http.head("POST", "/environ/x?q=1", first) + b"x")
        client.send(http.head("GET", "/environ", {"Host": "b.example"}))
        one, two = client.read_response(), client.read_response()
    assert one.status == 404, "the first has its own SCRIPT_NAME"
    values = two.json()["values"]
    kept = {"HTTP_COOKIE", "HTTP_AUTHORIZATION", "CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_X_FORWARDED_PROTO"}
    assert not kept & set(values)
    assert (values["HTTP_HOST"], values["QUERY_STRING"], values["SCRIPT_NAME"]) == ("b.example", "", "")
    assert values["wsgi.url_scheme"] == "http"


def test_the_app_is_not_called_before_the_head_is_complete(server):
    mark = uuid.uuid4().hex
    with server.connect() as client:
        client.send(http.head("GET", f"/print/{mark}", {"Connection": "close"})[:-2])
        server.get(f"/print/after-{mark}")
        server.out.wait_for(f"printed out after-{mark}")
        assert f"printed out {mark}" not in server.out.text
        client.send(b"\r\n")
        assert only_response(client).body == b"printed\n"
        server.out.wait_for(f"printed out {mark}")


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"Content-Length": "10"}, b"12345"),
        ({"Transfer-Encoding": "chunked"}, b"5\r\n12345\r\n"),
        ({"Transfer-Encoding": "chunked"}, b"5\r\n12345\r\n0\r\n"),
    ],
)
def test_content_that_ends_too_early_never_reaches_the_app(server, headers, sent):
    mark = uuid.uuid4().hex
    with server.connect() as client:
        client.send(http.head("POST", f"/print/{mark}", headers) + sent)
        client.socket.shutdown(socket.SHUT_WR)
        got = client.read_to_end()
        assert not got.startswith(b"HTTP/1.1 2"), got
        assert client.end is http.End.FIN
    server.get(f"/print/after-{mark}")
    server.out.wait_for(f"printed out after-{mark}")
    assert f"printed out {mark}" not in server.out.text


def test_long_content_that_ends_too_early_is_an_error_to_the_app(server):
    with server.connect() as client:
        client.send(http.head("POST", "/digest", {"Content-Length": str(LONG)}) + os.urandom(LONG // 2))
        client.socket.shutdown(socket.SHUT_WR)
        assert not client.read_to_end().startswith(b"HTTP/1.1 2")
    assert server.get("/").status == 200


@wsgi_types
def test_a_client_that_leaves_is_noticed(serve, kind):
    """Before its request, and between requests where connections are kept: nothing is held for it."""
    server = serve("answers", *kind, "--keep-alive", "600", "--head-timeout", "600")

    def connections() -> int:
        return server.admin.workers()[0]["connections"]

    clients = [server.connect() for _ in range(6)]
    for number, client in enumerate(clients):
        if number < 3:
            client.send(b"GET / HT")
        elif kind:
            client.send(http.head("GET", "/"))
            client.read_response()
    wait_until(lambda: connections() >= (6 if kind else 3), lambda: f"the connections; there are {connections()}")
    for client in clients:
        client.close()
    wait_until(lambda: connections() == 0, lambda: f"no connection; there are {connections()}")
