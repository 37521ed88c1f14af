"""The shared map is hostile ground for PID 1: user code in a worker may write anything into it."""

import pytest
from podtest.server import settle
from podtest.waiting import wait_until

PATTERNS = ["ff", "00", "01", "7f", "80", "random?seed=1", "random?seed=2", "random?seed=3"]


@pytest.fixture
def server(serve):
    made = serve("faults.scribbler:application", "--workers", "3", "--timeout", "30")
    made.admin.wait_workers(3)
    return made


def heal(server) -> None:
    """The workers' next beats publish the truth again; whoever was taken for dead is replaced."""
    server.admin.wait_workers(3)


def test_the_memory_file_cannot_be_resized_or_reached(server):
    results = server.get("/truncate").json()
    assert results, "the scoreboard was not found: the test is blind"
    assert "truncated" not in results.values(), results
    assert not any(path.startswith("/proc/self/fd/") for path in results), "the descriptor is still open"
    assert server.admin.ready()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_scribbled_map_hurts_neither_arbiter_nor_probes(server, pattern):
    for _ in range(20):
        server.get("/")
    before = server.admin.metrics()
    size = int(server.get(f"/scribble/{pattern}").text)
    assert size > 4096
    assert server.admin.status("/livez") == 200
    after = server.admin.metrics()
    assert not after.fallen_since(before)
    server.admin.get("/workers")
    heal(server)
    assert server.admin.status("/readyz") == 200
    assert not server.admin.metrics().fallen_since(after)
    assert server.get("/").status == 200


def test_counters_never_fall_over_many_scribbles_and_deaths(server):
    last = server.admin.metrics()
    for round_number in range(10):
        server.get("/")
        server.get(f"/scribble/random?seed={round_number}")
        now = server.admin.metrics()
        assert not now.fallen_since(last)
        last = now
    import os
    import signal

    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)
    heal(server)
    assert not server.admin.metrics().fallen_since(last)


def test_scribbled_numbers_stay_believable(server):
    """A worker cannot make the server claim more requests than there can have been."""
    for _ in range(5):
        server.get("/")
    server.get("/scribble/ff")
    heal(server)
    settle(2)
    totals = server.admin.pool()["totals"]
    assert sum(totals["requests"].values()) < 1_000_000, totals


def test_it_still_scales_reloads_and_ends(server):
    import signal

    server.get("/scribble/random?seed=9")
    server.send(signal.SIGTTIN)
    server.admin.wait_workers(4)
    server.get("/scribble/ff")
    server.send(signal.SIGHUP)
    wait_until(lambda: server.admin.pool()["generation"] == 2, "the second generation")
    server.get("/scribble/00")
    assert server.stop() == 0


@pytest.mark.parametrize("pattern", ["00", "ff"])
def test_new_workers_boot_on_a_scribbled_map(server, pattern):
    """The header is shared, too: what it says of the map's kind may be gone when the next worker comes."""
    import os
    import signal

    server.get(f"/scribble/{pattern}")
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.admin.pool()["totals"]["restarts"]["crash"] == 3, "three counted crashes")
    server.admin.wait_workers(3)
    assert server.get("/").status == 200
    assert server.admin.pool()["boot"]["failures"] == 0


def test_counters_survive_the_death_of_a_worker(serve):
    import os
    import signal

    server = serve("probe:app", "--workers", "2")
    server.admin.wait_workers(2)
    for _ in range(50):
        server.get("/")
    before = server.admin.metrics()
    served = sum(server.admin.pool()["totals"]["requests"].values())
    assert served == 50
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.admin.pool()["totals"]["restarts"]["crash"] == 2, "two counted crashes")
    server.admin.wait_workers(2)
    after = server.admin.metrics()
    assert not after.fallen_since(before)
    assert server.admin.pool()["totals"]["requests"]["2xx"] == 50
