"""Memory: what is shown, what is recycled before the kernel acts, and what is said when it does."""

import os
import re
import signal
from pathlib import Path

import pytest
from podtest import http
from podtest.cgroups import MIB, V2, under
from podtest.load import Load
from podtest.server import program_path, settle
from podtest.types import wsgi_types
from podtest.waiting import wait_until

#: How long a leaking app is served; `make leak` takes three minutes.
LEAK_SECONDS = float(os.environ.get("PODTEST_LEAK_SECONDS", "25"))


def restarts(server):
    return server.admin.pool()["totals"]["restarts"]


# ---- what is shown ----


def test_what_each_worker_holds_is_shown(serve):
    server = serve("faults.leaks", "--workers", "2", "--preload")
    wait_until(lambda: all(worker["memory"] for worker in server.admin.workers()), "figures of both workers")
    (first, second) = server.admin.workers()
    for worker in (first, second):
        held = worker["memory"]
        assert 0 < held["ussBytes"] <= held["pssBytes"] <= held["rssBytes"]
    fork_server = server.admin.pool()["forkServer"]["memory"]
    assert fork_server["rssBytes"] > 0
    pid = int(server.get("/grow?mib=40").text)
    slot = next(str(worker["slot"]) for worker in (first, second) if worker["pid"] == pid)
    wait_until(
        lambda: server.admin.metrics().value("podicorn_worker_uss_bytes", slot=slot) > 40 * MIB,
        lambda: f"40 MiB more: {server.admin.workers()}",
    )
    metrics = server.admin.metrics()
    assert metrics.value("podicorn_worker_rss_bytes", slot=slot) >= metrics.value(
        "podicorn_worker_pss_bytes", slot=slot
    )
    # The other one has not grown by that.
    other = next(worker["memory"]["ussBytes"] for worker in server.admin.workers() if worker["pid"] != pid)
    assert other < 40 * MIB


def test_the_containers_memory_is_shown(confined):
    server, _ = confined(200, "faults.leaks")
    server.err.wait_for(r"Memory limit: 200 MiB \(cgroup v[12]\)")
    wait_until(lambda: server.admin.pool()["memory"]["cgroup"], "a first look")
    seen = server.admin.pool()["memory"]["cgroup"]
    assert seen["limitBytes"] == 200 * MIB
    assert 0 < seen["unreclaimableBytes"] <= seen["workingSetBytes"] <= seen["currentBytes"] <= 200 * MIB
    metrics = server.admin.metrics()
    assert metrics.value("podicorn_cgroup_memory_bytes", kind="limit") == 200 * MIB
    assert metrics.value("podicorn_cgroup_memory_bytes", kind="working_set") > 0
    assert metrics.value("podicorn_cgroup_oom_kills_total") == 0


def test_workers_are_offered_to_the_oom_killer_before_pid_1(serve, as_pid1):
    server = serve("faults.leaks", "--workers", "2", pid1=as_pid1)
    server.admin.wait_workers(2)

    def score(pid):
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    for worker in server.worker_pids():
        assert score(worker) == min(score(server.pid) + 100, 1000)
    assert [score(pid) for pid in server.fork_servers()] == [score(server.pid)]


# ---- limits of a worker ----


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_above_worker_max_memory_a_replacement_takes_over(serve, preload):
    server = serve("faults.leaks", "--workers", "2", "--worker-max-memory", "60M", *(["--preload"] if preload else []))
    server.admin.wait_workers(2)
    first = set(server.admin.pids())
    with Load(server.address, clients=4, target=lambda _: "/leak?kib=256&ms=5") as load:
        wait_until(lambda: restarts(server)["maxMemory"] >= 3, lambda: f"three of them: {server.err.text}")
    assert set(load.summary()) == {"ok"}, load.failures()[:3]
    assert restarts(server)["crash"] == 0
    server.admin.wait_workers(2)
    assert not first & set(server.admin.pids())
    server.err.wait_for(
        r"\[INFO\] Recycling worker \(pid:\d+\): it holds \d+ MiB, which is above worker_max_memory; its"
    )


@wsgi_types
def test_far_above_it_a_worker_goes_at_once_but_finishes_what_it_has(serve, kind):
    server = serve("faults.leaks", *kind, "--worker-max-memory", "60M", "--worker-max-memory-hard", "80M")
    old = server.get("/").text
    response = server.get("/grow?mib=120")
    assert (response.status, response.text) == (200, old)
    server.err.wait_for(
        r"\[WARNING\] Recycling worker \(pid:\d+\): it holds \d+ MiB, which is above worker_max_memory_hard"
    )
    wait_until(lambda: old not in map(str, server.admin.pids()), "the end of the old worker")
    server.admin.wait_workers(1)
    assert server.get("/").text != old
    assert restarts(server)["maxMemory"] == 1


def test_a_limit_below_what_a_fresh_worker_holds_is_told_and_not_kept(serve):
    server = serve("faults.leaks", "--worker-max-memory", "1M")
    server.err.wait_for(r"\[WARNING\] A fresh worker holds \d+ MiB, more than the 1 MiB that a worker may hold")
    server.admin.wait_workers(1)
    before = server.admin.pids()
    settle(2)
    assert server.admin.pids() == before
    # The first one alone might have grown before it was measured.
    assert restarts(server)["maxMemory"] <= 1


# ---- the container's limit ----


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "requests"),
    [
        (["--workers", "3"], "/leak?kib=256&ms=30"),
        (["--workers", "2", "--threads", "4", "--preload"], "/leak?kib=256&ms=60"),
        (["--workers", "1", "-k", "gevent"], "/leak?kib=256&ms=60"),
    ],
    ids=["sync", "gthread", "one-gevent"],
)
def test_a_leaking_app_is_recycled_before_the_kernel_acts(confined, flags, requests):
    server, box = confined(256, "faults.leaks", *flags)
    with Load(server.address, clients=4, target=lambda _: requests) as load:
        settle(LEAK_SECONDS)
        wait_until(lambda: load.done() // 4 > 512, "twice the container's memory to be leaked")
    assert set(load.summary()) == {"ok"}, load.failures()[:3]
    assert box.kills == 0
    counts = restarts(server)
    assert counts["memoryPressure"] >= 2
    assert (counts["oom"], counts["crash"]) == (0, 0)
    server.err.wait_for(
        r"Recycling worker \(pid:\d+\): the container is nearly out of memory \(\d+ of 256 MiB in use\)"
    )


@pytest.mark.slow
@pytest.mark.skipif(not V2, reason="the groups of cgroup v1 never die together; `make cgroup-v2` runs this")
def test_a_leaking_app_where_all_would_die_together(confined):
    server, box = confined(256, "faults.leaks", "--workers", "3", together=True)
    server.err.wait_for(r"memory.oom.group is 1: where the container runs out of memory the kernel kills all")
    with Load(server.address, clients=4, target=lambda _: "/leak?kib=256&ms=30") as load:
        settle(LEAK_SECONDS)
        wait_until(lambda: load.done() // 4 > 512, "twice the container's memory to be leaked")
    assert set(load.summary()) == {"ok"}, load.failures()[:3]
    assert box.kills == 0
    assert restarts(server)["memoryPressure"] >= 2


@pytest.mark.skipif(not V2, reason="the groups of cgroup v1 never die together; `make cgroup-v2` runs this")
def test_what_dies_together(confined):
    """What no server can help: the docs say it, and so does a line at the start."""
    server, box = confined(160, "faults.leaks", together=True)
    with pytest.raises(http.ExchangeError):
        server.get("/grow?mib=1000")
    assert server.wait_exit() == -signal.SIGKILL
    assert box.kills >= 3, "the arbiter, the fork server and the worker"


def test_a_worker_that_the_kernel_kills_is_named_with_its_request(confined, as_pid1):
    server, box = confined(160, "faults.leaks", "--workers", "2", pid1=as_pid1)
    server.admin.wait_workers(2)
    # Two at once would be killed one after the other, and who is first is the kernel's choice: one is enough.
    with pytest.raises(http.ExchangeError):
        server.get("/grow?mib=1000")
    assert box.kills == 1
    line = server.err.wait_for(r"^.*was killed by the kernel.*$").group()
    assert re.search(
        r"\[ERROR\] Worker \(pid:\d+\) was killed by the kernel: out of memory "
        r"\(the container's limit is 160 MiB\).*, while serving GET /grow for \d+\.\d s",
        line,
    )
    server.admin.wait_workers(2)
    assert (restarts(server)["oom"], restarts(server)["crash"]) == (1, 0)
    memory = server.admin.pool()["memory"]
    assert memory["oomKills"] == 1
    assert memory["cgroup"]["limitBytes"] == 160 * MIB
    kill = memory["lastOomKill"]
    assert (kill["victim"], kill["request"]["method"], kill["request"]["path"]) == ("worker", "GET", "/grow")
    metrics = server.admin.metrics()
    assert metrics.value("podicorn_worker_restarts_total", reason="oom") == 1
    assert metrics.value("podicorn_oom_kills_total") == 1
    assert server.get("/").status == 200
    assert server.stop() == 0


def test_gunicorn_only_wonders(confined):
    """The same with Gunicorn: neither the cause for certain nor the request. tests/parity/README.md shows both."""
    server, box = confined(160, "faults.leaks", "--workers", "2", program="gunicorn")
    with pytest.raises(http.ExchangeError):
        server.get("/grow?mib=1000")
    assert box.kills == 1
    server.err.wait_for(r"was sent SIGKILL! Perhaps out of memory\?")
    assert "/grow" not in server.err.text


@pytest.mark.slow
def test_gunicorn_leaks_until_the_kernel_acts(confined):
    """What the test of the leaking app is worth: with Gunicorn it loses workers and requests."""
    server, box = confined(256, "faults.leaks", "--workers", "3", program="gunicorn")
    with Load(server.address, clients=4, target=lambda _: "/leak?kib=256&ms=30") as load:
        wait_until(lambda: box.kills > 0, "the kernel")
        wait_until(load.failures, "a request that is lost with its worker")
    assert load.summary()["ok"] > 0


def test_a_kill_by_hand_is_not_taken_for_the_kernels(confined):
    server, _ = confined(200, "faults.leaks")
    (worker,) = server.worker_pids()
    os.kill(worker, signal.SIGKILL)
    server.err.wait_for(r"\[ERROR\] Worker \(pid:\d+\) was sent SIGKILL! Not by the kernel for memory")
    server.admin.wait_workers(1)
    assert (restarts(server)["oom"], restarts(server)["crash"]) == (0, 1)


@pytest.mark.slow
def test_a_process_of_the_app_that_the_kernel_kills_is_not_taken_for_a_worker(confined):
    server, box = confined(160, "faults.leaks")
    (worker,) = server.worker_pids()
    assert server.get("/child?mib=1000").status == 200
    assert box.kills == 1
    server.err.wait_for(r"\[ERROR\] The kernel has killed 1 process\(es\) that the app had started")
    assert server.worker_pids() == [worker]
    os.kill(worker, signal.SIGKILL)
    server.err.wait_for("was sent SIGKILL! Not by the kernel for memory")
    assert restarts(server)["oom"] == 0


# ---- cgroup v2, as far as its files go ----


@pytest.fixture
def v2(tmp_path):
    """The files of a container's group under cgroup v2."""
    if os.geteuid():
        if os.environ.get("CI"):
            pytest.fail("root is needed here, to mount a tree of files over /sys/fs/cgroup")
        pytest.skip("only root may mount")
    tree = tmp_path / "cgroup"
    tree.mkdir()
    for name, text in {
        "cgroup.controllers": "cpu memory pids\n",
        "cpu.stat": "usage_usec 5\nnr_periods 10\nnr_throttled 4\nthrottled_usec 900\n",
        "cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n",
        "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=750000\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=250000\n",
        "memory.max": f"{256 * MIB}\n",
        "memory.current": f"{100 * MIB}\n",
        "memory.stat": f"anon {60 * MIB}\ninactive_file {20 * MIB}\nactive_file {10 * MIB}\n",
        "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
        "memory.oom.group": "1\n",
        "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
    }.items():
        (tree / name).write_text(text)
    return tree


def test_v2_is_read_and_a_group_that_dies_together_is_told(serve, v2):
    server = serve("faults.leaks", executable=under(v2, program_path()))
    server.err.wait_for(r"Memory limit: 256 MiB \(cgroup v2\)")
    server.err.wait_for(
        r"\[WARNING\] memory.oom.group is 1: where the container runs out of memory the kernel kills all"
    )
    wait_until(lambda: server.admin.pool()["memory"]["cgroup"], "a first look")
    seen = server.admin.pool()["memory"]["cgroup"]
    assert (seen["version"], seen["killsTogether"]) == (2, True)
    assert (seen["workingSetBytes"], seen["unreclaimableBytes"]) == (80 * MIB, 70 * MIB)
    metrics = server.admin.metrics()
    assert metrics.value("podicorn_psi_memory_seconds_total", kind="some") == 2.5
    assert metrics.value("podicorn_psi_memory_seconds_total", kind="full") == 0.5
    assert metrics.value("podicorn_psi_cpu_seconds_total", kind="some") == 1.5
    assert metrics.value("podicorn_psi_io_seconds_total", kind="some") == 0.75
    assert metrics.value("podicorn_psi_io_seconds_total", kind="full") == 0.25
    assert metrics.value("podicorn_cgroup_oom_group") == 1
