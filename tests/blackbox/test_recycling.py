"""Workers are replaced, for whatever reason, and no client notices: one more is ready before one goes.

``make recycle`` does the first test with 100,000 requests.
"""

import signal
import threading

import pytest
from podtest import crowd, http
from podtest.waiting import wait_until


@pytest.fixture(scope="session")
def crowd_program(tmp_path_factory):
    return crowd.build(tmp_path_factory.mktemp("crowd"))


@pytest.mark.parametrize("name", crowd.OURS)
def test_a_crowd_does_not_notice_max_requests(crowd_program, name):
    report, replaced = crowd.recycle(crowd_program, crowd.LINES[name], requests=4000, replacements=20)
    print(report, replaced)
    assert report.errors == {}, report.details
    assert report.early == 0
    assert replaced >= 20
    assert report.retries * 100 <= report.responses


@pytest.mark.parametrize("name", ["sync", "gthread-4", "asgi"])
def test_a_crowd_notices_neither_reloads_nor_scaling(serve, crowd_program, name):
    server = serve("--workers", "2", *crowd.LINES[name])
    server.admin.wait_workers(2)
    report = crowd.Report()
    options = {"process": 0, "warm": 8000, "keeping": 20, "single": 20, "pause": 2}
    address = f"127.0.0.1:{server.port}"

    def reloaded() -> int:
        return server.admin.pool()["totals"]["restarts"]["reload"]

    def ask() -> None:
        # Again until a reload has replaced somebody: how long one crowd stays depends on the machine.
        while not report.errors:
            report.add(crowd.gather(crowd_program, address, **options))
            if reloaded():
                return

    clients = threading.Thread(target=ask)
    clients.start()
    while clients.is_alive():
        for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP):
            server.send(number)
            clients.join(0.5)
    print(report)
    assert report.errors == {}, report.details
    assert report.early == 0
    assert report.responses >= options["warm"]
    assert report.retries * 100 <= report.responses
    assert reloaded() > 0


def test_max_unavailable_has_no_worker_on_top(serve, gate):
    """With 2 of 3 allowed to be missing the old ones go first, and one serves all the time."""
    config = ("--workers", "3", "--max-unavailable", "2", "--max-requests", "1")
    server = serve(*config, "faults.import_held:application", ready=False, environment=gate.environment)
    gate.release(*gate.wait(3, "import"))
    server.admin.wait_workers(3)

    def strength() -> int:
        return sum(worker["state"] in ("starting", "idle", "busy") for worker in server.admin.workers())

    # Each has served its request when the three have gone round; replacements are held at their import.
    wait_until(lambda: server.get("/").status == 200 and gate.seen.count("import") == 3 + 2, "two replacements")
    assert strength() <= 3
    assert server.get("/").status == 200
    gate.open()
    wait_until(lambda: len(server.admin.ready_workers()) == 3, "three workers")


def test_the_busiest_is_replaced_last(serve, gate):
    """Reload: the worker with a request stays until the others have been replaced."""
    server = serve("probe:app", "--workers", "3", environment=gate.environment)
    old = server.admin.wait_workers(3)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/busy"))
        (visitor,) = gate.wait(1, "busy")
        server.send(signal.SIGHUP)
        wait_until(lambda: not set(server.admin.pids()) & (set(old) - {visitor.pid}), "the idle ones' replacement")
        gate.open()
        assert client.read_response().header("X-Pid") == str(visitor.pid)
    wait_until(lambda: not set(server.admin.pids()) & set(old), "the last one's")
