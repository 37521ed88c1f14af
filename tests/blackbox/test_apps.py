"""Real apps, used as their users do, on sync and on threads."""

import hashlib
import html.parser
import os
import re
import shutil
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from podtest import http
from podtest.load import Load
from podtest.server import APPS, Server
from podtest.types import GREEN, params

pytestmark = pytest.mark.parity

#: sync, threads and greenlets: gthread with one thread runs an app as sync does.
TYPES = params("sync", "gthread-4", *GREEN)


def running(app: str, *options: str, **more: object) -> Iterator[Server]:
    """Two workers, for a whole module."""
    program = os.environ.get("PODTEST_PROGRAM", "podicorn")
    with Server(app, *options, "--workers", "2", "--keep-alive", "60", program=program, **more) as made:  # type: ignore[arg-type]
        made.wait_ready()
        yield made
        assert "panicked" not in made.err.text, made.err.text


class Browser:
    """Keeps its connection as long as the server lets it, keeps cookies, follows redirects, sends forms."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cookies: dict[str, str] = {}
        #: Connections that were needed.
        self.connections = 0
        self._connection: http.Connection | None = None

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self, target: str, method: str = "GET", headers: list[tuple[str, str]] | None = None, body: bytes | None = None
    ) -> http.Response:
        """One exchange. Nothing is sent a second time: a kept connection that fails is a fault of the server."""
        pairs = [*(headers or []), *([("Content-Length", str(len(body)))] if body is not None else [])]
        if self._connection is None:
            self._connection = self.server.connect()
            self.connections += 1
        self._connection.send(http.head(method, target, pairs) + (body or b""))
        response = self._connection.read_response(method)
        if response.header("Connection") == "close":
            assert self._connection.finish() is http.End.FIN
            self.close()
        return response

    def open(self, target: str, method: str = "GET", body: bytes | None = None, kind: str = "") -> http.Response:
        for _ in range(5):
            headers = [("Host", f"127.0.0.1:{self.server.port}"), ("Referer", f"http://127.0.0.1:{self.server.port}/")]
            if self.cookies:
                headers.append(("Cookie", "; ".join(f"{k}={v}" for k, v in self.cookies.items())))
            if kind:
                headers.append(("Content-Type", kind))
            response = self.request(target, method, headers, body)
            for cookie in response.all("Set-Cookie"):
                name, _, value = cookie.split(";")[0].partition("=")
                self.cookies[name] = value
            if response.status not in (301, 302, 303):
                return response
            target = urllib.parse.urlsplit(response.header("Location"))._replace(scheme="", netloc="").geturl()
            method, body, kind = "GET", None, ""
        raise AssertionError("too many redirects")

    def form(self, target: str, **fields: str) -> http.Response:
        body = urllib.parse.urlencode(fields).encode()
        return self.open(target, "POST", body, "application/x-www-form-urlencoded")

    def upload(self, target: str, content: bytes, **fields: str) -> http.Response:
        mark = "----boundary-of-the-test"
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        ]
        parts.append(
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="photo.bin"\r\n'
            f"Content-Type: application/octet-stream\r\n\r\n".encode()
            + content
            + b"\r\n"
        )
        body = b"".join(parts) + f"--{mark}--\r\n".encode()
        return self.open(target, "POST", body, f"multipart/form-data; boundary={mark}")


class HiddenFields(html.parser.HTMLParser):
    """Hidden inputs of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "input" and found.get("type") == "hidden":
            self.fields[found["name"]] = found.get("value", "")


# ---- Django ----


@pytest.fixture(scope="module", params=TYPES)
def django(request, django_template, tmp_path_factory):
    database = shutil.copy(django_template, tmp_path_factory.mktemp("django") / "site.sqlite3")
    yield from running("django_site.wsgi", *request.param, "--preload", environment={"DJANGO_DB": str(database)})


@pytest.fixture(params=TYPES)
def django_untouched(request, serve, django_db):
    """With the notes that the template has, and no others."""
    options = ("--workers", "2", "--preload", "--keep-alive", "60")
    return serve("django_site.wsgi", *request.param, *options, environment={"DJANGO_DB": str(django_db)})


@pytest.fixture
def django_pid1(serve, django_db, namespaces):
    return serve(
        "django_site.wsgi", "--workers", "2", pid1=True, reach=[str(django_db.parent)],
        environment={"DJANGO_DB": str(django_db)},
    )  # fmt: skip


def admin_session(server: Server) -> None:
    browser = Browser(server)
    login = browser.open("/admin/")
    assert login.status == 200
    assert "Log in" in login.text
    token = HiddenFields(login.text).fields["csrfmiddlewaretoken"]
    wrong = browser.form("/admin/login/", username="admin", password="wrong", csrfmiddlewaretoken=token, next="/admin/")
    assert "Please enter the correct" in wrong.text
    token = HiddenFields(wrong.text).fields["csrfmiddlewaretoken"]
    home = browser.form(
        "/admin/login/", username="admin", password="correct horse", csrfmiddlewaretoken=token, next="/admin/"
    )
    assert home.status == 200
    assert "Site administration" in home.text
    assert "sessionid" in browser.cookies

    listing = browser.open("/admin/board/note/")
    assert "10 notes" in listing.text
    page = browser.open("/admin/board/note/add/")
    token = HiddenFields(page.text).fields["csrfmiddlewaretoken"]
    added = browser.form("/admin/board/note/add/", title="made in the admin", csrfmiddlewaretoken=token, _save="Save")
    assert "made in the admin" in added.text
    assert "11 notes" in added.text

    style = re.search(r'href="(/static/admin/css/base[^"]*\.css)"', home.text)
    assert style, home.text
    sheet = browser.open(style[1])
    assert sheet.status == 200
    assert sheet.header("Content-Type").startswith("text/css")
    assert len(sheet.body) > 1000


def test_django_admin_login_session_and_static_files(django_untouched):
    admin_session(django_untouched)


@pytest.mark.pid1
def test_django_admin_as_pid_1(django_pid1):
    if django_pid1.program == "gunicorn":
        pytest.skip("Gunicorn as PID 1 is no question here")
    admin_session(django_pid1)


def test_django_forms_need_their_token(django):
    browser = Browser(django)
    token = browser.open("/").json()["token"]
    assert browser.form("/notes/", title="forged").status == 403
    answer = browser.form("/notes/", title="käse & brot", csrfmiddlewaretoken=token)
    assert answer.json()["notes"][0] == "käse & brot"


def test_django_sessions_are_per_client_and_survive_the_change_of_worker(django):
    one, two = Browser(django), Browser(django)
    for count in range(1, 11):
        assert one.open("/visits/").json() == {"visits": count}
        one.close()  # so that the next request can come to the other worker
    assert two.open("/visits/").json() == {"visits": 1}


def test_django_on_one_connection(django):
    """Cookies, redirects, forms and uploads, one after the other."""
    with Browser(django) as browser:
        for count in range(1, 6):
            assert browser.open("/visits/").json() == {"visits": count}
            token = browser.open("/").json()["token"]
            title = f"one of {count} on a connection"
            assert browser.form("/notes/", title=title, csrfmiddlewaretoken=token).json()["notes"][0] == title
            content = os.urandom(count * 100_000)
            kept = browser.upload("/upload/", content, csrfmiddlewaretoken=token).json()
            assert browser.open(f"/uploads/{kept['id']}/").body == content
        needed = 1 if "-k" in django.command else 5 * 6
        assert browser.connections == needed


def test_django_clients_side_by_side(django):
    """Sessions, forms and uploads of several clients at a time, each on a connection that it keeps."""

    def client(number: int) -> str:
        with Browser(django) as browser:
            for count in range(1, 6):
                assert browser.open("/visits/").json() == {"visits": count}
                token = browser.open("/").json()["token"]
                title = f"note {count} of client {number}"
                assert title in browser.form("/notes/", title=title, csrfmiddlewaretoken=token).json()["notes"]
                content = os.urandom(50_000)
                kept = browser.upload("/upload/", content, csrfmiddlewaretoken=token).json()
                assert kept["sha256"] == hashlib.sha256(content).hexdigest()
                assert browser.open(f"/uploads/{kept['id']}/").body == content
            return browser.cookies["sessionid"]

    before = len(django.err.text)
    with ThreadPoolExecutor(8) as clients:
        assert len(set(clients.map(client, range(8)))) == 8
    assert "Traceback" not in django.err.text[before:]


@pytest.mark.parametrize("size", [0, 1, 65536, 5_000_000])
def test_django_upload_and_download(django, size):
    browser = Browser(django)
    token = browser.open("/").json()["token"]
    content = os.urandom(size)
    kept = browser.upload("/upload/", content, csrfmiddlewaretoken=token)
    assert kept.status == 200, kept.text
    assert kept.json()["size"] == size
    assert kept.json()["sha256"] == hashlib.sha256(content).hexdigest()
    assert browser.open(f"/uploads/{kept.json()['id']}/").body == content


def test_django_static_files(django):
    browser = Browser(django)
    sheet = browser.open("/static/board/style.css")
    assert sheet.status == 200
    assert b"#123456" in sheet.body
    unchanged = http.request(
        django.address, "/static/board/style.css", headers={"If-Modified-Since": sheet.header("Last-Modified")}
    )
    assert unchanged.status == 304
    assert unchanged.body == b""
    part = http.request(django.address, "/static/board/style.css", headers={"Range": "bytes=0-3"})
    assert (part.status, part.body) == (206, b"body")
    assert http.request(django.address, "/static/board/style.css", "HEAD").body == b""
    assert browser.open("/static/none.css").status == 404


def test_django_errors(django):
    assert django.get("/fail/").status == 500
    assert django.get("/no/such/").status == 404
    assert django.get("/who/").status == 200


def test_django_under_load(django):
    with Load(
        django.address, clients=4, target=lambda _: "/who/", limit=400, check=lambda r: "notes" in r.json()
    ) as load:
        load.join()
    assert load.summary() == {"ok": 400}


# ---- Flask ----


@pytest.fixture(scope="module", params=TYPES)
def flask(request):
    yield from running("flask_app:app", *request.param)


def test_flask(flask):
    browser = Browser(flask)
    assert browser.open("/?name=ada").text == "hello ada"
    assert browser.form("/form", a="1", b="zwei & drei").json() == {"a": "1", "b": "zwei & drei"}
    assert [browser.open("/visits").json()["visits"] for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    content = os.urandom(1_000_000)
    assert browser.upload("/upload", content).json() == {
        "name": "photo.bin", "size": len(content), "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    assert browser.open("/json", "POST", b'{"a": [1, 2]}', "application/json").json() == {"a": [1, 2]}
    assert browser.open("/stream").text == "".join(f"/stream {n}\n" for n in range(100))
    assert browser.open("/url").text == f"http://127.0.0.1:{flask.port}/"
    assert browser.open("/old").text == "hello flask"
    assert browser.open("/teapot").status == 418
    assert browser.open("/none").status == 404
    assert browser.request("/", "DELETE").status == 405
    if "-k" in flask.command:
        assert browser.connections == 1
    browser.close()


def test_flask_clients_side_by_side(flask):
    def client(number: int) -> int:
        with Browser(flask) as browser:
            content = os.urandom(100_000)
            expected = hashlib.sha256(content).hexdigest()
            for _ in range(10):
                visits = browser.open("/visits").json()["visits"]
                assert browser.form("/form", who=str(number)).json() == {"who": str(number)}
                assert browser.upload("/upload", content).json()["sha256"] == expected
                assert browser.open("/stream").text.count("\n") == 100
            return visits

    with ThreadPoolExecutor(8) as clients:
        assert list(clients.map(client, range(8))) == [10] * 8


def test_flask_errors(flask):
    assert flask.get("/fail").status == 500
    flask.err.wait_for("RuntimeError: flask view failed")


def test_flask_behind_a_proxy_that_ends_tls(flask):
    response = http.request(flask.address, "/url", headers={"Host": "shop.example", "X-Forwarded-Proto": "https"})
    assert response.text == "https://shop.example/"


# ---- Bottle ----


@pytest.fixture(scope="module", params=TYPES)
def bottle(request):
    yield from running("bottle_app:app", *request.param)


def test_bottle(bottle):
    browser = Browser(bottle)
    assert browser.open("/?name=grace").text == "hello grace"
    assert browser.form("/form", title="über").json() == {"title": "über"}
    assert [browser.open("/visits").text for _ in range(4)] == ["1", "2", "3", "4"]
    content = os.urandom(300_000)
    assert browser.upload("/upload", content).json()["sha256"] == hashlib.sha256(content).hexdigest()
    assert browser.open("/static/hello.py").body == (APPS / "hello.py").read_bytes()
    assert browser.open("/static/none.py").status == 404
    assert browser.open("/fail").status == 500
    bottle.err.wait_for("RuntimeError: bottle view failed")
