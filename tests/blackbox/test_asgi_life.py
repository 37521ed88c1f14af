"""The worker type asgi from boot to exit: lifespan, signals, drain, forks."""

import os
import signal

import pytest
from podtest import http, processes
from podtest.server import run, settle
from podtest.waiting import wait_until

ASGI = ("probe_asgi:app", "-k", "asgi")

both_loops = pytest.mark.parametrize(
    "loop", [("--asgi-loop", "uvloop"), ("--asgi-loop", "asyncio")], ids=["uvloop", "asyncio"]
)


# ---- lifespan ----


@pytest.mark.parity
@pytest.mark.parametrize("name", ["raises", "returns"])
def test_an_app_without_lifespan_is_served(serve, name):
    server = serve(f"lifespans:{name}", "-k", "asgi")
    assert server.get("/").body == b"hello\n"
    assert server.stop() == 0
    assert "Traceback" not in server.err.text


@pytest.mark.parity
@pytest.mark.parametrize("name", ["raises", "returns"])
def test_lifespan_on_wants_one(serve, name):
    server = serve(f"lifespans:{name}", "-k", "asgi", "--asgi-lifespan", "on", ready=False)
    assert server.wait_exit() == 3
    assert "ASGI lifespan startup failed" in server.err.text


def test_what_a_lifespan_raises_is_shown_with_its_stack(serve):
    server = serve("lifespans:raises", "-k", "asgi", "--asgi-lifespan", "on", ready=False)
    assert server.wait_exit() == 3
    assert "NotImplementedError: no lifespan here" in server.err.text
    server = serve("lifespans:wrong_answer", "-k", "asgi", "--asgi-lifespan", "on", ready=False)
    assert server.wait_exit() == 3
    assert "lifespan.nonsense" in server.err.text


@pytest.mark.parity
@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_startup_that_fails_is_a_boot_failure(serve, mode):
    server = serve("lifespans:fails", "-k", "asgi", "--asgi-lifespan", mode, ready=False)
    assert server.wait_exit() == 3
    server.err.wait_for("ASGI lifespan startup failed: .*the database is down")


@pytest.mark.parity
def test_lifespan_off_asks_nobody(serve):
    server = serve("lifespans:fails", "-k", "asgi", "--asgi-lifespan", "off")
    assert server.get("/").body == b"hello\n"


def test_a_worker_is_ready_when_its_startup_is_complete(serve, gate):
    server = serve("lifespans:held", "-k", "asgi", environment=gate.environment, ready=False)
    gate.wait(1, "startup")
    settle(0.5)
    assert not server.admin.ready()
    gate.open()
    server.wait_ready()
    assert server.get("/").body == b"hello\n"


def test_term_during_the_startup_ends_it(serve, gate):
    server = serve("lifespans:held", "-k", "asgi", environment=gate.environment, ready=False)
    gate.wait(1, "startup")
    assert server.stop() == 0


def test_a_startup_that_hangs_meets_the_boot_timeout(serve, gate):
    server = serve("lifespans:held", "-k", "asgi", "--boot-timeout", "2", environment=gate.environment, ready=False)
    gate.wait(1, "startup")
    server.err.wait_for("boot_timeout|not ready after")


@both_loops
@pytest.mark.parity
def test_the_shutdown_is_awaited(serve, gate, loop):
    server = serve("lifespans:slow_end", "-k", "asgi", *loop, environment=gate.environment)
    assert server.get("/").body == b"hello\n"
    server.send(signal.SIGTERM)
    gate.wait(1, "shutdown")
    settle(0.5)
    assert server.running()
    gate.open()
    assert server.wait_exit() == 0
    assert "shutdown ends" in server.out.text


def test_a_shutdown_that_hangs_is_cut_off_in_time(serve, gate):
    server = serve("lifespans:slow_end", "-k", "asgi", "--graceful-timeout", "3", environment=gate.environment)
    assert server.stop() == 0
    assert "shutdown begins" in server.out.text and "shutdown ends" not in server.out.text


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "said"), [("bad_end", "could not say goodbye"), ("raises_at_the_end", "broken at the end")]
)
def test_a_shutdown_that_fails_is_logged(serve, name, said):
    server = serve(f"lifespans:{name}", "-k", "asgi")
    assert server.get("/").body == b"hello\n"
    assert server.stop() == 0
    assert said in server.err.text


def test_tasks_of_the_app_live_until_its_shutdown(serve):
    server = serve("lifespans:with_background", "-k", "asgi")
    assert server.get("/").body == b"hello\n"
    assert server.stop() == 0
    assert "own task ended" in server.out.text
    assert "Traceback" not in server.err.text


def test_the_quick_end_does_not_ask_for_a_shutdown(serve, gate):
    server = serve("lifespans:slow_end", "-k", "asgi", environment=gate.environment)
    assert server.get("/").body == b"hello\n"
    assert server.stop(signal.SIGINT) == 0
    assert "shutdown begins" not in server.out.text


def test_each_worker_has_its_own_lifespan_with_preload_too(serve):
    server = serve(*ASGI, "--preload", "--workers", "3")
    server.admin.wait_workers(3)
    assert server.get("/state/x").json()["made"][0] == "by the lifespan"
    assert server.stop() == 0
    assert server.out.text.count("lifespan: shutdown") == 3


@both_loops
def test_an_app_may_look_for_the_loop_when_it_is_imported(serve, loop):
    server = serve("lifespans:wants_loop", "-k", "asgi", *loop, environment={"WANT_LOOP": "1"})
    assert server.get("/").body == b"hello\n"


def test_a_lifespan_that_kills_the_process_is_no_end_of_the_server(serve):
    server = serve("lifespans:exits", "-k", "asgi", ready=False)
    assert server.wait_exit() != 0


# ---- signals ----


@both_loops
@pytest.mark.parity
def test_term_finishes_what_runs(serve, gate, loop):
    server = serve(*ASGI, *loop, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/last"))
        gate.wait(1, "last")
        server.send(signal.SIGTERM)
        server.err.wait_for("Handling signal: term")
        settle(0.5)
        gate.open()
        response = client.read_response()
        assert (response.body, response.header("Connection")) == (b"released\n", "close")
    assert server.wait_exit() == 0
    assert "Traceback" not in server.err.text


@both_loops
def test_term_waits_for_what_goes_on_behind_a_response(serve, gate, loop):
    server = serve(*ASGI, *loop, environment=gate.environment)
    server.get("/background/behind")
    gate.wait(1, "behind")
    server.send(signal.SIGTERM)
    server.err.wait_for("Handling signal: term")
    settle(1.5)
    assert server.running()
    gate.open()
    assert server.wait_exit() == 0
    assert "background: done" in server.out.text


@both_loops
def test_term_gives_up_in_time_and_cancels(serve, gate, loop):
    server = serve(*ASGI, *loop, "--graceful-timeout", "3", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/ignores-disconnect"))
        gate.wait(1, "runs")
        assert server.stop() == 0
        answer = client.read_response()
        assert (answer.status, answer.header("Connection")) == (503, "close")
    assert "cancelled after" in server.out.text
    assert "lifespan: shutdown" in server.out.text
    assert "Traceback" not in server.err.text


@both_loops
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("how", ["hold", "block"])
def test_int_and_quit_do_not_wait(serve, gate, loop, number, how):
    server = serve(*ASGI, *loop, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", f"/{how}/quick"))
        gate.wait(1, "quick")
        assert server.stop(number) == 0
        assert http.unserved(client)
    assert "Traceback" not in server.err.text


@both_loops
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGABRT])
def test_a_signal_to_an_idle_worker_is_not_slow(serve, loop, number):
    """The loop sleeps, in a system call: it must be woken."""
    server = serve(*ASGI, *loop, "--timeout", "0")
    (pid,) = server.admin.pids()
    settle(0.5)
    os.kill(pid, number)
    wait_until(lambda: server.admin.pids() and pid not in server.admin.pids(), "another worker")
    assert server.get("/").status == 200
    if number is not signal.SIGTERM:
        assert "Traceback" not in server.err.text


def test_usr1_reopens_the_access_log(serve, tmp_path):
    path = tmp_path / "access.log"
    server = serve(*ASGI, "--access-logfile", str(path))
    server.get("/one")
    wait_until(lambda: "/one" in path.read_text(), "a line")
    path.rename(tmp_path / "old")
    server.send(signal.SIGUSR1)
    wait_until(path.exists, "a new file")
    server.get("/two")
    wait_until(lambda: "/two" in path.read_text(), "a line in the new file")


@both_loops
def test_a_blocked_loop_is_a_hang(serve, gate, loop):
    server = serve(*ASGI, *loop, "--timeout", "2", environment=gate.environment)
    before = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/block/hung"))
        gate.wait(1, "hung")
        assert client.read_to_end() == b""
    server.err.wait_for("WORKER TIMEOUT")
    assert "in block" in server.err.text
    wait_until(lambda: server.admin.pids() not in (before, []), "another worker")


@both_loops
def test_an_idle_or_waiting_loop_is_no_hang(serve, gate, loop):
    server = serve(*ASGI, *loop, "--timeout", "1", environment=gate.environment)
    before = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/hold/long"))
        gate.wait(1, "long")
        settle(4)
        gate.open()
        assert client.read_response().body == b"released\n"
    settle(2)
    assert server.admin.pids() == before


def test_reload_finishes_what_runs_on_the_old_worker(serve, gate):
    server = serve(*ASGI, environment=gate.environment)
    (old,) = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", "/hold/over-a-reload"))
        (visitor,) = gate.wait(1, "over-a-reload")
        server.send(signal.SIGHUP)
        wait_until(lambda: server.admin.pids() and old not in server.admin.pids(), "the new worker")
        assert int(server.get("/pid").text) != old
        gate.release(visitor)
        assert client.read_response().body == b"released\n"
    assert "lifespan: shutdown" in server.out.text or server.out.wait_for("lifespan: shutdown")


def test_check_config_loads_the_app_and_starts_nothing():
    done = run("--check-config", *ASGI)
    assert done.returncode == 0, done.stderr
    assert run("--check-config", "-k", "asgi", "no_such_module:app").returncode != 0


# ---- forks ----


@both_loops
def test_a_child_that_lives_on_keeps_no_connection_open(serve, loop):
    server = serve(*ASGI, *loop)
    children = []
    try:
        for _ in range(3):
            response = server.get("/fork")  # read to its end
            assert response.end is http.End.FIN
            children.append(int(response.text))
        assert all(processes.alive(child) for child in children)
        assert server.get("/pid").status == 200
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


@both_loops
def test_a_child_that_comes_back_from_the_app_neither_answers_nor_disturbs(serve, loop):
    server = serve(*ASGI, *loop, "--keep-alive", "60")
    (pid,) = server.admin.pids()
    with server.connect() as kept:
        kept.send(http.head("GET", "/"))
        kept.read_response()
        for _ in range(5):
            response = server.get("/forked-return")
            assert (int(response.text), response.end) == (pid, http.End.FIN)
        wait_until(lambda: not [c for c in processes.children(pid) if not c.zombie], "the children's end")
        kept.send(http.head("GET", "/pid"))
        assert int(kept.read_response().body) == pid
    # The loop's own descriptors still work: signals, and the engine's.
    assert server.admin.pids() == [pid]
    assert server.stop() == 0
