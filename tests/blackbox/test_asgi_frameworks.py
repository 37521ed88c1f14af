"""The worker type asgi under real frameworks, with a real client."""

import hashlib
import signal

import httpx
import pytest
from podtest import http
from podtest.waiting import wait_until

MIB = 1 << 20


@pytest.fixture
def framework(serve):
    """Starts ``frameworks:NAME()``; gives the server and a client that keeps its connections."""
    clients = []

    def start(name, *options, **more):
        server = serve(f"frameworks:{name}()", "-k", "asgi", *options, **more)
        client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=http.SILENCE)
        clients.append(client)
        return server, client

    yield start
    for client in clients:
        client.close()


def clean(server):
    """Ends the server; nothing went wrong in it."""
    assert server.stop() == 0
    assert "Traceback" not in server.err.text
    return server.out.text


everyone = pytest.mark.parametrize("name", ["fastapi", "starlette", "quart", "litestar", "django"])


@everyone
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_requests_follow_each_other(framework, name, loop):
    server, client = framework(name, "--asgi-loop", loop)
    for _ in range(20):
        assert client.get("/").json()["framework"] == name
    assert client.head("/").content == b""
    assert client.get("/no-such-path").status_code == 404
    clean(server)


@everyone
def test_errors_are_a_500_and_logged(framework, name):
    server, client = framework(name)
    assert client.get("/error").status_code == 500
    if name != "litestar":  # answers errors itself, and logs them only where it is told to
        server.err.wait_for(f"RuntimeError: {name} went wrong")
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("name", ["starlette", "quart", "litestar", "django"])
@pytest.mark.parametrize("size", [0, 100, 3 * MIB])
def test_bodies(framework, name, size):
    server, client = framework(name)
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    expected = {"length": size, "sha256": hashlib.sha256(body).hexdigest()}
    assert client.post("/digest", content=body).json() == expected
    pieces = (body[at : at + 10_000] for at in range(0, size, 10_000))
    assert client.post("/digest", content=pieces).json() == expected
    clean(server)


@pytest.mark.parametrize("name", ["fastapi", "quart", "litestar", "django"])
def test_streams(framework, name):
    server, client = framework(name)
    for _ in range(3):
        with client.stream("GET", "/stream") as response:
            assert response.headers["transfer-encoding"] == "chunked"
            assert list(response.iter_lines()) == [str(number) for number in range(10)]
    clean(server)


@pytest.mark.parametrize("name", ["fastapi", "quart", "litestar"])
def test_lifespans(framework, name):
    server, client = framework(name, "--asgi-lifespan", "on")
    assert client.get("/").status_code == 200
    client.close()
    out = clean(server)
    assert f"{name}: up" in out and f"{name}: down" in out


# ---- FastAPI ----


def test_fastapi_validates_and_injects(framework):
    server, client = framework("fastapi")
    assert client.post("/items", json={"name": "a"}).json() == {"name": "a", "price": 1.0, "link": "connected"}
    assert client.post("/items", json={"price": 2}).status_code == 422
    assert client.get("/missing").json() == {"detail": "nothing here"}
    assert client.get("/sync").json() == {"sync": True}
    assert client.get("/state").json() == {"greeting": "hello from the lifespan"}
    assert client.get("/openapi.json").json()["info"]["title"] == "FastAPI"
    assert "connection closed" in clean(server)


def test_fastapi_takes_files(framework):
    server, client = framework("fastapi")
    data = bytes(range(256)) * 8192
    found = client.post("/upload", files={"file": ("name.bin", data)}).json()
    assert found == {"name": "name.bin", "length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    clean(server)


@pytest.mark.parametrize("name", ["fastapi", "starlette"])
@pytest.mark.parametrize("options", [(), ("--no-sendfile",)], ids=["sendfile", "read"])
def test_files_are_sent(framework, name, options):
    server, client = framework(name, *options)
    from podtest.server import APPS

    expected = (APPS / "frameworks.py").read_bytes()
    response = client.get("/file")
    assert (response.content, response.headers["content-length"]) == (expected, str(len(expected)))
    ranged = client.get("/file", headers={"Range": "bytes=10-19"})
    assert (ranged.status_code, ranged.content) == (206, expected[10:20])
    clean(server)


@pytest.mark.parametrize("name", ["fastapi", "starlette"])
def test_background_tasks_delay_nobody(framework, gate, name):
    server, client = framework(name, environment=gate.environment)
    assert client.get("/background").status_code == 200
    gate.wait(1, name)
    assert client.get("/").status_code == 200  # on the same connection
    assert server.get("/").status == 200
    gate.open()
    server.out.wait_for(f"{name}: background done")
    clean(server)


# ---- Starlette ----


def test_starlette_takes_forms(framework):
    server, client = framework("starlette")
    answer = client.post("/upload", files={"file": ("a.txt", b"x" * 2_000_000)}, data={"text": "é"}).json()
    assert answer == {"name": "a.txt", "length": 2_000_000, "text": "é"}
    clean(server)


def test_starlette_streams_end_with_their_client(framework):
    server, client = framework("starlette")
    with client.stream("GET", "/stream") as response:
        for line in response.iter_lines():
            if line == "data: 5":
                break
    server.out.wait_for("starlette: stream ended")
    clean(server)


def test_starlette_sees_a_client_leave(framework, gate):
    server, _ = framework("starlette", "--asgi-disconnect-grace-period", "60", environment=gate.environment)
    client = server.connect()
    client.send(http.head("GET", "/poll"))
    gate.wait(1, "poll")
    client.close()
    server.out.wait_for("poll saw the client leave")
    clean(server)


def test_starlette_is_told_when_a_body_breaks_off(framework):
    server, _ = framework("starlette", "--body-buffer", "1k")
    client = server.connect()
    client.send(http.head("POST", "/digest", {"Content-Length": "100000"}) + b"x" * 50_000)
    wait_until(lambda: server.admin.workers()[0]["inFlight"] == 1, "the request")
    client.close()
    server.out.wait_for("starlette: the client has left")
    clean(server)


def test_starlette_knows_where_it_is(framework):
    server, client = framework("starlette", "--root-path", "/api")
    where = client.get("/where?a=b", headers={"Host": "example.org", "X-Forwarded-Proto": "https"}).json()
    assert where["base"] == "https://example.org/api/"
    assert where["for"] == "https://example.org/api/"
    assert client.get("/mounted/inner").status_code == 200
    assert client.get("/api/mounted/inner").status_code == 200
    clean(server)


@everyone
def test_every_framework_finds_its_routes_under_a_root_path(framework, name):
    server, client = framework(name, "--root-path", "/api")
    for path in ("/", "/api/"):
        assert client.get(path).json()["framework"] == name
    clean(server)


# ---- Django ----


def test_django_runs_sync_views_beside_async_ones(framework):
    server, client = framework("django")
    assert client.get("/sync").text == "sync\n"
    clean(server)


def test_django_cancels_a_view_whose_client_has_left(framework, gate):
    server, _ = framework("django", environment=gate.environment)
    client = server.connect()
    client.send(http.head("GET", "/hold"))
    gate.wait(1, "django")
    client.close()
    server.out.wait_for("django: cancelled")
    wait_until(lambda: server.admin.workers()[0]["inFlight"] == 0, "the end of the request")
    assert server.get("/").status == 200
    clean(server)


def test_a_request_under_way_is_finished_at_the_end(framework):
    server, client = framework("fastapi")
    with client.stream("GET", "/stream") as response:
        server.send(signal.SIGTERM)
        assert list(response.iter_lines()) == [str(number) for number in range(10)]
    assert server.wait_exit() == 0
