"""What holds on every worker type whose sockets belong to Python: tornado, and classes made for Gunicorn."""

import os
import re
import signal

import pytest
from podtest import http, processes
from podtest.load import Load
from podtest.server import RANDOM_UID, settle
from podtest.socket_types import ALL, concurrent_types, every_socket_type, params, third_party_types, websocket_types
from podtest.waiting import wait_until
from websockets.sync.client import connect

HOOKS = """
import os

def say(text):
    os.write(2, f"hook: {text} in {os.getpid()}\\n".encode())

def pre_fork(server, worker):
    say(f"pre_fork {worker.pid}")

def post_fork(server, worker):
    say(f"post_fork {worker.pid}")

def post_worker_init(worker):
    say(f"post_worker_init {worker.pid} app {worker.wsgi is not None}")

def worker_int(worker):
    say(f"worker_int {worker.pid}")

def worker_abort(worker):
    say(f"worker_abort {worker.pid}")

def worker_exit(server, worker):
    say(f"worker_exit {worker.pid} alive {worker.alive}")

def child_exit(server, worker):
    say(f"child_exit {worker.pid}")
"""


def hooks(server) -> list[str]:
    """What the hooks have said, in order."""
    return re.findall(r"^hook: (.*)$", server.err.text, re.MULTILINE)


def received(client: http.Connection, mark: bytes) -> bytes:
    """What has come, up to this mark at least."""
    while mark not in client.buffer:
        assert not client.ended(), f"the end instead of {mark!r}"
        client.buffer += client.socket.recv(65536) if mark not in client.buffer else b""
    return client.buffer


@every_socket_type
def test_it_serves(serve, line):
    """The command lines of Gunicorn's design page."""
    server = serve(*line, "--workers", "2")
    pids = server.admin.wait_workers(2)
    assert int(server.get("/").text) in pids
    identity = server.get("/identity").json()
    assert identity["ppid"] == server.admin.pool()["pid"]
    assert server.post("/echo", b"x" * 3_000_000).body == b"x" * 3_000_000
    server.err.wait_for(rf"\[INFO\] Using worker: {re.escape(line[1])}$")
    assert server.stop() == 0
    assert not server.family()


@every_socket_type
def test_several_listeners_unix_too(serve, line, tmp_path):
    path = str(tmp_path / "s")
    server = serve(*line, "--bind", f"unix:{path}", "--bind", "127.0.0.1:0", bind=False)
    assert http.request(path, "/").status == 200
    tcp = next(
        listener["address"]
        for listener in server.admin.pool()["listeners"]
        if listener["address"].startswith("http://")
    )
    host, _, port = tcp.removeprefix("http://").rpartition(":")
    assert http.request((host, int(port)), "/").status == 200
    assert server.stop() == 0


@concurrent_types
def test_a_response_goes_out_in_pieces(serve, gate, line):
    server = serve(*line, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/stream"))
        gate.wait(1, "stream")
        assert client.read_head().status == 200
        assert b"two\n" not in received(client, b"one\n")
        gate.open()
        received(client, b"two\n")


@concurrent_types
def test_requests_do_not_wait_for_each_other(serve, gate, line):
    server = serve(*line, environment=gate.environment)
    clients = [server.connect() for _ in range(4)]
    for number, client in enumerate(clients):
        client.send(http.head("GET", f"/await/{number}", {"Connection": "close"}))
    gate.wait(4)
    assert server.get("/").status == 200
    gate.open()
    assert [client.read_response().body for client in clients] == [b"released\n"] * 4


@websocket_types
def test_websockets(serve, line):
    server = serve(*line)
    with connect(f"ws://127.0.0.1:{server.port}/chat") as socket:
        greeting = socket.recv() if line is ALL["tornado"] else None
        assert greeting in (None, "members 1")
        for text in ("hello", "ä" * 70_000):
            socket.send(text)
            assert socket.recv() == text
    assert server.stop() == 0


# ---- the end ----


@every_socket_type
def test_term_finishes_the_running_request(serve, gate, config, line):
    server = serve(*line, "--config", config(HOOKS), environment=gate.environment)
    (worker,) = server.worker_pids()
    with server.connect() as client:
        client.send(http.head("GET", "/await/running", {"Connection": "close"}))
        gate.wait(1, "running")
        server.send(signal.SIGTERM)
        server.err.wait_for("Handling signal: term")
        settle(0.5)
        gate.open()
        assert client.read_response().body == b"released\n"
        assert client.finish() is http.End.FIN
    assert server.wait_exit() == 0
    assert [text for text in hooks(server) if text.startswith(f"worker_exit {worker} ")], hooks(server)
    assert not server.family()


@every_socket_type
def test_a_worker_alone_gets_term_and_is_replaced(serve, gate, line):
    server = serve(*line, "--workers", "2", environment=gate.environment)
    one, other = server.admin.wait_workers(2)
    os.kill(one, signal.SIGTERM)
    wait_until(lambda: processes.read(one) is None, "its exit")
    assert other in server.admin.wait_workers(2)
    assert server.get("/").status == 200


@concurrent_types
def test_it_serves_on_while_it_drains(serve, line):
    server = serve(*line, "--drain-delay", "3")
    server.send(signal.SIGTERM)
    wait_until(lambda: server.admin.status("/readyz") == 503, "readyz 503")
    assert server.get("/").status == 200
    assert server.wait_exit() == 0


@concurrent_types
def test_the_graceful_timeout_ends_it(serve, gate, line):
    server = serve(*line, "--graceful-timeout", "3", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/await/for-ever"))
        gate.wait(1, "for-ever")
        assert server.stop() == 0
        assert client.read_to_end() == b""
    assert not server.family()


@every_socket_type
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_do_not_wait(serve, gate, config, line, number):
    server = serve(*line, "--graceful-timeout", "250", "--config", config(HOOKS), environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/await/for-ever"))
        gate.wait(1, "for-ever")
        assert server.stop(number) == 0
        # Gunicorn's sync class takes the exit for an error of the app.
        assert http.unserved(client) or line is ALL["sync-subclass"]
    assert not server.family()


@every_socket_type
def test_nobody_outlives_a_killed_arbiter(serve, line):
    server = serve(*line, "--workers", "2")
    server.admin.wait_workers(2)
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not server.family(), lambda: f"the end of {server.family()}")


# ---- the pool ----


@every_socket_type
def test_the_hooks_in_their_order(serve, config, line):
    server = serve(*line, "--config", config(HOOKS))
    (worker,) = server.worker_pids()
    assert server.stop() == 0
    (fork_server,) = {int(text.split()[-1]) for text in hooks(server) if text.startswith("pre_fork")}
    said = [re.sub(r" alive \w+", "", text) for text in hooks(server)]
    assert said == [
        f"pre_fork [booting] in {fork_server}",
        f"post_fork {worker} in {worker}",
        f"post_worker_init {worker} app True in {worker}",
        f"worker_exit {worker} in {worker}",
        f"child_exit {worker} in {fork_server}",
    ]


@every_socket_type
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_scaling_and_reload(serve, line, preload):
    server = serve(*line, *(["--preload"] if preload else []))
    server.send(signal.SIGTTIN)
    server.admin.wait_workers(2)
    server.send(signal.SIGTTIN)
    before = server.admin.wait_workers(3)
    with Load(server.address, clients=2, target=lambda _: "/", check=lambda r: r.status == 200) as load:
        server.send(signal.SIGHUP)
        wait_until(lambda: server.admin.pool()["generation"] == 2, "the second generation")
        after = wait_until(lambda: _all_new(server, before), lambda: f"new workers: {server.admin.workers()}")
        load.stop()
    assert len(after) == 3
    server.send(signal.SIGTTOU)
    server.admin.wait_workers(2)
    assert server.get("/").status == 200
    assert server.stop() == 0


def _all_new(server, before: list[int]) -> list[int] | None:
    pids = server.admin.pids()
    settled = len(pids) == 3 == len(server.admin.workers()) and not set(pids) & set(before)
    return pids if settled else None


@every_socket_type
def test_a_worker_that_is_killed_is_replaced(serve, line):
    server = serve(*line)
    (before,) = server.admin.pids()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: server.admin.pids() not in ([before], []), "a new worker")
    assert server.get("/").status == 200


@every_socket_type
def test_a_hung_worker_is_killed_with_its_stack_in_the_log(serve, config, line):
    server = serve(*line, "--timeout", "2", "--config", config(HOOKS))
    (before,) = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/hang"))
        if line is ALL["gthread-subclass"]:
            # Its heartbeat is the process's: a request may take as long as it likes, in Gunicorn too.
            settle(5)
            assert server.admin.pids() == [before]
            return
        # Some classes still answer 500.
        client.read_to_end()
    wait_until(lambda: server.admin.pids() not in ([before], []), "a new worker")
    server.err.wait_for(rf"\[CRITICAL\] WORKER TIMEOUT \(pid:{before}\)")
    server.err.wait_for("wait_for_a_signal_nobody_sends")
    assert server.get("/").status == 200
    assert server.admin.pool()["totals"]["restarts"]["timeout"] == 1


@every_socket_type
def test_stacks_are_shown(serve, line):
    server = serve(*line, "--timeout", "0")
    with server.connect() as client:
        client.send(http.head("GET", "/hang"))
        wait_until(
            lambda: "wait_for_a_signal_nobody_sends" in server.admin.get("/workers/0/stack").text,
            lambda: f"the place in {server.admin.get('/workers/0/stack').text}",
        )


@every_socket_type
def test_an_idle_worker_is_no_hung_worker(serve, line):
    server = serve(*line, "--timeout", "2")
    before = server.admin.pids()
    settle(5)
    assert server.admin.pids() == before
    assert server.get("/").status == 200


@pytest.mark.parametrize("line", params(*(name for name in ALL if name != "geventwebsocket")))
def test_max_requests(serve, line):
    server = serve(*line, "--workers", "2", "--max-requests", "20")
    before = set(server.admin.wait_workers(2))

    def both_are_new() -> bool:
        for _ in range(10):
            try:
                server.get("/")
            except (OSError, http.ExchangeError):
                # A class that ends by itself may leave a client that has just come.
                assert line not in (ALL["tornado"], ALL["tornado-wsgi"])
        return not before & set(server.admin.pids())

    wait_until(both_are_new, "two new workers", every=0)
    server.admin.wait_workers(2)
    assert server.get("/").status == 200


@every_socket_type
def test_timeout_zero_switches_it_off(serve, gate, line):
    server = serve(*line, "--timeout", "0", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/await/long"))
        gate.wait(1, "long")
        settle(4)
        gate.open()
        assert client.read_response().body == b"released\n"


# ---- the process ----


@pytest.mark.parametrize("line", params(*(name for name in ALL if name != "geventwebsocket")))
def test_the_app_may_fork(serve, gate, line):
    """A child of the app has no part in the worker's slot and signals."""
    server = serve(*line, environment=gate.environment)
    assert server.get("/maps").text == "none"
    with server.connect() as client:
        client.send(http.head("GET", "/fork"))
        child = int(client.read_response().body)
        gate.wait(1, "child")
    assert server.get("/").status == 200
    assert processes.read(child) is not None
    assert server.get("/end-child").text == "-15"
    assert server.admin.workers()[0]["state"] == "idle"
    assert server.stop() == 0


@every_socket_type
@pytest.mark.skipif(os.getuid() != 0, reason="only root may change the user")
def test_another_user(serve, namespaces, line):
    user = str(RANDOM_UID)
    server = serve(*line, "--user", user, "--group", user, cwd="/", for_others=True)
    identity = server.get("/identity").json()
    assert (identity["uid"], identity["gid"]) == (RANDOM_UID, RANDOM_UID)
    server.stop(signal.SIGKILL)
    wait_until(lambda: not server.family(), lambda: f"the end of {server.family()}")


@every_socket_type
@pytest.mark.pid1
@pytest.mark.usefixtures("namespaces")
def test_nothing_is_written(serve, line):
    """A read-only root, no writable directory: Gunicorn's workers would miss the place for their heartbeat files."""
    server = serve(
        *line, "--workers", "2", "--timeout", "5",
        pid1=True, read_only=True, uid=RANDOM_UID if os.getuid() == 0 else 0,
    )  # fmt: skip
    server.admin.wait_workers(2)
    assert server.get("/").status == 200
    for pid in server.worker_pids():
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
        assert not [link for link in links if "wgunicorn" in link], links
    assert server.stop() == 0
    assert "Read-only file system" not in server.err.text


@third_party_types
def test_usr1_opens_log_files_again(serve, line, tmp_path):
    log = tmp_path / "error.log"
    server = serve(*line, "--error-logfile", str(log))
    log.rename(tmp_path / "error.log.1")
    server.send(signal.SIGUSR1)
    wait_until(log.exists, "the new file")
    server.send(signal.SIGTTIN)
    server.admin.wait_workers(2)
    assert server.stop() == 0
    assert log.read_text().count("Worker exiting") == 2


@pytest.mark.parametrize("line", params("tornado", "uvicorn.workers", "sync-subclass"))
def test_an_app_that_cannot_be_loaded(serve, line):
    """Gunicorn's exit codes: 3 where the app's code raises, 4 where there is no app of that name."""
    for app, code in (("faults.import_raises", 3), ("hello:nobody", 4)):
        server = serve(*line[:-1], app, ready=False)
        assert server.wait_exit() == code
