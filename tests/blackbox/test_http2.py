"""HTTP/2, over TLS and without."""

import hashlib
import json
import os
import signal

import pytest
from podtest.http import head
from podtest.http2 import Client
from podtest.types import keeping_types, params
from podtest.waiting import wait_until

H2 = ("--http-protocols", "h2,h1")
CLEAR = (*H2, "--http2-cleartext", "both")

# ---- requests ----


@pytest.mark.parity
@keeping_types
def test_requests_are_answered(serve, kind, files, authority):
    server = serve("secure:app", *kind, *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        assert client.wire.socket.selected_alpn_protocol() == "h2"
        for _ in range(5):
            answer = client.get("/")
            assert (answer.status, answer.body) == (200, b"probe\n")
        names = [name for name, _ in answer.headers]
        # Gunicorn's asgi worker leaves them out.
        assert {"server", "date", "content-length"} <= set(names) or server.program == "gunicorn"
        assert not {"connection", "transfer-encoding", "keep-alive"} & set(names)


@keeping_types
def test_streams_share_a_connection(serve, kind, files, authority):
    """More than the server takes at a time, all asked at once."""
    server = serve("secure:app", *kind, *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        while client.machine.remote_settings.max_concurrent_streams > 100:
            client.step()
        streams = [client.ask(f"/bytes/{size}") for size in range(1000, 1090)]
        assert [len(client.answer(stream).body) for stream in streams] == list(range(1000, 1090))


@pytest.mark.parametrize("kind", params("gthread-4", "gevent", "eventlet", "asgi"))
def test_a_stream_does_not_wait_for_another(serve, kind, files, authority, gate):
    server = serve("secure:app", *kind, *files, *H2, environment=gate.environment)
    with Client(server.address, authority.trusting()) as client:
        held = client.ask("/hold/one")
        gate.wait(1, "one")
        assert client.get("/").status == 200
        assert not client.answers[held].headers
        gate.release_all()
        assert client.answer(held).body == b"released\n"


@keeping_types
def test_large_bodies_go_both_ways(serve, kind, files, authority):
    server = serve("secure:app", *kind, *files, *H2)
    body = os.urandom(1 << 20) * 3
    with Client(server.address, authority.trusting()) as client:
        unknown = client.ask("/digest", "POST", body=body)
        assert hashlib.sha256(body).hexdigest() in client.answer(unknown).body.decode()
        known = client.ask("/digest", "POST", [("content-length", str(len(body)))], body)
        assert hashlib.sha256(body).hexdigest() in client.answer(known).body.decode()
        assert len(client.get("/bytes/4000000").body) == 4_000_000


@keeping_types
def test_what_the_app_sees(serve, kind, files, authority):
    server = serve("probe:app", *kind, *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        fields = [("cookie", "a=1"), ("cookie", "b=2"), ("x-two", "1"), ("x-two", "2")]
        target = "/scope" if "asgi" in kind else "/environ"
        seen = json.loads(client.answer(client.ask(f"{target}?q=1", "POST", fields, b"body")).body)
    values = seen["values"]
    if "asgi" in kind:
        assert (values["http_version"], values["scheme"], values["method"]) == ("2", "https", "POST")
        headers = [tuple(pair) for pair in seen["headers"]]
        assert ("cookie", "a=1; b=2") in headers
        assert ("host", "localhost") in headers
    else:
        assert (values["SERVER_PROTOCOL"], values["HTTP_VERSION"]) == ("HTTP/2.0", "2")
        assert values["wsgi.url_scheme"] == "https"
        assert (values["HTTP_HOST"], values["HTTP_COOKIE"], values["HTTP_X_TWO"]) == ("localhost", "a=1; b=2", "1,2")
        assert values["QUERY_STRING"] == "q=1"
        assert "HTTP_TRANSFER_ENCODING" not in values
        assert values["REMOTE_ADDR"] == "127.0.0.1"


@keeping_types
def test_bodies_that_may_not_be(serve, kind, files, authority):
    server = serve("probe:app", *kind, *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        head = client.answer(client.ask("/bytes/1000", "HEAD"))
        assert (head.status, head.body, dict(head.headers)["content-length"]) == (200, b"", "1000")
        assert client.answer(client.ask("/stream")).body == b"aaaaabbbbbccccc"


@keeping_types
def test_rules_of_http1_hold(serve, kind, files, authority):
    """Limits of the head and of the body, and the app's errors."""
    server = serve("probe:app", *kind, *files, *H2, "--limit-request-body", "1000")
    with Client(server.address, authority.trusting()) as client:
        assert client.get("/nothing").status == 404
        assert client.get("/", [("x", "y" * 9000)]).status == 431
        assert client.get("/" + "a" * 5000).status == 414
        assert client.answer(client.ask("/echo", "POST", [("content-length", "2000")], b"x" * 2000)).status == 413
        assert client.get("/raise").status == 500
        assert client.get("/").status == 200


def test_trailers_of_asgi(serve, files, authority):
    """Whether or not the client asks for them."""
    server = serve("probe:app", "-k", "asgi", *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        for fields in ([], [("te", "trailers")]):
            answer = client.get("/trailers", fields)
            assert (answer.body, answer.trailers) == (b"summed up\n", [("x-sum", "42"), ("x-more", "42")])


@pytest.mark.parametrize("how", ["early", "late", "length"])
@pytest.mark.parametrize("kind", params("gthread-1", "gthread-4", "gevent", "eventlet"))
def test_trailers_of_wsgi(serve, kind, files, authority, how):
    """By ``gunicorn.http2.send_trailers``: before the body, in the midst of it, and where its length is known."""
    server = serve("probe:app", *kind, *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        answer = client.get(f"/trailers/{how}")
        assert (answer.status, answer.body) == (200, b"summed up\n")
        assert answer.trailers == [("x-sum", "42"), ("x-more", "7")]
        assert client.get("/").trailers == []


@pytest.mark.parametrize("kind", params("gthread-1", "gevent"))
def test_trailers_that_cannot_be_sent(serve, kind, files, authority):
    server = serve("probe:app", *kind, *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        for how, says in (
            ("too-late", "before its first piece"),
            ("name", "header name"),
            ("framing", "Transfer-Encoding"),
        ):
            assert says in client.get(f"/trailers/{how}").body.decode()
    # HTTP/1.1 has none.
    assert server.get("/trailers/early", context=authority.trusting()).body == b"no trailers here\n"


@pytest.mark.parametrize("kind", params("gthread-1", "gevent"))
def test_early_hints(serve, kind, files, authority):
    server = serve("probe:app", *kind, *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        answer = client.get("/early-hints")
        assert [dict(interim)[":status"] for interim in answer.interim] == ["103", "103"]
        assert answer.body == b"hinted\n"


def test_h1_is_there_as_well(serve, files, authority):
    server = serve("secure:app", "-k", "gthread", *files, "--http-protocols", "h2")
    assert server.get("/", context=authority.trusting()).status == 200


def test_sync_speaks_http1(serve, files, authority):
    """As Gunicorn's."""
    server = serve("secure:app", *files, *H2)
    context = authority.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with server.connect(context) as client:
        assert client.socket.selected_alpn_protocol() == "http/1.1"
    server.err.wait_for("sync workers speak HTTP/1.1 only")


# ---- without TLS ----


@pytest.mark.parity
@keeping_types
def test_prior_knowledge(serve, kind):
    server = serve("probe:app", *kind, *CLEAR)
    with Client(server.address) as client:
        assert client.get("/").body == b"probe\n"
    # HTTP/1.1 is there as well.
    assert server.get("/").status == 200


def test_prior_knowledge_alone(serve):
    """A proxy that was to speak HTTP/2 and does not is told so."""
    server = serve("probe:app", "-k", "gthread", *H2, "--http2-cleartext", "prior-knowledge")
    with Client(server.address) as client:
        assert client.get("/").status == 200
    assert server.get("/").status == 400


def test_strangers_speak_http1(serve):
    server = serve(
        "probe:app", "-k", "gthread", *H2, "--http2-cleartext", "prior-knowledge", "--forwarded-allow-ips", "10.0.0.1"
    )
    assert server.get("/").status == 200
    with server.connect() as client:
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert b"HTTP/1.1 400" in client.read_to_end()


def test_behind_the_proxy_protocol(serve):
    server = serve("probe:app", "-k", "gthread", *H2, "--http2-cleartext", "prior-knowledge", "--proxy-protocol", "v1")
    prelude = b"PROXY TCP4 192.0.2.7 198.51.100.9 56324 443\r\n"
    with Client(server.address, prelude=prelude) as client:
        for _ in range(2):
            assert json.loads(client.get("/environ").body)["values"]["REMOTE_ADDR"] == "192.0.2.7"


UPGRADE = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}


@pytest.mark.parametrize(
    "change",
    [
        {"HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAB!"},
        # INITIAL_WINDOW_SIZE of 2³¹.
        {"HTTP2-Settings": "AASAAAAA"},
        {"Connection": "Upgrade"},
        {"Upgrade": "h2"},
    ],
)
def test_an_upgrade_that_is_none(serve, change):
    """It is served as it is."""
    server = serve("probe:app", "-k", "gthread", *H2, "--http2-cleartext", "upgrade")
    assert server.get("/", headers=UPGRADE | change).status == 200
    with server.connect() as client:
        client.send(head("GET", "/", UPGRADE))
        assert client.read_response().status == 101


@pytest.mark.parametrize("how", ["off", "prior-knowledge"])
def test_an_upgrade_that_may_not_be(serve, how):
    server = serve("probe:app", "-k", "gthread", *H2, "--http2-cleartext", how)
    assert server.get("/", headers=UPGRADE).status == (200 if how == "off" else 400)


def test_strangers_do_not_upgrade(serve):
    server = serve("probe:app", "-k", "gthread", *H2, "--http2-cleartext", "both", "--forwarded-allow-ips", "10.0.0.1")
    assert server.get("/", headers=UPGRADE).status == 200


def test_a_proxy_tells_the_scheme(serve):
    server = serve("secure:app", "-k", "gthread", *CLEAR)
    with Client(server.address) as client:
        client.scheme = "https"
        assert json.loads(client.get("/seen").body)["wsgi.url_scheme"] == "https"


# ---- ends ----


@pytest.mark.parametrize("kind", params("gthread-4", "gevent", "asgi"))
def test_a_stop_says_goaway_and_finishes_what_has_begun(serve, kind, files, authority, gate):
    server = serve("secure:app", *kind, *files, *H2, environment=gate.environment)
    with Client(server.address, authority.trusting()) as client:
        held = client.ask("/hold/last")
        gate.wait(1, "last")
        server.send(signal.SIGTERM)
        while client.goaway is None:
            assert client.step()
        assert client.goaway == 0
        gate.release_all()
        assert client.answer(held).body == b"released\n"
        client.drain()
    assert server.wait_exit() == 0


@keeping_types
def test_idle_connections_end(serve, kind, files, authority):
    server = serve("secure:app", *kind, *files, *H2, "--keep-alive", "1")
    with Client(server.address, authority.trusting()) as client:
        assert client.get("/").status == 200
        client.drain()
        assert client.goaway == 0


@keeping_types
def test_a_client_that_takes_nothing_holds_nobody_for_ever(serve, kind, files, authority):
    """Its window stays shut: the stream is given up by `stall_timeout`, and others are served meanwhile."""
    server = serve("secure:app", *kind, *files, *H2, "--stall-timeout", "2", "--min-body-rate", "1000")
    with Client(server.address, authority.trusting(), window=False) as client:
        stream = client.ask("/bytes/9000000")
        if "gthread" not in kind or "--threads" in kind:
            assert server.get("/", context=authority.trusting()).status == 200
        while client.answers[stream].reset is None:
            assert client.step()
        assert len(client.answers[stream].body) <= 65_535


@pytest.mark.parametrize("kind", params("gthread-4", "gevent", "asgi"))
def test_a_client_that_takes_a_stream_back(serve, kind, files, authority, gate):
    server = serve("secure:app", *kind, *files, *H2, environment=gate.environment)
    with Client(server.address, authority.trusting()) as client:
        held = client.ask("/hold/gone")
        gate.wait(1, "gone")
        client.reset(held)
        client.flush()
        gate.release_all()
        assert client.get("/").status == 200
    wait_until(lambda: server.admin.metrics().value("podicorn_connections") == 0, "the end of all connections")


def test_no_request_at_all(serve, files, authority):
    server = serve("secure:app", "-k", "gthread", *files, *H2, "--head-timeout", "1")
    with Client(server.address, authority.trusting()) as client:
        client.drain()
    assert server.get("/", context=authority.trusting()).status == 200


def test_what_is_not_there(serve, files, authority):
    """Priorities: `h2` does not tell of them."""
    wsgi = serve("probe:app", "-k", "gthread", *files, *H2)
    with Client(wsgi.address, authority.trusting()) as client:
        values = json.loads(client.get("/environ").body)["values"]
        assert "gunicorn.http2.send_trailers" in values
        assert not [name for name in values if "priority" in name]
    asgi = serve("probe:app", "-k", "asgi", *files, *H2)
    with Client(asgi.address, authority.trusting()) as client:
        extensions = json.loads(client.get("/scope").body)["values"]["extensions"]
        assert "http.response.trailers" in extensions
        assert "http.response.priority" not in extensions


def test_requests_that_are_none(serve, files, authority):
    """A stream error each: the connection goes on."""
    server = serve("probe:app", "-k", "gthread", *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        client.machine.config.validate_outbound_headers = False
        for path, fields in (("http://other/", []), ("", []), ("/", [("content-length", "5")])):
            stream = client.ask(path, headers=fields)
            while client.answers[stream].reset is None:
                assert client.step()
            assert client.answers[stream].reset == 1
        assert client.get("/").status == 200


def test_requests_are_counted(serve, files, authority):
    """Each stream, in the metrics and in the ring of last requests."""
    server = serve("secure:app", "-k", "gthread", *files, *H2)
    with Client(server.address, authority.trusting()) as client:
        for _ in range(3):
            assert client.get("/bytes/7").status == 200
    assert server.admin.metrics().value("podicorn_requests_total", code_class="2xx") == 3


def test_the_access_log(serve, files, authority):
    server = serve("secure:app", "-k", "gthread", *files, *H2, "--access-logfile", "-")
    with Client(server.address, authority.trusting()) as client:
        assert client.get("/bytes/12").status == 200
    server.out.wait_for(r'127\.0\.0\.1 - - \[.*\] "GET /bytes/12 HTTP/2\.0" 200 12')


def test_the_server_announces_its_settings(serve):
    server = serve(
        "probe:app", "-k", "gthread", *CLEAR, "--http2-max-concurrent-streams", "7",
        "--http2-initial-window-size", "99999", "--http2-max-frame-size", "20000",
        "--http2-max-header-list-size", "3000",
    )  # fmt: skip
    with Client(server.address) as client:
        assert client.get("/bytes/3").status == 200
        told = client.machine.remote_settings
        assert (told.max_concurrent_streams, told.initial_window_size) == (7, 99999)
        assert (told.max_frame_size, told.max_header_list_size) == (20000, 3000)
