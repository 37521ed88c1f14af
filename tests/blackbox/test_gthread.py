"""gthread: connections that are kept, requests that follow each other on them, and N requests at a time."""

import signal

import pytest
from podtest import http
from podtest.server import settle
from podtest.types import GREEN, keeping_types
from podtest.waiting import wait_until

KEPT = {"Connection": "keep-alive"}


# ---- connections that are kept ----


@pytest.mark.parity
@keeping_types
def test_requests_follow_each_other_on_a_connection(serve, kind):
    server = serve("probe:app", *kind)
    with server.connect() as client:
        for number in range(1, 50):
            client.send(http.head("GET", f"/bytes/{number}"))
            response = client.read_response()
            assert response.header("Connection") == "keep-alive"
            assert len(response.body) == number
        client.send(http.head("GET", "/", {"Connection": "close"}))
        response = client.read_response()
        assert response.header("Connection") == "close"
        assert client.finish() is http.End.FIN


@pytest.mark.parity
@keeping_types
def test_version_1_0_keeps_only_when_asked(serve, kind):
    server = serve("probe:app", *kind)
    with server.connect() as client:
        client.send(http.head("GET", "/", KEPT, version="1.0"))
        assert client.read_response().header("Connection") == "keep-alive"
        client.send(http.head("GET", "/", version="1.0"))
        assert client.read_response().header("Connection") == "close"
        assert client.finish() is http.End.FIN


@keeping_types
def test_version_1_0_is_not_kept_where_only_the_end_delimits_the_body(serve, kind):
    server = serve("probe:app", *kind)
    with server.connect() as client:
        client.send(http.head("GET", "/stream", KEPT, version="1.0"))
        response = client.read_response()
        assert response.header("Connection") == "close"
        assert response.body == b"aaaaabbbbbccccc"


@keeping_types
@pytest.mark.parametrize("size", [1, 1000, 200_000])
def test_pipelined_requests_are_answered_in_order(serve, kind, size):
    """RFC 9112 §9.3.2. All are sent before the first answer is read."""
    server = serve("probe:app", *kind)
    requests = b""
    for number in range(20):
        requests += http.head("GET", f"/bytes/{size + number}")
        requests += http.head("POST", "/echo", {"Content-Length": "3"}) + b"%03d" % number
        requests += http.head("POST", "/echo", {"Transfer-Encoding": "chunked"}) + b"4\r\n%04d\r\n0\r\n\r\n" % number
        requests += http.head("HEAD", "/")
    with server.connect() as client:
        client.send(requests)
        for number in range(20):
            assert len(client.read_response().body) == size + number
            assert client.read_response().body == b"%03d" % number
            assert client.read_response().body == b"%04d" % number
            assert client.read_response("HEAD").status == 200
        client.send(http.head("GET", "/", {"Connection": "close"}))
        assert client.read_response().body == b"probe\n"
        assert client.finish() is http.End.FIN


@keeping_types
def test_a_pipelined_request_behind_close_is_not_answered(serve, kind):
    """RFC 9112 §9.6."""
    server = serve("probe:app", *kind)
    with server.connect() as client:
        client.send(http.head("GET", "/", {"Connection": "close"}) + http.head("GET", "/pid"))
        assert client.read_response().body == b"probe\n"
        assert client.finish() is http.End.FIN


@keeping_types
def test_a_bad_request_behind_a_good_one_ends_the_connection(serve, kind):
    server = serve("probe:app", *kind)
    with server.connect() as client:
        client.send(http.head("GET", "/") + b"NONSENSE\r\n\r\n" + http.head("GET", "/"))
        assert client.read_response().body == b"probe\n"
        assert client.read_response().status == 400
        assert client.finish() is http.End.FIN


@keeping_types
def test_a_body_that_the_app_leaves_is_not_taken_for_the_next_request(serve, kind):
    """The smuggling of the simple kind: a body that looks like a request."""
    hidden = http.head("GET", "/pid")
    server = serve("probe:app", *kind)
    with server.connect() as client:
        client.send(http.head("POST", "/unread", {"Content-Length": str(len(hidden))}) + hidden)
        assert client.read_response().body == b"unread\n"
        client.send(http.head("GET", "/"))
        assert client.read_response().body == b"probe\n"


@keeping_types
def test_a_long_body_that_the_app_leaves_ends_the_connection(serve, kind):
    """RFC 9112 §9.3: what was not read cannot be told from a request."""
    server = serve("probe:app", *kind, "--body-buffer", "1k")
    with server.connect() as client:
        client.send(http.head("POST", "/unread", {"Content-Length": "100000"}) + b"x" * 50_000)
        response = client.read_response()
        assert (response.header("Connection"), response.body) == ("close", b"unread\n")
        assert client.finish() is http.End.FIN


@keeping_types
def test_a_long_body_that_the_app_reads_keeps_the_connection(serve, kind):
    server = serve("probe:app", *kind, "--body-buffer", "1k")
    with server.connect() as client:
        for coding in ("length", "chunked"):
            if coding == "length":
                client.send(http.head("POST", "/echo", {"Content-Length": "50000"}) + b"x" * 50_000)
            else:
                client.send(http.head("POST", "/echo", {"Transfer-Encoding": "chunked"}))
                client.send(b"c350\r\n" + b"x" * 50_000 + b"\r\n0\r\n\r\n")
            # The next request is there before the answer to this one is.
            client.send(http.head("GET", "/"))
            response = client.read_response()
            assert (response.header("Connection"), len(response.body)) == ("keep-alive", 50_000)
            assert client.read_response().body == b"probe\n"


@keeping_types
def test_a_refused_continue_ends_the_connection(serve, kind):
    """The client may send the body or not: the connection cannot be kept in step."""
    server = serve("probe:app", *kind, "--body-buffer", "1k")
    with server.connect() as client:
        client.send(http.head("POST", "/unread", {"Expect": "100-continue", "Content-Length": "100000"}))
        response = client.read_response()
        assert (response.interim, response.header("Connection")) == ([], "close")
        assert client.finish() is http.End.FIN


@keeping_types
def test_a_lying_content_length_ends_the_connection(serve, kind):
    server = serve("probe:app", *kind)
    with server.connect() as client:
        client.send(http.head("GET", "/length/10/5"))
        with pytest.raises(http.ExchangeError):
            client.read_response()
    with server.connect() as client:  # what is too much is cut, and the rest is in step
        client.send(http.head("GET", "/length/5/10") + http.head("GET", "/"))
        assert client.read_response().body == b"xxxxx"
        assert client.read_response().body == b"probe\n"


@keeping_types
def test_an_idle_connection_is_closed_without_a_word(serve, kind):
    server = serve("probe:app", *kind, "--keep-alive", "1")
    with server.connect() as client:
        client.send(http.head("GET", "/"))
        assert client.read_response().header("Connection") == "keep-alive"
        assert client.finish() is http.End.FIN


@keeping_types
def test_the_head_of_a_next_request_has_a_deadline_too(serve, kind):
    server = serve("probe:app", *kind, "--keep-alive", "60", "--head-timeout", "1")
    with server.connect() as client:
        client.send(http.head("GET", "/"))
        client.read_response()
        settle(1.5)  # idle is no slow head
        client.send(b"GET / HT")
        assert client.read_response().status == 408
        assert client.finish() is http.End.FIN


@pytest.mark.parity
@keeping_types
def test_keep_alive_of_zero_closes_after_each_response(serve, kind):
    server = serve("probe:app", *kind, "--keep-alive", "0")
    with server.connect() as client:
        client.send(http.head("GET", "/"))
        assert client.read_response().header("Connection") == "close"
        assert client.finish() is http.End.FIN


@keeping_types
def test_a_stopping_worker_lets_kept_connections_go(serve, gate, kind):
    server = serve("probe:app", *kind, environment=gate.environment)
    with server.connect() as idle, server.connect() as busy, server.connect() as asked:
        for client in (idle, busy, asked):
            client.send(http.head("GET", "/"))
            client.read_response()
        busy.send(http.head("GET", "/hold/busy"))
        gate.wait(1, "busy")
        server.send(signal.SIGTERM)
        server.err.wait_for("Shutting down")
        if kind[-1] in ("4", "asgi", *GREEN):
            # A client that has not seen the end yet may ask once more: it is answered, and told to go.
            asked.send(http.head("GET", "/"))
            assert asked.read_response().header("Connection") == "close"
            assert asked.finish() is http.End.FIN
            assert idle.finish() is http.End.FIN
        gate.open()
        response = busy.read_response()
        assert (response.body, response.header("Connection")) == (b"released\n", "close")
        assert busy.finish() is http.End.FIN
        assert server.wait_exit() == 0


@keeping_types
def test_a_worker_is_replaced_while_its_connections_are_kept(serve, kind):
    server = serve("probe:app", *kind, "--max-requests", "20", "--keep-alive", "60")
    (first,) = server.admin.pids()
    seen = set()
    with server.connect() as client:

        def told_to_go() -> bool:
            client.send(http.head("GET", "/pid"))
            response = client.read_response()
            seen.add(int(response.body))
            return response.header("Connection") == "close"

        wait_until(told_to_go, "the worker's replacement, which takes its time to boot")
        assert seen == {first}
        assert client.finish() is http.End.FIN
    assert int(server.get("/pid").text) != first


# ---- at a time ----


@pytest.mark.parity
def test_as_many_requests_at_a_time_as_threads(serve, gate):
    server = serve("probe:app", "-k", "gthread", "--threads", "3", environment=gate.environment)
    clients = [server.connect() for _ in range(5)]
    for number, client in enumerate(clients):
        client.send(http.head("GET", f"/hold/{number}", {"Connection": "close"}))
    gate.wait(3)
    settle(0.5)
    assert len(gate.seen) == 3
    gate.open()
    assert [client.read_response().body for client in clients] == [b"released\n"] * 5


@pytest.mark.parity
def test_threads_make_gthread_of_sync(serve):
    server = serve("probe:app", "-k", "sync", "--threads", "2")
    server.err.wait_for("Using worker: gthread")
    values = server.get("/environ").json()["values"]
    assert values["wsgi.multithread"] == "True"


@pytest.mark.parity
def test_one_thread_is_gthread_where_asked_for(serve):
    server = serve("probe:app", "-k", "gthread")
    server.err.wait_for("Using worker: gthread")
    assert server.get("/environ").json()["values"]["wsgi.multithread"] == "True"


def test_idle_connections_cost_no_thread(serve, gate):
    server = serve("probe:app", "-k", "gthread", "--threads", "2", "--keep-alive", "60", environment=gate.environment)
    idle = [server.connect() for _ in range(300)]
    for client in idle:
        client.send(http.head("GET", "/"))
        assert client.read_response().header("Connection") == "keep-alive"
    with server.connect() as held:
        held.send(http.head("GET", "/hold/one"))
        gate.wait(1, "one")
        for client in idle[:100]:
            client.send(http.head("GET", "/pid"))
            assert client.read_response().status == 200
        assert server.get("/").status == 200
        gate.open()
        held.read_response()
    for client in idle:
        client.close()


def test_busy_threads_leave_connections_to_another_worker(serve, gate):
    server = serve("probe:app", "--threads", "2", "--workers", "2", environment=gate.environment)
    server.admin.wait_workers(2)
    held = []
    while len(held) < 4:  # both threads of the worker that is busier
        held.append(server.connect())
        held[-1].send(http.head("GET", f"/hold/{len(held)}"))
        visitors = gate.wait(len(held))
        full = [pid for pid in {v.pid for v in visitors} if sum(v.pid == pid for v in visitors) == 2]
        if full:
            break
    seen = {int(server.get("/pid").text) for _ in range(50)} if len(held) < 4 else set()
    assert full[0] not in seen
    gate.open()
    for client in held:
        client.read_response()
        client.close()


def test_new_connections_are_served_beside_ones_that_never_rest(serve):
    """Clients that keep their connections and always have a next request must not lock new ones out."""
    import threading

    server = serve("probe:app", "-k", "gthread", "--threads", "2", "--keep-alive", "60")
    over = threading.Event()
    failures: list[BaseException] = []

    def restless() -> None:
        try:
            with server.connect() as client:
                while not over.is_set():
                    client.send(http.head("GET", "/sleep/0.002"))
                    client.read_response()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=restless) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            assert server.get("/").status == 200
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []


# ---- what the threads do ----


@keeping_types
def test_a_long_request_is_no_hang(serve, kind):
    """In gthread the heartbeat says that the process is alive, not that the request is short."""
    server = serve("probe:app", *kind, "--timeout", "2")
    (pid,) = server.admin.pids()
    assert server.get("/sleep/5").body == b"slept\n"
    assert server.admin.pids() == [pid]


@keeping_types
def test_a_gil_hog_is_a_hang(serve, kind):
    server = serve("faults.hog:application", *kind, "--timeout", "2")
    before = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/hog"))
        assert client.read_to_end() == b""
    wait_until(lambda: server.admin.pids() not in (before, []), "a new worker")
    server.err.wait_for("WORKER TIMEOUT")
    assert "deadlock_in_c" in server.err.text


@keeping_types
def test_an_exit_in_the_app_is_an_error_of_the_request(serve, kind):
    server = serve("probe:app", *kind)
    (pid,) = server.admin.pids()
    for _ in range(6):  # more than there are threads
        assert server.get("/exit/3").status == 500
    assert int(server.get("/pid").text) == pid
    server.err.wait_for("SystemExit: 3")


@keeping_types
def test_errors_are_logged_and_the_thread_goes_on(serve, kind):
    server = serve("probe:app", *kind)
    (pid,) = server.admin.pids()
    for _ in range(6):
        assert server.get("/raise").status == 500
        with server.connect() as client:
            client.send(http.head("GET", "/raise-late"))
            assert b"a piece" in client.read_to_end()
    assert int(server.get("/pid").text) == pid
    server.err.wait_for("the app raised in the body")


@keeping_types
def test_int_ends_a_worker_at_once(serve, gate, kind):
    server = serve("probe:app", *kind, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/block/quit"))
        gate.wait(1, "quit")
        assert server.stop(signal.SIGINT) == 0
        assert http.unserved(client)


@keeping_types
def test_in_flight_and_queued_are_seen_from_outside(serve, gate, kind):
    server = serve("probe:app", *kind, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/watched"))
        gate.wait(1, "watched")
        (worker,) = server.admin.workers()
        assert (worker["state"], worker["inFlight"], worker["queued"]) == ("busy", 1, 0)
        gate.open()
        client.read_response()
    wait_until(lambda: server.admin.workers()[0]["state"] == "idle", "an idle worker")


def test_a_graceful_stop_waits_for_all_threads(serve, gate):
    server = serve("probe:app", "--threads", "3", environment=gate.environment)
    clients = [server.connect() for _ in range(3)]
    for number, client in enumerate(clients):
        client.send(http.head("GET", f"/hold/{number}"))
    visitors = gate.wait(3)
    server.send(signal.SIGTERM)
    server.err.wait_for("Handling signal: term")
    for visitor in visitors:
        gate.release(visitor)
        settle(0.2)
    assert [client.read_response().body for client in clients] == [b"released\n"] * 3
    assert server.wait_exit() == 0


def test_a_graceful_stop_is_cut_off_in_time(serve, gate):
    server = serve("probe:app", "--threads", "2", "--graceful-timeout", "2", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/for-ever"))
        gate.wait(1, "for-ever")
        assert server.stop() == 0
        assert http.unserved(client)
