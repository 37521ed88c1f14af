"""Real apps, used as their users do."""

import hashlib
import html.parser
import os
import re
import urllib.parse

import pytest
from podtest import http
from podtest.load import Load
from podtest.server import Server

pytestmark = pytest.mark.parity


class Browser:
    """Keeps cookies, follows redirects, sends forms."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cookies: dict[str, str] = {}

    def open(self, target: str, method: str = "GET", body: bytes | None = None, kind: str = "") -> http.Response:
        for _ in range(5):
            headers = [("Host", f"127.0.0.1:{self.server.port}"), ("Referer", f"http://127.0.0.1:{self.server.port}/")]
            if self.cookies:
                headers.append(("Cookie", "; ".join(f"{k}={v}" for k, v in self.cookies.items())))
            if kind:
                headers.append(("Content-Type", kind))
            response = http.request(self.server.address, target, method, headers, body)
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


@pytest.fixture
def django(serve, django_db):
    return serve("django_site.wsgi", "--workers", "2", "--preload", environment={"DJANGO_DB": str(django_db)})


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


def test_django_admin_login_session_and_static_files(django):
    admin_session(django)


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
    assert two.open("/visits/").json() == {"visits": 1}


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


@pytest.fixture
def flask(serve):
    return serve("flask_app:app", "--workers", "2")


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
    assert http.request(flask.address, "/", "DELETE").status == 405


def test_flask_errors(flask):
    assert flask.get("/fail").status == 500
    flask.err.wait_for("RuntimeError: flask view failed")


def test_flask_behind_a_proxy_that_ends_tls(flask):
    response = http.request(flask.address, "/url", headers={"Host": "shop.example", "X-Forwarded-Proto": "https"})
    assert response.text == "https://shop.example/"


# ---- Bottle ----


def test_bottle(serve):
    server = serve("bottle_app:app", "--workers", "2")
    browser = Browser(server)
    assert browser.open("/?name=grace").text == "hello grace"
    assert browser.form("/form", title="über").json() == {"title": "über"}
    assert [browser.open("/visits").text for _ in range(4)] == ["1", "2", "3", "4"]
    content = os.urandom(300_000)
    assert browser.upload("/upload", content).json()["sha256"] == hashlib.sha256(content).hexdigest()
    from podtest.server import APPS

    assert browser.open("/static/hello.py").body == (APPS / "hello.py").read_bytes()
    assert browser.open("/static/none.py").status == 404
    assert browser.open("/fail").status == 500
    server.err.wait_for("RuntimeError: bottle view failed")
