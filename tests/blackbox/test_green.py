"""gevent and eventlet: a greenlet for each request, thousands at a time, and nothing that keeps the hub."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from podtest import http, processes
from podtest.server import run, settle
from podtest.types import GREEN, green_types
from podtest.waiting import wait_until

MIB = 1 << 20


# ---- the patched world ----


@green_types
@pytest.mark.parametrize("option", ["", "--preload"])
def test_the_app_is_imported_into_a_patched_world(serve, kind, option):
    server = serve("green_app:application", *kind, *option.split(), "--workers", "3")
    server.admin.wait_workers(3)
    seen = {}
    wait_until(
        lambda: seen.update((found["pid"], found) for found in [server.get("/patched").json()]) or len(seen) == 3,
        lambda: f"three workers; seen {seen}",
    )
    for found in seen.values():
        assert all(kind[1] in found[what] for what in ("socket", "sleep", "thread")), found
        assert not found["main"]
    assert len({found["random"] for found in seen.values()}) == 3, "workers share their random numbers"


@green_types
@pytest.mark.parametrize("option", ["", "--preload"])
def test_what_was_started_at_import_lives_in_every_worker(serve, kind, option):
    server = serve("green_app:application", *kind, *option.split(), "--workers", "2")
    pids = set(server.admin.wait_workers(2))
    ticking = set()

    def all_tick() -> bool:
        found = server.get("/patched").json()
        if found["ticks"] > 1:
            ticking.add(found["pid"])
        return ticking == pids

    wait_until(all_tick, lambda: f"ticks in {pids}, seen in {ticking}")


@pytest.mark.parametrize("name", GREEN)
@pytest.mark.parametrize(
    ("stub", "says"),
    [
        ("raise ImportError('not installed here')", "needs the package {name}"),
        ("__version__ = '0.1'", "or newer, and here is 0.1"),
    ],
)
def test_a_missing_library_is_named_with_the_way_to_get_it(tmp_path, name, stub, says):
    (tmp_path / f"{name}.py").write_text(stub)
    done = run("-k", name, "--bind", "127.0.0.1:0", "probe:app", environment={"PYTHONPATH": f"{tmp_path}:."})
    assert done.returncode == 1
    assert says.format(name=name) in done.stderr
    assert f"pip install podicorn[{name}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_gunicorns_names_mean_these_types(serve):
    for name, own in (
        ("gunicorn.workers.ggevent.GeventWorker", "gevent"),
        ("gevent_pywsgi", "gevent"),
        ("gunicorn.workers.geventlet.EventletWorker", "eventlet"),
    ):
        server = serve("green_app:application", "-k", name)
        assert own in server.get("/patched").json()["socket"]
        server.err.wait_for(f"Using worker: {own}")
        assert server.stop() == 0


# ---- many at a time ----


@green_types
def test_thousands_wait_and_others_are_served(serve, open_files, kind):
    open_files(7000)
    server = serve("green_app:application", *kind, "--worker-connections", "4000")
    (pid,) = server.admin.pids()
    server.get("/pid")
    before = processes.resident(pid)
    waiting = []
    try:
        for number in range(3000):
            client = server.connect()
            client.send(http.head("GET", f"/poll/{number}", {"Connection": "close"}))
            waiting.append(client)
        wait_until(lambda: server.admin.workers()[0]["inFlight"] == 3000, "three thousand requests in flight")
        for _ in range(50):
            assert int(server.get("/pid").text) == pid
        assert processes.resident(pid) - before < 300 * 1024
        server.get("/wake")
        for number, client in enumerate(waiting):
            response = client.read_response()
            assert (response.status, response.text) == (200, str(number))
            assert client.finish() is http.End.FIN
    finally:
        for client in waiting:
            client.close()
    wait_until(lambda: server.admin.workers()[0]["inFlight"] == 0, "the end of all requests")


@green_types
def test_no_more_connections_than_allowed(serve, gate, kind):
    server = serve("probe:app", *kind, "--worker-connections", "5", environment=gate.environment)
    held = [server.connect() for _ in range(5)]
    for number, client in enumerate(held):
        client.send(http.head("GET", f"/hold/{number}", {"Connection": "close"}))
    first, *_ = gate.wait(5)
    with server.connect() as sixth:
        sixth.send(http.head("GET", "/pid", {"Connection": "close"}))
        settle(0.5)
        (worker,) = server.admin.workers()
        assert (worker["connections"], worker["inFlight"]) == (5, 5)
        # One place is enough.
        gate.release(first)
        assert int(sixth.read_response().text) == worker["pid"]
    gate.open()
    for client in held:
        assert client.read_response().text == "released\n"
        client.close()


@green_types
def test_blocking_clients_on_plain_sockets_let_each_other_run(serve, kind):
    """The server that they ask answers none of them before all have asked."""
    count = 60
    server = serve("green_app:application", *kind)
    with socket.create_server(("127.0.0.1", 0), backlog=count) as database, ThreadPoolExecutor(count) as pool:
        port = database.getsockname()[1]
        answers = [pool.submit(server.get, f"/ask/question-{number}?port={port}") for number in range(count)]
        asked = []
        for _ in range(count):
            connection, _ = database.accept()
            asked.append((connection, connection.makefile("rb").readline()))
        for connection, question in asked:
            connection.sendall(b"answer to " + question)
            connection.close()
        for number, answer in enumerate(answers):
            assert answer.result().text == f"answer to question-{number}\n"


@green_types
def test_threads_and_futures_of_the_app(serve, kind):
    server = serve("green_app:application", *kind)
    assert server.get("/pool").json() == sum(n * n for n in range(32))


@green_types
def test_a_request_leaves_nothing_to_the_next(serve, kind):
    server = serve("green_app:application", *kind, "--keep-alive", "60")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: server.get(f"/own/{n}").json(), range(100)))
    assert found == [["none", "none", str(n), str(n)] for n in range(100)]
    with server.connect() as client:
        for number in range(10):
            client.send(http.head("GET", f"/own/{number}"))
            assert client.read_response().json() == ["none", "none", str(number), str(number)]


@green_types
def test_threads_are_not_remembered_when_their_request_is_over(serve, kind):
    server = serve("green_app:application", *kind)
    first = server.get("/threads").json()
    for _ in range(200):
        last = server.get("/threads").json()
    assert last <= first + 5


# ---- waits inside a request ----


@green_types
def test_a_time_limit_of_the_app_ends_a_wait_for_the_client(serve, kind):
    server = serve("green_app:application", *kind, "--body-buffer", "1k")
    with server.connect() as client:
        client.send(http.head("POST", f"/impatient/{kind[1]}", {"Content-Length": "100000"}) + b"x" * 5000)
        response = client.read_response()
        assert (response.text, response.header("Connection")) == ("timed out\n", "close")
    assert server.post(f"/impatient/{kind[1]}", b"x" * 50_000).text == "read\n"
    assert "Traceback" not in server.err.text


@green_types
def test_a_request_whose_greenlet_is_killed_gets_500(serve, kind):
    server = serve("green_app:application", *kind)
    (pid,) = server.admin.pids()
    assert server.get(f"/killed/{kind[1]}").status == 500
    assert int(server.get("/pid").text) == pid
    server.err.wait_for("GreenletExit")


@green_types
def test_children_of_the_app_wait_and_are_waited_for(serve, kind):
    server = serve("green_app:application", *kind)
    (pid,) = server.admin.pids()
    with ThreadPoolExecutor(5) as pool:
        found = [pool.submit(server.get, "/child") for _ in range(10)]
        for _ in range(20):
            assert int(server.get("/pid").text) == pid
        assert [answer.result().text for answer in found] == ["7"] * 10
    assert server.get("/subprocess").text.startswith("Name:\tcat")
    assert int(server.get("/terminated_child").text) == -signal.SIGTERM
    wait_until(lambda: not processes.children(pid), "the end of all children")


# ---- a hub that is kept from running ----


@green_types
def test_a_blocked_hub_is_a_hang(serve, kind):
    server = serve("green_app:application", *kind, "--timeout", "2")
    (before,) = server.admin.pids()
    with server.connect() as polls, server.connect() as client:
        polls.send(http.head("GET", "/poll/waiting"))
        wait_until(lambda: server.admin.workers()[0]["inFlight"] == 1, "a request that waits")
        client.send(http.head("GET", "/block/60"))
        assert http.unserved(client)
    wait_until(lambda: server.admin.pids() not in ([before], []), "a new worker")
    server.err.wait_for("WORKER TIMEOUT")
    assert "in block" in server.err.text


@green_types
def test_others_serve_while_one_is_blocked(serve, kind):
    server = serve("green_app:application", *kind, "--workers", "2")
    server.admin.wait_workers(2)
    with server.connect() as client:
        client.send(http.head("GET", "/block/5"))
        wait_until(lambda: any(w["inFlight"] for w in server.admin.workers()), "the blocked worker")
        (blocked,) = [w["pid"] for w in server.admin.workers() if w["inFlight"]]
        began = time.monotonic()
        seen = {int(server.get("/pid").text) for _ in range(50)}
        if time.monotonic() - began < 4:  # a machine that stood still proves nothing
            assert blocked not in seen
        assert client.read_response().text == "blocked"


@green_types
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_a_quick_end_reaches_code_that_never_waits(serve, kind, number, tmp_path):
    server = serve("green_app:application", *kind)
    with server.connect() as client:
        client.send(http.head("GET", f"/spin?sign={tmp_path}/spins"))
        wait_until((tmp_path / "spins").exists, "the app's loop")
        assert server.stop(number) == 0
        assert http.unserved(client)
    assert not server.family()


# ---- stacks ----


@green_types
def test_stacks_show_where_greenlets_wait(serve, kind):
    server = serve("green_app:application", *kind)
    with server.connect() as one, server.connect() as two:
        for client in (one, two):
            client.send(http.head("GET", "/poll/here"))
        # A request is counted before its greenlet gets as far as to wait.
        stacks = wait_until(
            lambda: "2 waiting greenlets" in (text := server.admin.get("/workers/0/stack").text) and text,
            "two greenlets that wait",
        )
        assert "in poll" in stacks
        assert "Current thread" in stacks


# ---- signals and ends ----

HOOKS = """
import time

def worker_int(worker):
    time.sleep(0.1)  # a hub could not
    worker.log.info("worker_int has waited")

def worker_abort(worker):
    worker.log.info("worker_abort ran")

def worker_exit(server, worker):
    time.sleep(0.1)
    worker.log.info("worker_exit has waited")

def post_request(worker, req, environ, resp):
    time.sleep(0.01)
    worker.log.info("post_request of %s: %s", req.path, resp.status_code)
"""


@green_types
def test_hooks_may_wait(serve, config, kind):
    server = serve("green_app:application", *kind, "-c", config(HOOKS), "--workers", "2")
    pids = server.admin.wait_workers(2)
    with ThreadPoolExecutor(20) as pool:
        assert {answer.status for answer in pool.map(lambda _: server.get("/pid"), range(100))} == {200}
    # Clients have not waited for them.
    wait_until(lambda: server.err.text.count("post_request of /pid: 200") >= 100, "the hook after each request")
    assert server.err.text.count("post_request of /pid: 200") == 100
    os.kill(pids[0], signal.SIGINT)
    server.err.wait_for("worker_int has waited")
    os.kill(pids[1], signal.SIGABRT)
    server.err.wait_for("worker_abort ran")
    server.err.wait_for(rf"Worker \(pid:{pids[1]}\) exited with code 1")
    wait_until(lambda: not set(server.admin.pids()) & set(pids) and len(server.admin.pids()) == 2, "two new workers")
    assert server.stop() == 0
    server.err.wait_for("worker_exit has waited")
    assert "hook" not in server.err.text


@green_types
def test_usr1_reopens_logs_while_requests_wait(serve, kind, tmp_path):
    paths = [tmp_path / "error.log", tmp_path / "access.log"]
    server = serve("green_app:application", *kind, "--error-logfile", str(paths[0]), "--access-logfile", str(paths[1]))
    with server.connect() as client:
        client.send(http.head("GET", "/poll/kept"))
        wait_until(lambda: server.admin.workers()[0]["inFlight"] == 1, "a request that waits")
        for path in paths:
            path.rename(f"{path}.1")
        server.send(signal.SIGUSR1)
        for path in paths:
            wait_until(path.exists, f"{path.name} anew")
        server.get("/wake")
        assert client.read_response().text == "kept"
    wait_until(lambda: "GET /wake" in paths[1].read_text(), "a line in the new log")
    assert server.stop() == 0


@green_types
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_with_many_requests_that_wait(serve, kind, number):
    """Their greenlets are never run again, or are ended by the interpreter; neither may hurt."""
    server = serve("green_app:application", *kind, "--graceful-timeout", "2", "--body-buffer", "1k")
    clients = [server.connect() for _ in range(150)]
    for count, client in enumerate(clients):
        if count % 3 == 0:
            client.send(http.head("GET", "/poll/for-ever"))
        elif count % 3 == 1:
            client.send(http.head("POST", "/echo", {"Content-Length": "1000000"}) + b"x" * 5000)
        else:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            client.send(http.head("GET", "/pattern/50000000"))
    wait_until(lambda: server.admin.workers()[0]["inFlight"] == 150, "all requests in flight")
    assert server.stop(number) == 0
    assert not server.family()
    assert "Traceback" not in server.err.text
    assert "sent SIG" not in server.err.text
    for client in clients:
        client.close()


@green_types
def test_a_graceful_stop_answers_what_waits(serve, gate, kind):
    server = serve("probe:app", *kind, environment=gate.environment)
    clients = [server.connect() for _ in range(40)]
    for number, client in enumerate(clients):
        client.send(http.head("GET", f"/hold/{number}"))
    visitors = gate.wait(40)
    server.send(signal.SIGTERM)
    server.err.wait_for("Shutting down")
    settle(0.5)
    for visitor in visitors:
        gate.release(visitor)
    for client in clients:
        response = client.read_response()
        assert (response.text, response.header("Connection")) == ("released\n", "close")
    assert server.wait_exit() == 0


@green_types
def test_a_reload_under_load_loses_nothing(serve, kind):
    from podtest.load import Load

    server = serve("green_app:application", *kind, "--workers", "2", "--preload")
    before = set(server.admin.wait_workers(2))
    with Load(server.address, clients=12, target=lambda n: ["/own/1", "/pattern/100000", "/pid"][n % 3]) as load:
        wait_until(lambda: load.done() > 50, "some requests")
        server.send(signal.SIGHUP)
        wait_until(lambda: not before & set(server.admin.pids()) and len(server.admin.pids()) == 2, "new workers")
        seen = load.done()
        wait_until(lambda: load.done() > seen + 50, "more requests")
    assert load.failures() == []


@green_types
def test_threads_that_never_end_do_not_keep_a_worker(serve, kind):
    server = serve("faults.leaves_threads:application", *kind, "--graceful-timeout", "3")
    assert server.get("/thread").text == "started"
    assert server.stop() == 0
    assert not server.family()


def test_many_threads_of_clients_beside_each_other(serve):
    """Every kind of request at once, on connections that are kept, on one worker of each type."""
    for kind in (("-k", "gevent"), ("-k", "eventlet")):
        server = serve("green_app:application", *kind, "--keep-alive", "60")
        failures: list[str] = []

        def user(number: int, server=server, failures=failures) -> None:
            with server.connect() as client:
                for turn in range(10):
                    client.send(http.head("GET", f"/own/{number}-{turn}"))
                    if client.read_response().json()[2:] != [f"{number}-{turn}"] * 2:
                        failures.append(f"own {number}-{turn}")
                    body = bytes([number]) * (1000 * turn)
                    client.send(http.head("POST", "/echo", {"Content-Length": str(len(body))}) + body)
                    if client.read_response().body != body:
                        failures.append(f"echo {number}-{turn}")

        threads = [threading.Thread(target=user, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
