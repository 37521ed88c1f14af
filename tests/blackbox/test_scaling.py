"""Scaling by load inside the pod: ranges, auto, what /scale says of it, and who has the last word."""

import os
import re
import signal
import socket
import sys

import pytest
from podtest import http
from podtest.cgroups import MemoryGroup, why_not
from podtest.load import Load
from podtest.server import program_path, run, settle
from podtest.types import every_type
from podtest.waiting import wait_until

#: Takes its time and no CPU, so that more workers do serve more.
SLOW = {"PACE": "0.05"}
#: Directions of a decision.
MOVES = {"up", "down", "hold"}


def scale(server):
    response = server.admin.get("/scale")
    assert response.status == 200, response
    return response.json()


def changes(server):
    """Every change of the number of workers that the log tells: from, to, why."""
    found = re.findall(r"Workers wanted: (\d+) instead of (\d+) \((.*)\)$", server.err.text, re.MULTILINE)
    return [(int(old), int(new), why) for new, old, why in found]


def wait_target(server, wanted):
    wait_until(lambda: scale(server)["target"] == wanted, lambda: f"target {wanted}; it is {scale(server)}")


# ---- load ----


def test_load_brings_workers_and_its_end_takes_them_one_by_one(serve):
    server = serve("pace:application", "--workers", "1..4", "--scale-down-delay", "2", environment=SLOW)
    assert (scale(server)["min"], scale(server)["max"], scale(server)["target"]) == (1, 4, 1)
    with Load(server.address, clients=8) as load:
        wait_target(server, 4)
        view = scale(server)
        assert view["reason"] == "policy"
        decision = wait_until(lambda: scale(server)["decision"], "a decision")
        assert decision["direction"] in MOVES
        assert decision["message"]
        assert decision["inputs"]["offeredFast"] > 1
        assert decision["cap"]["workers"] <= 4
        server.admin.wait_workers(4)
    assert not load.failures(), load.summary()
    wait_target(server, 1)
    server.admin.wait_workers(1)
    moves = changes(server)
    ups = [(old, new, why) for old, new, why in moves if new > old]
    downs = [(old, new, why) for old, new, why in moves if new < old]
    assert all(new <= 2 * old for old, new, _ in ups), ups
    assert all("there was work for" in why or "requests wait" in why for *_, why in ups), ups
    assert [new for _, new, _ in downs] == [3, 2, 1], "one at a time"
    assert all("have been enough" in why for *_, why in downs), downs
    metrics = server.admin.metrics()
    assert metrics.value("podicorn_scale_decisions_total", direction="up") == len(ups)
    assert metrics.value("podicorn_scale_decisions_total", direction="down", reason="idle") == 3
    assert metrics.value("podicorn_workers_max") == 4
    assert metrics.value("podicorn_workers_cap") == 4
    assert metrics.value("podicorn_spawn_seconds") > 0
    assert metrics.value("podicorn_worker_busy_seconds_total") > 0


@every_type
def test_every_type_follows_its_load(serve, kind):
    """A worker that runs many requests at a time is full when it computes all the time."""
    busy = {"PACE": "0.02", "SPIN": "1"}
    server = serve("pace:application", *kind, "--workers", "1..3", environment=busy)
    with Load(server.address, clients=6):
        wait_until(lambda: scale(server)["target"] > 1, lambda: f"more than one worker: {scale(server)}")


def test_a_long_request_is_load_before_it_ends(serve, gate):
    """What is counted when a request ends comes too late for one that runs for minutes."""
    server = serve("probe:app", "--workers", "2..8", environment=gate.environment)
    server.admin.wait_workers(2)
    clients = []
    # One after the other: a worker may take a connection that says nothing yet, and then a request on another.
    for number in range(2):
        clients.append(server.connect())
        clients[-1].send(http.head("GET", f"/hold/{number}"))
        gate.wait(number + 1)
    wait_until(lambda: scale(server)["target"] > 2, lambda: f"more than two workers: {scale(server)}")
    gate.open()
    for client in clients:
        client.read_response()
        client.close()


def test_a_quiet_server_stays_at_the_lower_bound(serve):
    server = serve("hello:app", "--workers", "2..8")
    for _ in range(20):
        server.get()
    wait_until(lambda: (scale(server)["decision"] or {}).get("reason") == "steady", "a decision")
    settle(2)
    assert scale(server)["target"] == 2
    assert changes(server) == []


def test_the_queue_of_a_unix_socket_counts(serve, gate, tmp_path):
    """Connections that nobody has accepted are seen on unix sockets too."""
    path = str(tmp_path / "app.sock")
    server = serve("probe:app", "--workers", "1", "--bind", f"unix:{path}", bind=False, environment=gate.environment)
    waiting = []
    for number in range(6):
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        client.sendall(http.head("GET", f"/hold/{number}", {"Host": "localhost"}))
        waiting.append(client)
    gate.wait(1)

    def queued():
        return server.admin.metrics().value("podicorn_accept_queue_length")

    wait_until(lambda: queued() >= 4, lambda: f"connections in the accept queue; there are {queued()}")
    decision = wait_until(lambda: scale(server)["decision"], "a decision")
    assert decision["target"] == 1, "a fixed number is only watched"
    gate.open()
    for client in waiting:
        assert client.recv(65536)
        client.close()
    wait_until(lambda: queued() == 0, "an empty queue")


# ---- caps and vetoes ----


def test_a_worker_that_does_not_fit_is_not_started(serve):
    reason = why_not()
    if reason:
        if os.environ.get("CI"):
            pytest.fail(f"memory cgroups are needed here: {reason}")
        pytest.skip(f"no memory cgroups: {reason}")
    group = MemoryGroup(320)
    try:
        server = serve(
            "pace:application", "--workers", "1..16", executable=group.entering(program_path()),
            environment={"PACE": "0.1", "BALLAST": "50"},
        )  # fmt: skip

        def vetoed():
            decision = scale(server)["decision"] or {"vetoes": []}
            return "memory_headroom" in [veto["kind"] for veto in decision["vetoes"]]

        with Load(server.address, clients=16) as load:
            wait_until(vetoed, lambda: f"a veto for want of memory: {scale(server)}")
            settle(5)
            view = scale(server)
        assert view["target"] < 6, f"six times 50 MiB are more than nine tenths of 320 MiB: {view}"
        assert view["decision"]["cap"]["workers"] < 16
        assert server.admin.metrics().value("podicorn_cap_reason", reason="memory_headroom") == 1
        assert not load.failures(), load.summary()
        assert group.kills == 0
        server.close()
    finally:
        group.close()


# ---- whose word counts ----


def test_a_lease_wins_and_at_its_end_the_range_goes_on_from_there(serve):
    server = serve("pace:application", "--workers", "1..6", environment=SLOW)
    assert server.admin.scale(3, ttl=600)["target"] == 3
    with Load(server.address, clients=12):
        decision = wait_until(
            lambda: (scale(server)["decision"] or {}).get("reason") == "leased" and scale(server)["decision"],
            lambda: f"a decision under the lease: {scale(server)}",
        )
        assert decision["target"] == 3
        wait_until(lambda: scale(server)["decision"]["inputs"]["desired"] > 3, "load that would ask for more")
        assert scale(server)["target"] == 3
        assert server.admin.scale(2, ttl=1)["target"] == 2
        wait_until(lambda: scale(server)["lease"] is None, "the end of the lease")
        wait_until(lambda: scale(server)["target"] > 2, lambda: f"the policy's word again: {scale(server)}")
    first = next(old for old, _, why in changes(server) if "there was work for" in why or "requests wait" in why)
    assert first == 2, f"it goes on from the count under the lease: {changes(server)}"


def test_the_count_of_the_moment_survives_the_end_of_a_lease(serve):
    server = serve("hello:app", "--workers", "1..6")
    server.admin.scale(4, ttl=1)
    server.admin.wait_workers(4)
    wait_until(lambda: scale(server)["lease"] is None, "the end of the lease")
    settle(3)
    view = scale(server)
    assert (view["target"], view["reason"]) == (4, "expiry")
    assert view["decision"]["reason"] in ("settling", "steady"), view


def test_a_reload_keeps_the_number_that_the_load_has_made(serve):
    server = serve("pace:application", "--workers", "1..3", environment=SLOW)
    with Load(server.address, clients=8) as load:
        wait_target(server, 3)
        server.send(signal.SIGHUP)
        wait_until(lambda: server.admin.pool()["generation"] == 2, "the new generation")
        assert scale(server)["target"] == 3
    assert not load.failures(), load.summary()


# ---- auto ----


def on_one_cpu(*command):
    one = "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    script = f"import os, sys; {one}; os.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-I", "-S", "-c", script, *command]


def test_auto_is_twice_the_cores_and_one(serve):
    server = serve("hello:app", "--workers", "auto", executable=on_one_cpu(program_path()))
    quota = (server.admin.pool()["scaling"]["cpu"] or {"quotaCores": 1.0})["quotaCores"]
    most = int(2 * min(quota, 1.0)) + 1
    view = scale(server)
    assert (view["min"], view["max"]) == (1, most)
    server.err.wait_for(rf"Workers: auto is from 1 to {most}, for ")
    server.admin.wait_workers(most)
    assert [(old, new) for old, new, _ in changes(server)] == [(1, most)]


def test_auto_in_the_config_file_and_the_environment(tmp_path):
    (tmp_path / "gunicorn.conf.py").write_text("workers = 'auto'\n")
    done = run("--print-config", "-c", str(tmp_path / "gunicorn.conf.py"), "hello:app")
    assert re.search(r"^workers\s+= auto$", done.stdout, re.MULTILINE), done.stdout
    done = run("--print-config", "hello:app", environment={"WEB_CONCURRENCY": "auto"})
    assert re.search(r"^workers\s+= auto$", done.stdout, re.MULTILINE), done.stdout + done.stderr
