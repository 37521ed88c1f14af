"""What the server is for: a Django app as PID 1, under load, while its workers are killed and a bad release comes."""

import os
import random
import signal
from pathlib import Path

import pytest
from podtest import processes
from podtest.load import Load
from podtest.server import copy_apps
from podtest.waiting import wait_until

pytestmark = [pytest.mark.pid1, pytest.mark.usefixtures("namespaces")]

KILLS = 20
WORKERS = 4


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_twenty_random_kills_then_a_broken_release(serve, django_db, tmp_path, preload):
    release: Path = copy_apps(tmp_path / "release", "django_site", "gate_client.py")
    server = serve(
        "django_site.wsgi", "--workers", str(WORKERS), *(["--preload"] if preload else []),
        pid1=True, cwd=release, reach=[str(tmp_path)],
        environment={"DJANGO_DB": str(django_db), "PYTHONPATH": ""},
    )  # fmt: skip
    server.admin.wait_workers(WORKERS)
    chance = random.Random(20)
    killed: list[int] = []

    with Load(
        server.address, clients=6, target=lambda n: f"/who/?n={n}", check=lambda r: r.json()["notes"] == 10
    ) as load:
        for _ in range(KILLS):
            done = load.done()
            wait_until(lambda done=done: load.done() >= done + 20, "more answers")
            alive = wait_until(server.worker_pids, "a worker to kill")
            victim = chance.choice(alive)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
            wait_until(lambda victim=victim: processes.read(victim) is None, f"the reaping of {victim}")
        server.admin.wait_workers(WORKERS)

        failures = load.failures()
        # A sync worker runs one request. Beside it, it may hold connections whose request it has not looked at yet.
        assert all(failure.closed for failure in failures), [f for f in failures if not f.closed]
        assert len(failures) <= 2 * KILLS, load.summary()
        assert load.done() > 10 * len(failures)

        # ---- a release that cannot start ----
        settings = release / "django_site" / "settings.py"
        good = settings.read_text()
        settings.write_text(good + "\nraise RuntimeError('the new release is broken')\n")
        before_reload = len(load.failures())
        workers = set(server.admin.pids())
        server.send(signal.SIGHUP)
        wait_until(lambda: server.admin.pool()["reloads"]["failed"] == 1, "the failed reload")
        assert server.admin.status("/readyz") == 200
        server.err.wait_for("the new release is broken")
        assert set(server.admin.pids()) == workers
        done = load.done()
        wait_until(lambda: load.done() >= done + 100, "more answers")

        # ---- and one that can ----
        settings.write_text(good)
        server.send(signal.SIGHUP)
        wait_until(lambda: server.admin.pool()["generation"] >= 2, "the new release")
        server.admin.wait_workers(WORKERS)
        done = load.done()
        wait_until(lambda: load.done() >= done + 100, "more answers")
        assert len(load.failures()) == before_reload, "neither the broken nor the good release cost a request"

    assert not server.zombies()
    assert len(server.fork_servers()) == 1
    assert server.stop() == 0
    print(f"killed {len(killed)}, {load.summary()}")


def test_only_the_request_of_the_killed_worker_fails(serve, gate, django_db):
    """Exactly known: four held requests, one worker killed, three answers and one closed connection."""
    from podtest import http

    server = serve(
        "django_site.wsgi", "--workers", "4", pid1=True, reach=[str(django_db.parent), os.path.dirname(gate.path)],
        environment={"DJANGO_DB": str(django_db), **gate.environment},
    )  # fmt: skip
    server.admin.wait_workers(4)
    clients = {}
    for number in range(4):
        client = server.connect()
        client.send(http.head("GET", f"/held/{number}/"))
        (visitor,) = gate.wait(1, str(number))
        clients[visitor.label] = (client, visitor.pid)
    victim_client, victim = clients.pop("2")
    os.kill(server.outer(victim), signal.SIGKILL)
    assert victim_client.read_to_end() == b""
    assert victim_client.end in (http.End.FIN, http.End.RESET)
    gate.open()
    for client, pid in clients.values():
        assert client.read_response().json() == {"pid": pid}
    server.admin.wait_workers(4)
