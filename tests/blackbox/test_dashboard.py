"""The dashboard, `GET /`, in a real browser; and the stream that it lives on."""

import json
import os
import signal

import pytest
from podtest import http
from podtest.browser import Browser, Page
from podtest.load import Load
from podtest.server import Server
from podtest.waiting import wait_until

TOKEN = "0123456789abcdef0123456789abcdef"
ROWS = "document.querySelectorAll('#workers tbody tr').length"


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        yield started


@pytest.fixture
def page(browser):
    made = browser.page()
    made.look_like(1240, 900)
    yield made
    assert not made.complaints
    made.call("Page.navigate", url="about:blank")


def url(server: Server) -> str:
    host, port = server.admin.address
    return f"http://{host}:{port}/"


def opened(page: Page, server: Server) -> Page:
    page.open(url(server))
    page.wait_text("#link", "live")
    return page


# ---- what is shown ----


def test_it_shows_the_pool_and_what_each_worker_does(serve, gate, page):
    server = serve("probe:app", "--workers", "3", environment=gate.environment)
    server.admin.wait_workers(3)
    opened(page, server)
    assert page.run(ROWS) == 3
    with server.connect() as client:
        client.send(http.head("GET", "/hold/the-door"))
        gate.wait(1, "the-door")
        page.wait_text("#workers", "GET /hold/the-door", " for ")
        page.wait_text("#legend", "1 busy", "2 idle")
        gate.open()
        client.read_response()
    page.wait_text("#workers", "GET /hold/the-door → 200 in ")
    page.wait_text("#phase", "running")
    assert f"pid {server.pid}" in page.text("#about")
    assert f"http://127.0.0.1:{server.port}" in page.text("#facts")


def test_rates_latency_and_the_queue_under_load(serve, page):
    server = serve("pace:application", "--workers", "2", environment={"PACE": "0.05"})
    opened(page, server)
    with Load(server.address, clients=12):
        wait_until(lambda: float(page.text("#tile-rate b").replace("–", "0")) > 5, lambda: page.text("#tile-rate"))
        page.wait_text("#tile-latency", "for 95 %", "half within", "ms")
        page.wait_text("#tile-busy", "of 2")
        wait_until(lambda: int(page.text("#tile-queue b").split()[0]) > 0, lambda: page.text("#tile-queue"))
        line = "document.querySelector('#tile-rate path.line').getAttribute('d')"
        wait_until(lambda: page.run(line).count("L") > 1, lambda: page.run(line))


def test_errors_are_counted(serve, page):
    server = serve("probe:app", "--workers", "1")
    opened(page, server)
    for _ in range(3):
        assert server.get("/raise").status == 500
    page.wait_text("#tile-errors", "3 of 3 so far")


def test_memory_is_shown_against_the_limit(confined, page):
    server, _ = confined(256, "hello:app", "--workers", "1")
    opened(page, server)
    page.wait_text("#tile-memory", "of 256 MiB", "of the limit")


def test_scaling_decisions_and_why(serve, page):
    server = serve("pace:application", "--workers", "1..6", "--preload", environment={"PACE": "0.1"})
    opened(page, server)
    assert "from 1" in page.text(".ends")
    with Load(server.address, clients=10):
        page.wait_text("#events", " → ")
        page.wait_text("#scale-by", "by the load")
    assert page.text("#scale-why")
    page.wait_text("#facts", "Decisions so far", " up (")


def test_a_death_and_its_request(serve, gate, page):
    server = serve("probe:app", "--workers", "1", environment=gate.environment)
    opened(page, server)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/still"))
        gate.wait(1, "still")
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        page.wait_text("#events", "died", "while serving GET /hold/still")


def test_a_reload_that_fails_is_told(serve, page, tmp_path):
    app = tmp_path / "changing.py"
    app.write_text("from hello import app\n")
    server = serve("changing:app", "--workers", "1", "--pythonpath", str(tmp_path))
    opened(page, server)
    app.write_text("raise RuntimeError('not today')\n")
    page.run("window.confirm = () => true")
    page.click("#reload")
    page.wait_text("#answer", "Generation 2")
    page.wait_text("#trouble", "The last reload failed")


def test_orders_and_stacks(serve, page):
    server = serve("hello:app", "--workers", "1")
    opened(page, server)
    page.click("#ttin")
    page.wait_text("#answer", "2")
    wait_until(lambda: page.run(ROWS) == 2, "the second row")
    page.click("#workers tbody tr button")
    page.wait_text("#stack-text", "most recent call first")
    page.click("#stack-close")
    page.click("#ttou")
    wait_until(lambda: page.run(ROWS) == 1, "one row less")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_64_workers_on_screens_of_every_width(serve, page, dark):
    server = serve("hello:app", "--workers", "64", "--preload")
    server.admin.wait_workers(64)
    page.look_like(1240, 900, dark)
    opened(page, server)
    assert page.run(ROWS) == 64
    assert page.run("document.querySelectorAll('#map .cell').length") == 64
    light = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((part) => part > 128)")
    assert light != dark
    for width in (320, 420, 768, 1240, 2560):
        page.look_like(width, 900, dark)
        beyond = page.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert beyond <= 0, f"{width} px wide, and {beyond} px to the side of it"


def test_it_asks_nobody_but_its_server(serve, page):
    server = serve("hello:app", "--workers", "1")
    opened(page, server)
    shown = page.text("#about")
    wait_until(lambda: page.text("#about") != shown, "new figures")
    others = [asked for asked in page.requested if not asked.startswith((url(server), "data:", "about:"))]
    assert not others
    assert f"{url(server)}watch" in page.requested


def test_the_focus_stays_while_figures_change(serve, page):
    server = serve("hello:app", "--workers", "2")
    opened(page, server)
    page.run("document.querySelector('#workers tbody tr button').focus()")
    before = server.admin.metrics().value("podicorn_watch_streams_opened_total")
    shown = page.text("#about")
    wait_until(lambda: page.text("#about") != shown, "new figures")
    assert page.run("document.activeElement === document.querySelector('#workers tbody tr button')")
    assert server.admin.metrics().value("podicorn_watch_streams_opened_total") == before == 1


# ---- the token ----


def test_the_token_is_asked_for_kept_and_sent(serve, page, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    server = serve("hello:app", "--workers", "1", "--admin-token-file", str(file), token=TOKEN)
    page.open(url(server))
    page.wait_text("#login", "wants its token")
    page.wait_text("#link", "locked")
    assert not page.visible("#pool")
    page.type("#token", "a-token-of-somebody-else-0123456789")
    page.click("#token-form button")
    page.wait_text("#login-note", "That is not the token")
    page.type("#token", TOKEN)
    page.click("#token-form button")
    page.wait_text("#link", "live")
    assert not page.visible("#login")
    assert server.admin.metrics().value("podicorn_watch_streams") == 1
    # The tab knows it from now on.
    page.reload()
    page.wait_text("#link", "live")
    # No address carries it.
    assert not [asked for asked in page.requested if TOKEN in asked]


# ---- what it does when the server is not there ----


def test_it_says_when_its_figures_are_stale(serve, page):
    server = serve("hello:app", "--workers", "1", "--timeout", "0")
    opened(page, server)
    server.send(signal.SIGSTOP)
    page.wait_text("#link", "stale", "s old")
    assert page.run("document.querySelector('#pool').classList.contains('old')")
    server.send(signal.SIGCONT)
    page.wait_text("#link", "live")
    assert not page.run("document.querySelector('#pool').classList.contains('old')")


def test_it_comes_back_by_itself_when_the_server_does(serve, page):
    server = serve("hello:app", "--workers", "1")
    opened(page, server)
    server.send(signal.SIGKILL)
    server.wait_exit()
    page.wait_text("#link", "trying again in")
    page.wait_text("#trouble", "does not answer")
    again = serve(
        "hello:app", "--workers", "2", "--admin-bind", f"127.0.0.1:{server.admin_port}", admin=False, ready=False
    )
    again.admin = server.admin
    page.wait_text("#link", "live")
    page.wait_text("#about", f"pid {again.pid}")
    wait_until(lambda: page.run(ROWS) == 2, "the new server's workers")
    assert not page.text("#trouble")


def test_it_follows_a_drain_to_its_end(serve, gate, page):
    server = serve("probe:app", "--workers", "1", environment=gate.environment)
    opened(page, server)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/on"))
        gate.wait(1, "on")
        server.send(signal.SIGTERM)
        page.wait_text("#phase", "draining")
        page.wait_text("#workers", "GET /hold/on")
        gate.open()
        client.read_response()
    assert server.wait_exit() == 0
    page.wait_text("#trouble", "The server has ended")


# ---- the stream ----


def lines(client: http.Connection, count: int) -> list[dict]:
    """So many snapshots of a response in chunks, each of which is one line."""
    found = []
    for _ in range(count):
        size = int(client._until(b"\r\n", "a chunk's size"), 16)
        data = client._exactly(size + 2, "a chunk")
        assert data.endswith(b"\n\r\n")
        found.append(json.loads(data))
    return found


def watching(server: Server) -> http.Connection:
    client = http.Connection(server.admin.address)
    host, port = server.admin.address
    client.send(http.head("GET", "/watch", {"Host": f"{host}:{port}"}))
    head = client.read_head()
    assert head.status == 200
    assert head.header("Content-Type") == "application/x-ndjson"
    assert head.header("Transfer-Encoding") == "chunked"
    return client


def test_the_stream_ends_whole_when_the_server_does(serve):
    server = serve("hello:app", "--workers", "1")
    with watching(server) as client:
        first, second = lines(client, 2)
        assert second["uptimeSeconds"] > first["uptimeSeconds"]
        assert [worker["state"] for worker in first["workers"]] == ["idle"]
        server.send(signal.SIGTERM)
        rest = client.read_to_end()
        assert rest.endswith(b"\r\n0\r\n\r\n") or rest == b"0\r\n\r\n"
        assert client.end is http.End.FIN
    assert server.wait_exit() == 0


def test_many_watchers_cost_one_look_a_second_and_places_are_counted(serve):
    server = serve("hello:app", "--workers", "1")
    clients = [watching(server) for _ in range(16)]
    texts = [[look["uptimeSeconds"] for look in lines(client, 3)] for client in clients]
    # Whoever came first or last: each snapshot is one of the same few.
    assert len({uptime for looks in texts for uptime in looks}) <= 8
    refused = server.admin.get("/watch")
    assert refused.status == 503
    assert "16 streams" in refused.json()["detail"]
    metrics = server.admin.metrics()
    assert metrics.value("podicorn_watch_streams") == 16
    assert metrics.value("podicorn_watch_streams_opened_total") == 16
    assert metrics.value("podicorn_watch_streams_refused_total") == 1
    for client in clients:
        client.close()
    wait_until(lambda: server.admin.metrics().value("podicorn_watch_streams") == 0, "the places")
    with watching(server) as client:
        lines(client, 1)
    assert server.admin.ready()
