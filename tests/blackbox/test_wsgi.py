"""PEP 3333, point by point."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from podtest import http
from podtest.server import APPS, Server
from podtest.types import KEEPING, WSGI, params, wsgi_types
from podtest.waiting import wait_until

pytestmark = pytest.mark.parity

PROGRAM = os.environ.get("PODTEST_PROGRAM", "podicorn")


def running(app, *options):
    with Server(app, *options, "--workers", "1", "--timeout", "60", program=PROGRAM) as made:
        made.wait_ready()
        yield made
        assert "panicked" not in made.err.text, made.err.text


@pytest.fixture(scope="module", params=params(*WSGI))
def server(request):
    """One server for each worker type: nothing here changes its state."""
    yield from running("probe:app", *request.param)


@pytest.fixture(scope="module", params=params(*WSGI))
def strict(request):
    """The same app behind wsgiref.validate."""
    yield from running("validated", *request.param)


@pytest.fixture(scope="module", params=params(*(name for name in KEEPING if name in WSGI)))
def strict_keeping(request):
    """That, on the worker types that keep connections."""
    yield from running("validated", *request.param)


# ---- environ ----


def environ(server, target="/environ", **options):
    return http.request(server.address, target, **options).json()


def test_the_environ_is_a_builtin_dict(server):
    assert environ(server)["exact_dict"] is True


def test_required_keys(server):
    found = environ(server, "/environ/a/b?x=1&y=%20", headers={"Host": "shop.example:81"})
    values, types = found["values"], found["types"]
    assert values["REQUEST_METHOD"] == "GET"
    assert values["SCRIPT_NAME"] == ""
    assert values["PATH_INFO"] == "/environ/a/b"
    assert values["QUERY_STRING"] == "x=1&y=%20"
    assert values["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert values["SERVER_NAME"] == "127.0.0.1"
    assert values["SERVER_PORT"] == str(server.port)
    assert values["HTTP_HOST"] == "shop.example:81"
    assert values["REMOTE_ADDR"] == "127.0.0.1"
    assert types["REMOTE_PORT"] == "str" and values["REMOTE_PORT"].isdigit()
    assert values["wsgi.version"] == "(1, 0)"
    assert values["wsgi.url_scheme"] == "http"
    assert values["wsgi.multithread"] == str("-k" in server.command)
    assert values["wsgi.multiprocess"] == "False"
    assert values["wsgi.run_once"] == "False"
    assert values["wsgi.input_terminated"] == "True"
    assert values["RAW_URI"] == "/environ/a/b?x=1&y=%20"
    for name in ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "SERVER_SOFTWARE"):
        assert name in values


def test_every_cgi_value_is_a_native_string(server):
    types = environ(server, headers={"X-Any": "thing"})["types"]
    wrong = {key: kind for key, kind in types.items() if key.isupper() and kind != "str"}
    assert not wrong


@wsgi_types
def test_multiprocess_says_whether_there_are_several(serve, kind):
    made = serve("probe:app", *kind, "--workers", "2")
    assert environ(made)["values"]["wsgi.multiprocess"] == "True"


def test_headers(server):
    values = environ(
        server,
        method="POST",
        body=b"abc",
        headers=[
            ("Content-Type", "text/x-test; charset=utf-8"),
            ("X-Several", "one"),
            ("x-several", "two"),
            ("X-Spaces", "  inner  space  "),
            ("X-Empty", ""),
            ("Cookie", "a=1"),
        ],
    )["values"]
    assert values["CONTENT_TYPE"] == "text/x-test; charset=utf-8"
    assert values["CONTENT_LENGTH"] == "3"
    assert "HTTP_CONTENT_TYPE" not in values
    assert "HTTP_CONTENT_LENGTH" not in values
    assert values["HTTP_X_SEVERAL"] == "one,two"
    assert values["HTTP_X_SPACES"] == "inner  space"
    assert values["HTTP_X_EMPTY"] == ""
    assert values["HTTP_COOKIE"] == "a=1"


def test_a_header_with_an_underscore_cannot_pose_as_another(server):
    """header_map=drop: X_Forwarded_For would become the same key as X-Forwarded-For."""
    values = environ(server, headers=[("X_User", "forged"), ("X-Other", "kept")])["values"]
    assert "HTTP_X_USER" not in values
    assert values["HTTP_X_OTHER"] == "kept"


def test_a_proxy_header_does_not_reach_the_app_as_http_proxy(server):
    values = environ(server, headers=[("Proxy", "http://evil/")])["values"]
    assert values.get("HTTP_PROXY") in (None, "http://evil/")  # Gunicorn passes it; httpoxy is the app's business


def test_path_is_unquoted_to_latin_1(server):
    """PEP 3333: bytes above 127 are carried as code points below 256."""
    values = environ(server, "/environ/caf%C3%A9/%2F%3F%25")["values"]
    assert values["PATH_INFO"] == "/environ/caf\xc3\xa9//?%"
    assert values["RAW_URI"] == "/environ/caf%C3%A9/%2F%3F%25"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/environ?", "/environ", ""),
        ("/environ??a", "/environ", "?a"),
        ("/environ/%zz", "/environ/%zz", ""),
        ("/environ/a+b?c+d", "/environ/a+b", "c+d"),
        ("/environ/;p=1", "/environ/;p=1", ""),
        ("/environ/%00", "/environ/\0", ""),
        ("//environ", "//environ", None),
        ("http://other.example/environ/abs?q", "/environ/abs", "q"),
    ],
)
def test_targets(server, target, path, query):
    response = http.request(server.address, target)
    if query is None:
        assert response.status in (200, 404)
        return
    values = response.json()["values"]
    assert (values["PATH_INFO"], values["QUERY_STRING"]) == (path, query)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH"])
def test_methods(server, method):
    assert environ(server, method=method)["values"]["REQUEST_METHOD"] == method


@wsgi_types
def test_script_name_from_the_environment(serve, kind):
    made = serve("probe:app", *kind, environment={"SCRIPT_NAME": "/shop"})
    values = environ(made, "/shop/environ/x")["values"]
    assert (values["SCRIPT_NAME"], values["PATH_INFO"]) == ("/shop", "/environ/x")


def test_a_trusted_proxys_scheme_counts(server):
    values = environ(server, headers={"X-Forwarded-Proto": "https"})["values"]
    assert values["wsgi.url_scheme"] == "https"


def test_contradicting_schemes_are_refused(server):
    response = http.request(
        server.address, "/environ", headers={"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"}
    )
    assert response.status == 400


@wsgi_types
def test_an_untrusted_proxys_scheme_does_not(serve, kind):
    made = serve("probe:app", *kind, "--forwarded-allow-ips", "10.0.0.1")
    assert environ(made, headers={"X-Forwarded-Proto": "https"})["values"]["wsgi.url_scheme"] == "http"


@wsgi_types
def test_a_unix_socket(serve, tmp_path, kind):
    path = str(tmp_path / "s.sock")
    serve("probe:app", *kind, "--bind", f"unix:{path}")
    values = http.request(path, "/environ", headers={"Host": "shop.example:8443"}).json()["values"]
    assert values["SERVER_NAME"] == "shop.example"
    assert values["SERVER_PORT"] == "8443"
    assert values["REMOTE_ADDR"] == ""


# ---- wsgi.input ----


@pytest.mark.parametrize("how", ["read", "all", "readline", "readline-size", "readlines", "iterate", "one-byte"])
@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"one\ntwo\r\nthree", b"\n" * 50, b"no newline " * 1000, os.urandom(70_000)],
    ids=["empty", "byte", "lines", "newlines", "long", "binary"],
)
def test_every_way_of_reading_gives_the_body(server, how, body):
    import hashlib

    answer = http.request(server.address, f"/digest?how={how}&size=7", "POST", body=body).json()
    assert answer == {"length": len(body), "sha256": hashlib.sha256(body).hexdigest(), "after_end": 0}


def test_a_body_is_not_read_past_its_length(server):
    with http.Connection(server.address) as client:
        client.send(http.head("POST", "/echo", {"Content-Length": "4"}) + b"bodyGET /next HTTP/1.1\r\n\r\n")
        assert client.read_response().body == b"body"


# ---- responses ----


def test_write_comes_before_the_iterable(server):
    response = http.request(server.address, "/write")
    assert response.text == "written first, then returned\n"


def test_a_generator_without_length_is_chunked_or_ends_with_the_connection(server):
    new = http.request(server.address, "/stream?n=5&size=3")
    assert new.text == "aaabbbcccdddeee"
    assert new.header("Transfer-Encoding") == "chunked"
    assert new.header("Content-Length") is None
    old = http.request(server.address, "/stream?n=5&size=3", version="1.0")
    assert old.text == "aaabbbcccdddeee"
    assert old.header("Transfer-Encoding") is None


@wsgi_types
def test_pieces_are_sent_as_they_come(serve, gate, kind):
    made = serve("probe:app", *kind, environment=gate.environment)
    with made.connect() as client:
        client.send(http.head("GET", "/stream-held/x"))
        gate.wait(1, "x")
        client.read_head()
        while b"first\n" not in client.buffer:
            assert client._more(), "the first piece was held back"
        gate.open()
        while b"second\n" not in client.buffer:
            assert client._more(), "the second piece is missing"


@pytest.mark.parametrize("path", ["/lazy-start", "/empty/mixed", "/file"])
def test_other_shapes_of_bodies(server, path):
    response = http.request(server.address, path)
    assert response.status == 200
    expected = {"/lazy-start": b"lazy\n", "/empty/mixed": b"ab"}
    if path in expected:
        assert response.body == expected[path]
    else:
        assert response.body == (APPS / "probe.py").read_bytes()


@pytest.mark.parametrize("kind", ["none", "blank"])
def test_an_empty_body_still_has_a_head(server, kind):
    response = http.request(server.address, f"/empty/{kind}")
    assert (response.status, response.body) == (200, b"")


def test_head_has_the_headers_and_no_body(server):
    response = http.request(server.address, "/bytes/100", "HEAD")
    assert response.header("Content-Length") == "100"
    assert response.body == b""
    assert response.end is http.End.FIN


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(server, status):
    response = http.request(server.address, f"/no-body/{status}")
    assert response.status == status
    assert response.end is http.End.FIN  # and http.request fails on any byte more
    assert response.header("Transfer-Encoding") is None


def test_standard_headers(server):
    response = http.request(server.address, "/")
    assert response.header("Server")
    date = response.header("Date")
    assert date and date.endswith(" GMT") and len(date) == 29
    assert response.header("Content-Length") == "6"
    assert response.header("Connection") == "close"


def test_hop_by_hop_headers_of_the_app_do_not_get_through(server):
    response = http.request(server.address, "/bad/hop-by-hop")
    assert response.all("Connection") in ([], ["close"])
    assert response.header("Keep-Alive") is None


@pytest.mark.parametrize("status", ["200", "201", "404", "418", "503", "599", "299"])
def test_statuses(server, status):
    response = http.request(server.address, f"/status/{status}")
    assert (response.status, response.reason) == (int(status), "As asked")


@wsgi_types
@pytest.mark.parametrize("label", ["whole", "failing"])
def test_close_is_called(serve, kind, label):
    made = serve("probe:app", *kind)
    target = f"/close/{label}" + ("?fail=2" if label == "failing" else "")
    if label == "failing":
        with pytest.raises(http.ExchangeError):
            http.request(made.address, target)
    else:
        assert http.request(made.address, target).text == "piece\n" * 3
    made.out.wait_for(f"^closed {label}$")
    assert made.out.text.count("closed") == 1


@wsgi_types
def test_close_is_called_when_the_client_has_gone(serve, kind):
    made = serve("probe:app", *kind)
    client = made.connect()
    client.send(http.head("GET", "/close/abandoned"))
    client.close()
    made.out.wait_for("^closed abandoned$")


def test_exc_info_replaces_a_head_that_was_not_sent(server):
    response = http.request(server.address, "/exc-info")
    assert response.status == 503
    if server.program == "podicorn":
        assert response.header("X-First") is None  # Gunicorn 27.0.1 keeps it, against PEP 3333
    assert response.text == "replaced\n"


def test_exc_info_after_the_head_raises_and_ends_the_connection(server):
    with pytest.raises(http.ExchangeError) as cut:
        http.request(server.address, "/exc-info-late")
    assert b"never sent" not in cut.value.got
    server.err.wait_for("ValueError: too late to change")


def test_start_response_twice_is_an_error(server):
    assert http.request(server.address, "/twice").status == 500


def test_an_exception_before_the_head_is_a_500(server):
    response = http.request(server.address, "/raise")
    assert response.status == 500
    assert response.end is http.End.FIN


def test_an_exception_in_the_body_cuts_the_response(server):
    """The client must be able to tell that the body is not whole."""
    with pytest.raises(http.ExchangeError):
        http.request(server.address, "/raise-late")
    assert http.request(server.address, "/").status == 200


@pytest.mark.parametrize(
    "kind",
    ["status-int", "status-word", "header-newline", "header-name", "header-bytes", "header-int",
     "header-unicode", "none"],
)  # fmt: skip
def test_wrong_responses_are_a_500_and_never_reach_the_client(server, kind):
    response = http.request(server.address, f"/bad/{kind}")
    assert response.status == 500, response
    assert response.header("X-Injected") is None
    assert http.request(server.address, "/").status == 200


def test_a_body_of_text_is_an_error(server):
    with http.Connection(server.address) as client:
        client.send(http.head("GET", "/bad/body-str"))
        assert b"\r\n\r\ntext" not in client.read_to_end()
    assert http.request(server.address, "/").status == 200


def test_too_much_for_the_content_length_is_cut(server):
    response = http.request(server.address, "/length/5/50")
    assert response.body == b"xxxxx"


def test_too_little_for_the_content_length_ends_the_connection(server):
    with pytest.raises(http.ExchangeError):
        http.request(server.address, "/length/50/5")
    assert http.request(server.address, "/").status == 200


def test_sys_exit_in_a_request_is_answered_or_closed_and_the_server_lives(serve):
    """What gthread does is in test_gthread.py: Gunicorn's does something else there."""
    made = serve("probe:app")
    try:
        assert http.request(made.address, "/exit/3").status == 500
    except http.ExchangeError:
        pass

    def answers() -> bool:
        try:
            return http.request(made.address, "/").status == 200
        except (OSError, http.ExchangeError):
            return False

    wait_until(answers, "the next answer")
    assert made.running()


# ---- under wsgiref.validate ----

#: Method, target, request body, response body.
EXCHANGES = [
    ("GET", "/", None, b"probe\n"),
    ("GET", "/stream?n=3&size=2", None, b"aabbcc"),
    ("POST", "/echo", b"some body", b"some body"),
    ("POST", "/echo", b"long" * 1_000_000, b"long" * 1_000_000),
    ("POST", "/echo", b"", b""),
    ("GET", "/write", None, b"written first, then returned\n"),
    ("GET", "/bytes/70000", None, b"x" * 70000),
    ("HEAD", "/bytes/100", None, b""),
    ("GET", "/exc-info", None, b"replaced\n"),
    ("GET", "/close/valid", None, b"piece\n" * 3),
    ("GET", "/empty/mixed", None, b"ab"),
    ("GET", "/file", None, (APPS / "probe.py").read_bytes()),
    ("PUT", "/unread", b"ignored", b"unread\n"),
    ("GET", "/no/such", None, b"no such path\n"),
]


def strict_headers(body):
    return {} if body is None else {"Content-Type": "text/plain", "Content-Length": str(len(body))}


@pytest.mark.parametrize(("method", "target", "body", "expected"), EXCHANGES)
def test_wsgiref_validate_finds_nothing(strict, method, target, body, expected):
    response = http.request(strict.address, target, method, strict_headers(body), body)
    assert response.body == expected
    assert "AssertionError" not in strict.err.text, strict.err.text


def test_wsgiref_validate_finds_nothing_on_a_connection_that_is_kept(strict_keeping):
    with strict_keeping.connect() as client:
        for method, target, body, expected in EXCHANGES:
            client.send(http.head(method, target, strict_headers(body)) + (body or b""))
            response = client.read_response(method)
            assert response.body == expected
            assert response.header("Connection") == "keep-alive", target
    assert "AssertionError" not in strict_keeping.err.text, strict_keeping.err.text


def test_wsgiref_validate_finds_nothing_in_requests_side_by_side(strict):
    def exchange(number):
        method, target, body, expected = EXCHANGES[number % len(EXCHANGES)]
        return http.request(strict.address, target, method, strict_headers(body), body).body == expected

    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(exchange, range(10 * len(EXCHANGES))))
    assert "AssertionError" not in strict.err.text, strict.err.text
