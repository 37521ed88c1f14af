"""The worker type asgi: the scope, and what passes by receive and send."""

import hashlib
import json
import sys

import pytest
from podtest import http, processes
from podtest.ports import free_port
from podtest.server import settle
from podtest.waiting import wait_until

ASGI = ("probe_asgi:app", "-k", "asgi")
MIB = 1 << 20


@pytest.fixture
def server(serve):
    return serve(*ASGI)


def scope(server, target="/scope", **options):
    return server.get(target, **options).json()


# ---- loops ----


@pytest.mark.parity
@pytest.mark.parametrize(
    ("choice", "module"), [("asyncio", "asyncio.unix_events"), ("uvloop", "uvloop"), ("auto", "uvloop")]
)
def test_the_loop_is_the_one_asked_for(serve, choice, module):
    assert serve(*ASGI, "--asgi-loop", choice).get("/loop").text == module


def test_every_spelling_of_gunicorn_is_understood(serve):
    for name in ("gunicorn.workers.gasgi.ASGIWorker", "egg:gunicorn#asgi"):
        server = serve("probe_asgi:app", "-k", name)
        server.err.wait_for("Using worker: asgi")
        assert server.get("/").text == "probe\n"


def test_threads_are_of_no_use(serve):
    server = serve(*ASGI, "--threads", "4")
    server.err.wait_for("no use for threads")
    server.err.wait_for("Using worker: asgi")


def test_a_wsgi_app_is_told_apart(serve):
    """It is called with one argument too many: an error of each request, and no lifespan."""
    server = serve("hello:application", "-k", "asgi")
    assert server.get("/").status == 500
    server.err.wait_for("takes 2 positional arguments but 3 were given")


# ---- the scope ----


@pytest.mark.parity
def test_the_scope_of_a_request(serve):
    server = serve(*ASGI)
    found = scope(server, "/scope?a=b&c=%20", headers={"X-Any": "Thing"})
    values, types = found["values"], found["types"]
    assert values["type"] == "http"
    assert "'version': '3.0'" in values["asgi"]
    assert (values["http_version"], values["method"], values["scheme"]) == ("1.1", "GET", "http")
    assert (values["path"], values["raw_path"]) == ("/scope", "b'/scope'")
    assert (values["query_string"], values["root_path"]) == ("b'a=b&c=%20'", "")
    assert values["server"] == f"('127.0.0.1', {server.port})"
    assert values["client"].startswith("('127.0.0.1', ")
    assert found["headers"] == [["host", "testserver"], ["x-any", "Thing"], ["connection", "close"]]
    assert types["headers"] == "list" and types["state"] == "dict"
    assert types["client"] == types["server"] == "tuple"


def test_its_version_and_extensions(serve):
    values = scope(serve(*ASGI))["values"]
    assert values["asgi"] == "{'version': '3.0', 'spec_version': '2.5'}"
    assert values["extensions"] == "{'http.response.pathsend': {}, 'http.response.early_hint': {}}"
    values = scope(serve(*ASGI, "--no-sendfile"), headers={"TE": "trailers"})["values"]
    assert values["extensions"] == "{'http.response.early_hint': {}, 'http.response.trailers': {}}"


@pytest.mark.parity
@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/scope/a%20b", "/scope/a b"),
        ("/scope/%C3%A9", "/scope/é"),
        ("/scope/%2F", "/scope//"),
        ("/scope/%", "/scope/%"),
        ("/scope//x", "/scope//x"),
    ],
)
def test_the_path_is_decoded(serve, target, path):
    values = scope(serve(*ASGI), target)["values"]
    assert (values["path"], values["raw_path"]) == (path, repr(target.encode()))


def test_a_path_that_is_no_utf8_is_replaced(server):
    assert scope(server, "/scope/%ff")["values"]["path"] == "/scope/\ufffd"


@pytest.mark.parity
def test_a_repeated_header_stays_apart_and_in_order(serve):
    headers = [("X-Twice", "1"), ("Other", "o"), ("x-tWICE", "2")]
    found = scope(serve(*ASGI), headers=headers)["headers"]
    assert [pair for pair in found if pair[0] == "x-twice"] == [["x-twice", "1"], ["x-twice", "2"]]
    assert found.index(["x-twice", "1"]) < found.index(["other", "o"]) < found.index(["x-twice", "2"])


@pytest.mark.parity
def test_the_scheme_of_a_trusted_proxy(serve):
    headers = {"X-Forwarded-Proto": "https"}
    assert scope(serve(*ASGI), headers=headers)["values"]["scheme"] == "https"
    untrusting = serve(*ASGI, "--forwarded-allow-ips", "10.0.0.1")
    assert scope(untrusting, headers=headers)["values"]["scheme"] == "http"


@pytest.mark.parametrize("given", ["/api", "/api/"])
@pytest.mark.parametrize("requested", ["/scope", "/api/scope"])
def test_the_path_begins_with_the_root_path(serve, given, requested):
    """Whether the proxy has taken it away or not; Quart and mounts of Starlette find nothing otherwise."""
    values = scope(serve(*ASGI, "--root-path", given), requested)["values"]
    assert (values["root_path"], values["path"], values["raw_path"]) == ("/api", "/api/scope", "b'/api/scope'")


@pytest.mark.parity
def test_version_1_0(serve):
    response = serve(*ASGI).get("/scope", version="1.0", headers={"Host": "x"})
    assert response.json()["values"]["http_version"] == "1.0"


def test_a_unix_socket_has_no_client(serve, tmp_path):
    path = str(tmp_path / "s")
    serve(*ASGI, "--bind", f"unix:{path}")
    values = http.request(path, "/scope").json()["values"]
    assert values["client"] is None
    assert values["server"] == f"('{path}', None)"


def test_behind_a_wildcard_the_address_is_the_connections_own(serve):
    port = free_port()
    serve(*ASGI, "--bind", f"0.0.0.0:{port}", bind=False)
    values = http.request(("127.0.0.1", port), "/scope").json()["values"]
    assert values["server"] == f"('127.0.0.1', {port})"


def test_each_request_has_its_own_copy_of_the_state(server):
    assert server.get("/state/one").json() == {"made": ["by the lifespan", "one"]}
    # A shallow copy, as the specification has it: what is inside is shared.
    assert server.get("/state/two").json() == {"made": ["by the lifespan", "one", "two"]}


def test_eager_tasks_take_a_newer_python(serve):
    """What they do there is in test_pythons.py."""
    server = serve(*ASGI, "--asgi-eager")
    assert server.get("/context/a").json() == {"before": "", "after": "a", "task": True}
    assert ("asgi_eager has no effect" in server.err.text) is (sys.version_info < (3, 12))


@pytest.mark.parametrize("options", [(), ("--asgi-loop", "asyncio")], ids=["uvloop", "asyncio"])
def test_each_request_has_its_own_context(serve, options):
    server = serve(*ASGI, *options)
    with server.connect() as client:
        # On one connection, pipelined too: the second begins while the first is at its end.
        client.send(http.head("GET", "/context/a") + http.head("GET", "/context/b"))
        assert client.read_response().json() == {"before": "", "after": "a", "task": True}
        assert client.read_response().json() == {"before": "", "after": "b", "task": True}
    assert server.get("/context/c").json()["before"] == ""


# ---- request bodies ----


@pytest.mark.parity
@pytest.mark.parametrize("size", [0, 1, 4096, 70_000, 3 * MIB])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_come_whole(serve, size, chunked):
    body = bytes(number * 7 % 251 for number in range(4096)) * (size // 4096 + 1)
    body = body[:size]
    server = serve(*ASGI)
    with server.connect() as client:
        if chunked:
            client.send(http.head("POST", "/digest", {"Transfer-Encoding": "chunked"}))
            for at in range(0, size, 50_000):
                piece = body[at : at + 50_000]
                client.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
            client.send(b"0\r\n\r\n")
        else:
            client.send(http.head("POST", "/digest", {"Content-Length": str(size)}) + body)
        found = client.read_response().json()
    assert (found["length"], found["sha256"]) == (size, hashlib.sha256(body).hexdigest())


def test_a_body_below_the_buffer_is_one_message(server):
    assert server.post("/digest", b"x" * MIB).json()["messages"] == 1


def test_a_body_above_the_buffer_streams(serve, gate):
    """The app has the first part while the client still holds the last."""
    server = serve(*ASGI, "--body-buffer", "10k", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("POST", "/slow-reader/first", {"Content-Length": "100000"}) + b"x" * 20_000)
        (visitor,) = gate.wait(1, "first")
        client.send(b"x" * 80_000)
        gate.release(visitor)
        assert client.read_response().json() == {"first": 10240, "length": 100_000}


def test_nothing_is_read_that_the_app_does_not_take(serve, gate):
    """The client is held back by TCP, and the worker's memory stays small."""
    server = serve(*ASGI, "--body-buffer", "10k", environment=gate.environment)
    (pid,) = server.admin.pids()
    total = 256 * MIB
    with server.connect() as client:
        client.send(http.head("POST", "/slow-reader/held", {"Content-Length": str(total)}))
        client.socket.setblocking(False)
        piece, sent = b"x" * MIB, 0
        # The first bytes let the app begin; it then stands at the gate.
        while not gate.seen:
            try:
                sent += client.socket.send(piece)
            except BlockingIOError:
                settle(0.01)
        before = processes.resident(pid)
        stuck = 0
        while stuck < 20:
            try:
                sent += client.socket.send(piece)
                stuck = 0
            except BlockingIOError:
                stuck += 1
                settle(0.05)
        assert sent < 64 * MIB, "more than kernels buffer"
        assert processes.resident(pid) - before < 16 * 1024
        gate.open()
        client.socket.settimeout(http.SILENCE)
        while sent < total:
            client.send(piece[: total - sent])
            sent += min(MIB, total - sent)
        assert client.read_response().json()["length"] == total


def test_bodies_pass_both_ways_at_a_time(serve):
    server = serve(*ASGI, "--body-buffer", "1k")
    with server.connect() as client:
        client.send(http.head("POST", "/echo-stream", {"Transfer-Encoding": "chunked"}) + b"400\r\n" + b"a" * 1024)
        response = client.read_head()
        assert response.header("Transfer-Encoding") == "chunked"
        for number in range(20):
            piece = b"%04d" % number * 100
            client.send(b"\r\n190\r\n" + piece)
            while piece not in client.buffer:
                assert client._more()
        client.send(b"\r\n0\r\n\r\n")
        while not client.buffer.endswith(b"0\r\n\r\n"):
            assert client._more()
        # It could not be known at the head that the body would be read to its end.
        assert response.header("Connection") == "close"


def test_continue_is_sent_when_the_app_asks_for_the_body(serve, gate):
    server = serve(*ASGI, "--body-buffer", "1k", environment=gate.environment)
    head = {"Expect": "100-continue", "Content-Length": "100000"}
    with server.connect() as client:
        client.send(http.head("POST", "/echo", head))
        assert client.read_head().status == 100
        client.send(b"x" * 100_000)
        assert len(client.read_response().body) == 100_000
    with server.connect() as client:
        client.send(http.head("POST", "/unread", head))
        response = client.read_response()
        assert (response.status, response.interim) == (200, [])


# ---- responses ----


@pytest.mark.parity
def test_a_response_in_pieces(serve):
    response = serve(*ASGI).get("/stream?n=5&size=70000")
    assert response.header("Transfer-Encoding") == "chunked"
    assert response.body == b"".join(bytes([ord("a") + number]) * 70_000 for number in range(5))


def test_the_length_of_a_response_in_one_piece_is_known(server):
    with server.connect() as client:
        client.send(http.head("GET", "/stream?n=0"))
        assert client.read_response().header("Content-Length") == "0"


def test_a_piece_leaves_before_the_next_one_is_there(serve, gate):
    server = serve(*ASGI, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/stream-held/middle"))
        assert client.read_head().status == 200
        assert client._exactly(len(b"6\r\nfirst\n\r\n"), "the first piece") == b"6\r\nfirst\n\r\n"
        gate.open()
        assert client._exactly(len(b"7\r\nsecond\n\r\n0\r\n\r\n"), "the rest").endswith(b"second\n\r\n0\r\n\r\n")


def test_the_head_goes_with_the_first_piece(serve):
    """The specification: no head before the first http.response.body. So an error before it is a 500."""
    response = serve(*ASGI).get("/return/start")
    assert response.status == 500


@pytest.mark.parity
@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body(serve, status):
    server = serve(*ASGI)
    with server.connect() as client:
        client.send(http.head("GET", f"/no-body/{status}") + http.head("GET", "/"))
        response = client.read_response()
        assert (response.status, response.body, response.header("Transfer-Encoding")) == (status, b"", None)
        assert client.read_response().body == b"probe\n"
    server.err.wait_for("ASGI app sent body bytes on a no-body response")


@pytest.mark.parity
def test_head_has_the_fields_of_get_and_no_body(serve):
    server = serve(*ASGI)
    with server.connect() as client:
        client.send(http.head("HEAD", "/bytes/1234") + http.head("GET", "/"))
        response = client.read_response("HEAD")
        assert (response.status, response.header("Content-Length")) == (200, "1234")
        assert client.read_response().body == b"probe\n"
    # Frameworks leave it to the server to drop that body.
    assert "no-body response" not in server.err.text or server.program == "gunicorn"


def test_memory_that_the_app_uses_again_is_sent_as_it_was(server):
    body = server.get("/mutable").body
    assert body == b"".join(bytes([ord("a") + number]) * 20_000 for number in range(20))


@pytest.mark.parity
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("header-newline", "x-bad"),
        ("header-name", "x bad"),
        ("header-int", ""),
        ("header-pair", ""),
    ],
)
def test_messages_that_break_the_rules_are_a_500(serve, kind, said):
    server = serve(*ASGI)
    response = server.get(f"/bad/{kind}")
    assert (response.status, response.header("x-injected")) == (500, None)
    server.err.wait_for("Traceback")
    assert said in server.err.text
    assert server.get("/").status == 200


@pytest.mark.parametrize(
    "kind", ["status", "interim-status", "body-first", "body-str", "start-twice", "type", "no-type", "no-dict"]
)
def test_more_messages_that_break_the_rules(server, kind):
    assert server.get(f"/bad/{kind}").status == 500
    server.err.wait_for("Traceback")
    assert server.get("/").status == 200


@pytest.mark.parity
def test_an_error_is_a_500_with_its_stack_in_the_log(serve):
    server = serve(*ASGI)
    response = server.get("/raise")
    assert response.status == 500 and b"raised before" not in response.body
    server.err.wait_for("RuntimeError: the app raised before the head")
    assert "in raise_early" in server.err.text


@pytest.mark.parity
def test_an_error_in_the_body_breaks_the_response_off(serve):
    server = serve(*ASGI)
    with server.connect() as client:
        client.send(http.head("GET", "/raise-late"))
        with pytest.raises(http.ExchangeError):
            client.read_response()
    server.err.wait_for("RuntimeError: the app raised in the body")


def test_an_error_behind_the_response_is_logged(server):
    with server.connect() as client:
        client.send(http.head("GET", "/raise-after"))
        assert client.read_response().body == b"all is well\n"
        server.err.wait_for("RuntimeError: the app raised behind its response")
        client.send(http.head("GET", "/"))
        assert client.read_response().body == b"probe\n"


@pytest.mark.parametrize("how", ["fresh", "start"])
def test_a_return_without_a_response_is_a_500(server, how):
    assert server.get(f"/return/{how}").status == 500
    server.err.wait_for("ASGI application returned without")


def test_a_return_in_the_middle_breaks_the_response_off(server):
    with server.connect() as client:
        client.send(http.head("GET", "/return/body"))
        with pytest.raises(http.ExchangeError):
            client.read_response()
    server.err.wait_for("returned without completing the response")


def test_behind_the_end_nothing_is_sent_and_receive_says_disconnect(server):
    with server.connect() as client:
        client.send(http.head("GET", "/after-end"))
        assert client.read_response().body == b"ended\n"
        server.out.wait_for("after the end: RuntimeError")
        server.out.wait_for("after the end: {'type': 'http.disconnect'}")
        client.send(http.head("GET", "/"))
        assert client.read_response().body == b"probe\n"


@pytest.mark.parametrize("options", [(), ("--asgi-loop", "asyncio")], ids=["uvloop", "asyncio"])
def test_receive_and_send_are_good_for_tasks_and_time_limits(serve, options):
    server = serve(*ASGI, *options)
    with server.connect() as client:
        client.send(http.head("GET", "/receive-in-tasks"))
        assert client.read_response().json() == ["http.request", "timeout", "cancelled"]
        server.out.wait_for(r"both: \['http.disconnect', 'http.disconnect'\]")


def test_a_cancelled_error_of_the_app_is_its_error(server):
    assert server.get("/cancels-itself").status == 500
    server.err.wait_for("CancelledError")
    assert server.get("/").status == 200


# ---- background ----


def test_what_goes_on_behind_a_response_delays_nobody(serve, gate):
    """Not on another connection, and not on the same one: the next request may follow a complete response."""
    server = serve(*ASGI, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/background/one"))
        assert client.read_response().body == b"answered\n"
        gate.wait(1, "one")
        assert server.get("/").body == b"probe\n"
        client.send(http.head("GET", "/pid") + http.head("GET", "/"))
        assert client.read_response().status == 200
        assert client.read_response().body == b"probe\n"
        # The last byte of an answer may arrive before the worker has counted its end.
        wait_until(lambda: server.admin.workers()[0]["inFlight"] == 0, "nothing in flight beside the background task")
        gate.open()
        server.out.wait_for("background: done")


def test_pipelined_requests_run_one_after_the_other(serve, gate):
    server = serve(*ASGI, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/first") + http.head("GET", "/hold/second"))
        (first,) = gate.wait(1)
        settle(0.3)
        assert gate.seen == ["first"]
        gate.release(first)
        gate.wait(1, "second")
        gate.open()
        assert [client.read_response().body for _ in range(2)] == [b"released\n"] * 2


def test_many_requests_at_a_time(serve, gate):
    server = serve(*ASGI, environment=gate.environment)
    clients = [server.connect() for _ in range(200)]
    for number, client in enumerate(clients):
        client.send(http.head("GET", f"/hold/{number}"))
    gate.wait(200)
    assert server.admin.workers()[0]["inFlight"] == 200
    assert server.get("/").body == b"probe\n"
    gate.open()
    for client in clients:
        assert client.read_response().body == b"released\n"
        client.close()


def test_worker_connections_bounds_them(serve, gate):
    server = serve(*ASGI, "--worker-connections", "5", environment=gate.environment)
    held = [server.connect() for _ in range(5)]
    for number, client in enumerate(held):
        client.send(http.head("GET", f"/hold/{number}"))
    gate.wait(5)
    with server.connect() as waiting:
        waiting.send(http.head("GET", "/hold/sixth"))
        settle(1)
        assert "sixth" not in gate.seen
        held[0].close()  # the client of a running request leaves
        gate.wait(1, "sixth")
        gate.open()
        assert waiting.read_response().body == b"released\n"
    for client in held[1:]:
        assert client.read_response().body == b"released\n"
        client.close()


# ---- early hints, trailers, files ----


def test_early_hints_as_gunicorn_has_them(server):
    response = server.get("/hints")
    (hint,) = response.interim
    assert (hint.status, hint.reason, hint.header("link")) == (103, "Early Hints", "</style.css>; rel=preload")
    assert (response.status, response.body) == (200, b"hinted\n")
    assert [interim.status for interim in server.get("/hints/102").interim] == [102]


def test_early_hints_as_asgi_has_them(server):
    (hint,) = server.get("/hints/asgi").interim
    assert hint.all("link") == ["</style.css>; rel=preload", "</app.js>; rel=preload"]


def test_there_are_no_hints_for_version_1_0_nor_behind_the_head(server):
    response = server.get("/hints", version="1.0")
    assert (response.interim, response.body) == ([], b"hinted\n")
    with server.connect() as client:
        client.send(http.head("GET", "/hints?late=yes"))
        assert client.read_response().body == b"hinted\n"
        server.err.wait_for("RuntimeError")
        client.send(http.head("GET", "/"))
        assert client.read_response().body == b"probe\n"


def test_nothing_but_an_interim_status_goes_as_one(server):
    for status in (101, 200, 99):
        assert server.get(f"/hints/{status}").status == 500


def read_trailers(client):
    """The body and the trailer lines of a chunked response."""
    assert client.read_head().header("Transfer-Encoding") == "chunked"
    while b"\r\n0\r\n" not in client.buffer or not client.buffer.endswith(b"\r\n\r\n"):
        assert client._more()
    body, _, trailers = client.buffer.partition(b"\r\n0\r\n")
    client.buffer = b""
    return body, trailers.split(b"\r\n")[:-2]


def test_trailers_for_who_takes_them(server):
    with server.connect() as client:
        for _ in range(2):
            client.send(http.head("GET", "/trailers", {"TE": "gzip, trailers"}))
            body, trailers = read_trailers(client)
            assert b"summed" in body and b" up\n" in body
            assert trailers == [b"x-sum: 42", b"x-more: 42"]


def test_no_trailers_for_who_does_not(server):
    with server.connect() as client:
        client.send(http.head("GET", "/trailers") + http.head("GET", "/"))
        assert client.read_response().body == b"summed up\n"
        assert client.read_response().body == b"probe\n"


def test_trailers_that_would_change_the_framing_break_the_response_off(server):
    with server.connect() as client:
        client.send(http.head("GET", "/trailers/content-length", {"TE": "trailers"}))
        with pytest.raises(http.ExchangeError):
            client.read_response()
    server.err.wait_for("content-length")


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(b"".join(b"%07d\n" % number for number in range(MIB // 2)))
    return path


def test_a_file_by_its_path(server, big):
    with server.connect() as client:
        for _ in range(3):
            client.send(http.head("GET", f"/path?path={big}"))
            response = client.read_response()
            assert response.header("Content-Length") == str(big.stat().st_size)
            assert response.body == big.read_bytes()
        client.send(http.head("HEAD", f"/path?path={big}"))
        assert client.read_response("HEAD").header("Content-Length") == str(big.stat().st_size)
        client.send(http.head("GET", "/"))
        assert client.read_response().body == b"probe\n"


def test_a_file_for_version_1_0_and_no_further_than_its_length(server, big):
    assert server.get(f"/path?path={big}", version="1.0").body == big.read_bytes()
    assert server.get(f"/path?path={big}&said=1000").body == big.read_bytes()[:1000]
    with server.connect() as client:
        client.send(http.head("GET", f"/path?path={big}&said=99999999"))
        with pytest.raises(http.ExchangeError):
            client.read_response()


@pytest.mark.parametrize("name", ["missing", ""])
def test_a_file_that_is_none_is_an_error(server, tmp_path, name):
    assert server.get(f"/path?path={tmp_path / name}").status == 500
    server.err.wait_for("Traceback")


def test_an_empty_file(server, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    response = server.get(f"/path?path={tmp_path / 'empty'}")
    assert (response.status, response.header("Content-Length"), response.body) == (200, "0", b"")


def test_a_file_that_becomes_shorter_breaks_the_response_off(server, big):
    with server.connect() as client:
        client.send(http.head("GET", f"/large-then-shrink?path={big}"))
        with pytest.raises(http.ExchangeError):
            client.read_response()
    assert server.get("/").status == 200


# ---- what people see ----


def test_the_access_log_has_all_atoms(serve):
    atoms = [*"hlutrmUqHsBbfaTDMLp", "{x-in}i", "{x-out}o", "{request_method}e", "{http_x_in}e"]
    form = " | ".join(f"{atom}=%({atom})s" for atom in atoms)
    server = serve(*ASGI, "--access-logfile", "-", "--access-logformat", form)
    headers = {"X-In": "yes", "User-Agent": "test", "Referer": "there", "Authorization": "Basic dXNlcjpwYXNz"}
    server.get("/a%20b?c=d", headers=headers)
    line = server.out.wait_for("^h=.*$").group()
    found = dict(part.split("=", 1) for part in line.split(" | "))
    assert found["h"] == "127.0.0.1" and found["u"] == "user"
    assert found["r"] == "GET /a%20b?c=d HTTP/1.1"
    assert (found["m"], found["U"], found["q"], found["H"]) == ("GET", "/a b", "c=d", "HTTP/1.1")
    assert (found["s"], found["B"], found["b"]) == ("404", "13", "13")
    assert (found["f"], found["a"], found["{x-in}i"]) == ("there", "test", "yes")
    assert (found["{request_method}e"], found["{http_x_in}e"]) == ("GET", "yes")


def test_the_access_log_as_json(serve):
    server = serve(*ASGI, "--access-logfile", "-", "--log-format", "json")
    server.get("/bytes/7?a=b", headers={"User-Agent": "test"})
    line = json.loads(server.out.wait_for("^.*gunicorn.access.*$").group())
    assert (line["method"], line["path"], line["query"], line["status"]) == ("GET", "/bytes/7", "a=b", 200)
    assert (line["remote_addr"], line["user_agent"], line["body_bytes"]) == ("127.0.0.1", "test", 7)


def test_metrics_and_the_ring_of_requests(serve):
    server = serve(*ASGI)
    for target in ("/", "/status/404", "/raise"):
        server.get(target)

    def recent() -> list[str]:
        return [request["path"] for request in server.admin.workers()[0]["recentRequests"]]

    # The last client may have seen the end of its connection before the worker was at the end of the request.
    wait_until(lambda: len(recent()) == 3, recent)
    assert recent() == ["/raise", "/status/404", "/"]
    metrics = server.admin.metrics()
    for code_class in ("2xx", "4xx", "5xx"):
        assert metrics.value("podicorn_requests_total", code_class=code_class) == 1


def test_hooks_see_requests_and_responses(serve, config):
    path = config(
        "def pre_request(worker, req):\n"
        "    print('pre', req.method, req.path, flush=True)\n"
        "    if req.path == '/refused':\n"
        "        raise ValueError('by the hook')\n"
        "def post_request(worker, req, environ, resp):\n"
        "    print('post', environ['REQUEST_METHOD'], environ['PATH_INFO'], resp.status_code, resp.sent, flush=True)\n"
    )
    server = serve(*ASGI, "-c", path)
    server.get("/bytes/5")
    server.out.wait_for("pre GET /bytes/5")
    server.out.wait_for("post GET /bytes/5 200 5")
    assert server.get("/refused").status == 500
    server.err.wait_for("ValueError: by the hook")


def test_a_worker_is_replaced_after_max_requests(serve):
    server = serve(*ASGI, "--max-requests", "50")
    (first,) = server.admin.pids()
    for _ in range(200):
        assert server.get("/").status == 200
    wait_until(lambda: server.admin.pids() and first not in server.admin.pids(), "another worker")
