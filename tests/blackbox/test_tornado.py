"""The worker type tornado: Tornado's own server on our sockets. What others have too is in test_socket_types.py."""

import os
import re
import signal

import pytest
from podtest import http, processes
from podtest.load import Load
from podtest.server import run, settle
from podtest.socket_types import check_requests_seen
from podtest.waiting import wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

APP = "socket_types.tornado_app:app"
LINE = ("-k", "tornado", APP)


@pytest.mark.parametrize("name", ["tornado", "egg:gunicorn#tornado", "gunicorn.workers.gtornado.TornadoWorker"])
def test_every_name_of_it(serve, name):
    server = serve("-k", name, APP)
    server.err.wait_for(r"Using worker: tornado$")
    assert server.get("/").header("Server").startswith("TornadoServer/")


# ---- apps ----


def test_a_chat(serve):
    server = serve(*LINE)
    url = f"ws://127.0.0.1:{server.port}/chat"
    with connect(url) as one, connect(url) as other:
        assert [one.recv(), other.recv()] == ["members 1", "members 2"]
        one.send("hello")
        assert [one.recv(), other.recv()] == ["hello", "hello"]
        other.send("ä" * 100_000)
        assert one.recv() == other.recv() == "ä" * 100_000
        # They are connections, and no requests that run.
        wait_until(lambda: server.admin.workers()[0]["connections"] == 2, "two connections")
        wait_until(lambda: server.admin.workers()[0]["inFlight"] == 0, "no request that runs")
    wait_until(lambda: server.admin.workers()[0]["connections"] == 0, "their end")


def test_a_request_body_that_is_streamed(serve):
    server = serve(*LINE)
    assert server.post("/count", b"x" * 20_000_000).text == "20000000"


def test_a_wsgi_app(serve):
    server = serve("-k", "tornado", "probe:app")
    values = server.get("/environ?a=b").json()["values"]
    assert (values["QUERY_STRING"], values["wsgi.url_scheme"]) == ("a=b", "http")
    assert values["REMOTE_ADDR"] == "127.0.0.1"
    assert server.post("/echo", b"x" * 100_000).body == b"x" * 100_000


@pytest.mark.parity
def test_headers_of_proxies_are_left_to_the_app(serve, tmp_path):
    """Gunicorn's worker does not set xheaders, either."""
    (tmp_path / "who.py").write_text(
        "from tornado.web import Application, RequestHandler\n"
        "class Who(RequestHandler):\n"
        "    def get(self):\n"
        "        self.write(f'{self.request.remote_ip} {self.request.protocol}')\n"
        "app = Application([('/', Who)])\n"
    )
    server = serve("-k", "tornado", "who:app", cwd=tmp_path)
    told = {"X-Forwarded-For": "192.0.2.1", "X-Real-Ip": "192.0.2.1", "X-Forwarded-Proto": "https"}
    assert server.get("/", headers=told).text == "127.0.0.1 http"


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_a_loop_that_is_looked_for_at_import(serve, tmp_path, preload):
    """Without --preload what is scheduled at import runs; with it the worker's loop is none of the fork server's."""
    (tmp_path / "early.py").write_text(
        "import os\n"
        "from tornado.ioloop import IOLoop\n"
        "from tornado.web import Application, RequestHandler\n"
        "import asyncio\n"
        "loop = IOLoop.current()\n"
        "loop.add_callback(lambda: os.write(2, b'scheduled at import\\n'))\n"
        "class Same(RequestHandler):\n"
        "    async def get(self):\n"
        "        await asyncio.sleep(0.01)\n"
        "        self.write(str(IOLoop.current() is loop))\n"
        "app = Application([('/', Same)])\n"
    )
    server = serve("-k", "tornado", "early:app", "--workers", "2", *(["--preload"] if preload else []), cwd=tmp_path)
    server.admin.wait_workers(2)
    for _ in range(10):
        assert server.get("/").text == str(not preload)
    if not preload:
        wait_until(lambda: server.err.text.count("scheduled at import\n") == 2, "what was scheduled")


# ---- connections ----


def test_connections_are_kept(serve):
    server = serve(*LINE)
    with server.connect() as client:
        for _ in range(3):
            client.send(http.head("GET", "/"))
            response = client.read_response()
            assert (response.status, response.header("Connection")) == (200, None)
    assert server.get("/").header("Connection") == "close"


def test_keep_alive_zero_closes_them(serve):
    """Gunicorn sets this where Tornado does not look for it."""
    server = serve(*LINE, "--keep-alive", "0")
    with server.connect() as client:
        client.send(http.head("GET", "/"))
        assert client.read_response().header("Connection") == "close"
        assert client.finish() is http.End.FIN


def test_a_head_that_does_not_end_is_cut_off(serve):
    server = serve(*LINE, "--head-timeout", "2", "--keep-alive", "1")
    with server.connect() as slow, server.connect() as idle:
        slow.send(b"GET / HT")
        idle.send(http.head("GET", "/"))
        idle.read_response()
        assert slow.read_to_end() == b""
        assert idle.finish() is http.End.FIN


def test_a_body_that_is_too_large_is_refused(serve):
    server = serve(*LINE, "--limit-request-body", "1000")
    assert server.post("/echo", b"x" * 1000).status == 200
    with server.connect() as client:
        client.send(http.head("POST", "/echo", {"Content-Length": "1001"}))
        assert client.read_head().status == 400


def test_a_child_of_the_app_keeps_no_connection_open(serve, gate):
    server = serve(*LINE, environment=gate.environment)
    with server.connect() as idle:
        idle.send(http.head("GET", "/"))
        idle.read_response()
        # Read to the end of the connection, which the child would hold.
        child = int(server.get("/fork").text)
        gate.wait(1, "child")
        server.send(signal.SIGTERM)
        assert idle.finish() is http.End.FIN
        assert server.wait_exit() == 0
        assert processes.alive(child)
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_a_child_that_comes_back_leaves(serve, tmp_path):
    """os.fork in a handler whose child returns from it: the worker goes on, the child ends."""
    (tmp_path / "forker.py").write_text(
        "import os\n"
        "from tornado.web import Application, RequestHandler\n"
        "class Fork(RequestHandler):\n"
        "    def get(self):\n"
        "        parent = os.getpid()\n"
        "        child = os.fork()\n"
        "        if child:\n"
        "            self.write(str(child))\n"
        "class Pid(RequestHandler):\n"
        "    def get(self):\n"
        "        self.write(str(os.getpid()))\n"
        "app = Application([('/fork', Fork), ('/', Pid)])\n"
    )
    server = serve("-k", "tornado", "forker:app", cwd=tmp_path)
    (worker,) = server.admin.pids()
    for _ in range(3):
        child = int(server.get("/fork").text)
        wait_until(lambda child=child: not processes.alive(child), "the child's end")
        assert server.get("/").text == str(worker)
    assert server.stop() == 0


# ---- the end ----


def test_term_answers_also_what_is_queued(serve, gate):
    """The loop is held: four connections wait in the accept queue."""
    server = serve(*LINE, environment=gate.environment)
    clients = [server.connect() for _ in range(5)]
    for number, client in enumerate(clients):
        client.send(http.head("GET", f"/hold/{number}"))
    gate.wait(1)
    server.send(signal.SIGTERM)
    server.err.wait_for("Handling signal: term")
    settle(0.5)
    gate.open()
    answers = [client.read_response() for client in clients]
    assert [answer.body for answer in answers] == [b"released\n"] * 5
    assert [client.finish() for client in clients] == [http.End.FIN] * 5
    assert server.wait_exit() == 0


def test_term_ends_idle_connections_and_says_that_responses_are_the_last(serve, gate):
    server = serve(*LINE, environment=gate.environment)
    with server.connect() as idle, server.connect() as silent, server.connect() as busy:
        idle.send(http.head("GET", "/"))
        idle.read_response()
        busy.send(http.head("GET", "/await/busy"))
        gate.wait(1, "busy")
        server.send(signal.SIGTERM)
        assert idle.finish() is http.End.FIN
        assert silent.finish() is http.End.FIN
        gate.open()
        response = busy.read_response()
        assert (response.body, response.header("Connection")) == (b"released\n", "close")
        assert busy.finish() is http.End.FIN
    assert server.wait_exit() == 0


def test_term_lets_a_response_that_has_begun_end(serve, gate):
    server = serve(*LINE, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/stream"))
        gate.wait(1, "stream")
        server.send(signal.SIGTERM)
        server.err.wait_for("Handling signal: term")
        settle(1.5)
        gate.open()
        assert client.read_response().body == b"one\ntwo\n"
        assert client.finish() is http.End.FIN
    assert server.wait_exit() == 0


def test_term_says_going_away_to_websockets(serve):
    server = serve(*LINE)
    with connect(f"ws://127.0.0.1:{server.port}/chat") as socket:
        assert socket.recv() == "members 1"
        server.send(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
        assert closed.value.rcvd.code == 1001
    assert server.wait_exit() == 0


def test_a_client_that_has_gone_holds_nothing_up(serve):
    server = serve(*LINE, "--graceful-timeout", "250")
    with server.connect() as client:
        client.send(http.head("GET", "/never"))
        wait_until(lambda: server.admin.workers()[0]["inFlight"] == 1, "the request")
    wait_until(lambda: server.admin.workers()[0]["inFlight"] == 0, "its end")
    assert server.admin.workers()[0]["recentRequests"][0]["path"] == "/never"
    assert server.stop() == 0


def test_what_the_app_left_in_the_loop_hears_of_the_end(serve, tmp_path):
    (tmp_path / "tasks.py").write_text(
        "import asyncio, os\n"
        "from tornado.web import Application, RequestHandler\n"
        "async def pump():\n"
        "    try:\n"
        "        await asyncio.Event().wait()\n"
        "    except asyncio.CancelledError:\n"
        "        os.write(2, b'pump: flushed\\n')\n"
        "        raise\n"
        "class Start(RequestHandler):\n"
        "    async def get(self):\n"
        "        self.application.pump = asyncio.create_task(pump())\n"
        "app = Application([('/', Start)])\n"
    )
    server = serve("-k", "tornado", "tasks:app", cwd=tmp_path)
    assert server.get("/").status == 200
    assert server.stop() == 0
    assert "pump: flushed" in server.err.text
    assert "Task was destroyed" not in server.err.text


# ---- the pool ----


def test_max_requests_counts_requests_and_loses_none(serve):
    """Gunicorn counts connections that were closed, and drops what runs."""
    server = serve(*LINE, "--workers", "2", "--max-requests", "50")
    before = server.admin.wait_workers(2)
    with server.connect() as client:
        seen = set()
        for _ in range(60):
            client.send(http.head("GET", "/"))
            response = client.read_response()
            seen.add(response.text)
            if response.header("Connection") == "close":
                break
        assert len(seen) == 1
    wait_until(lambda: int(next(iter(seen))) not in server.admin.pids(), "its replacement")
    assert set(before) & set(server.admin.wait_workers(2))
    with Load(server.address, clients=4, target=lambda _: "/", limit=1000) as load:
        load.join()
    assert load.summary() == {"ok": 1000}
    assert server.admin.pool()["totals"]["restarts"]["maxRequests"] >= 5
    server.err.wait_for("Autorestarting worker")


def test_the_scoreboard_knows_requests(serve, gate):
    server = serve(*LINE, environment=gate.environment)
    check_requests_seen(server, gate)

    def totals() -> tuple[int, int, int]:
        counted = server.admin.pool()["totals"]["requests"]
        return counted["2xx"], counted["4xx"], counted["5xx"]

    # The entry ends a moment after the response.
    wait_until(lambda: totals() == (2, 1, 1), lambda: f"four requests in the totals: {totals()}")
    metrics = server.admin.metrics()
    assert metrics.value("podicorn_requests_total", code_class="2xx") == 2
    # When its first byte came, only Tornado knows.
    assert metrics.value("podicorn_request_queue_seconds_count") == 0


def test_a_hang_names_the_request(serve):
    server = serve(*LINE, "--timeout", "2")
    with server.connect() as client:
        client.send(http.head("GET", "/hang"))
        assert client.read_to_end() == b""
    server.err.wait_for(r"WORKER TIMEOUT \(pid:\d+\) while serving GET /hang for")


# ---- logs ----


def test_errors_of_the_app_are_in_the_error_log(serve, tmp_path):
    log = tmp_path / "error.log"
    server = serve(*LINE, "--error-logfile", str(log), "--log-format", "json")
    assert server.get("/boom").status == 500
    wait_until(lambda: "a bug of the app" in log.read_text(), "the error")
    (line,) = [line for line in log.read_text().splitlines() if "a bug of the app" in line]
    entry = http.json_module.loads(line)
    assert (entry["level"], entry["logger"]) == ("error", "tornado.application")
    assert "ValueError: a bug of the app" in entry["exception"]


def test_the_access_log_has_tornados_lines(serve):
    server = serve(*LINE, "--access-logfile", "-")
    server.get("/identity")
    server.get("/nothing")
    server.out.wait_for(r"^200 GET /identity \(127\.0\.0\.1\) [\d.]+ms$")
    server.out.wait_for(r"^404 GET /nothing \(127\.0\.0\.1\) [\d.]+ms$")
    assert "GET /identity" not in server.err.text


def test_without_an_access_log_only_what_went_wrong_is_told(serve):
    server = serve(*LINE)
    server.get("/identity")
    server.get("/boom")
    server.err.wait_for(r"\[ERROR\] 500 GET /boom")
    assert "/identity" not in server.err.text


def test_an_app_that_sets_logging_up_keeps_it(serve, tmp_path):
    (tmp_path / "logs.py").write_text(
        "import logging\n"
        "logging.basicConfig(format='theirs: %(message)s', level=logging.INFO)\n"
        "from socket_types.tornado_app import app\n"
    )
    server = serve("-k", "tornado", "logs:app", "--access-logfile", "-", cwd=tmp_path)
    server.get("/boom")
    server.err.wait_for(r"^theirs: Uncaught exception GET /boom")
    assert server.out.text == ""


# ---- without the package ----


def test_without_tornado_it_says_what_to_install(tmp_path):
    (tmp_path / "tornado").mkdir()
    (tmp_path / "tornado" / "__init__.py").write_text("raise ImportError('it is not here')\n")
    done = run("--bind", "127.0.0.1:0", *LINE, environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"})
    assert done.returncode == 1
    assert "pip install podicorn[tornado]" in done.stderr
    assert not re.search(r"Booting worker|panicked", done.stderr)
