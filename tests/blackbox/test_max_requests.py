"""--max-requests: the replacement is ready before the old worker leaves."""

import pytest
from podtest.load import Load
from podtest.waiting import wait_until


def test_no_request_fails_over_thousands(serve, as_pid1):
    server = serve("probe:app", "--workers", "2", "--max-requests", "100", "--max-requests-jitter", "20", pid1=as_pid1)
    server.admin.wait_workers(2)
    seen: set[str] = set()
    with Load(
        server.address, clients=4, target=lambda _: "/pid", limit=4000, check=lambda r: not seen.add(r.text)
    ) as load:
        load.join()
    assert load.summary() == {"ok": 4000}
    # A worker serves beyond its number until the replacement is ready, so that there is no exact count.
    assert len(seen) > 4
    server.admin.wait_workers(2)
    assert server.admin.pool()["totals"]["restarts"]["maxRequests"] >= len(seen) - 4
    assert server.admin.pool()["totals"]["requests"]["2xx"] == 4000


def test_one_worker_is_replaced_without_a_gap(serve):
    server = serve("probe:app", "--max-requests", "10")
    seen = set()

    def four_workers():
        seen.add(server.get("/pid").text)
        assert server.admin.status("/readyz") == 200
        return len(seen) > 3

    # A replacement takes as long as it takes: the old worker serves meanwhile.
    wait_until(four_workers, "answers of four workers", every=0)


def test_the_old_worker_serves_until_the_new_one_is_ready(serve, gate):
    server = serve("faults.import_held:application", "--max-requests", "5", ready=False, environment=gate.environment)
    gate.release(*gate.wait(1, "import"))
    server.wait_ready()
    (old,) = server.admin.pids()
    for _ in range(5):
        assert server.get().header("X-Pid") == str(old)
    (replacement,) = gate.wait(1, "import")
    for _ in range(50):
        assert server.get().header("X-Pid") == str(old)
    gate.release(replacement)
    wait_until(lambda: server.admin.pids() == [replacement.pid], "the change")
    # The old one may take a connection until it has heard that it may go.
    wait_until(lambda: server.get().header("X-Pid") == str(replacement.pid), "an answer of the replacement")
    assert server.get().header("X-Pid") == str(replacement.pid)


def test_a_replacement_that_cannot_boot_leaves_the_old_worker_at_work(serve, tmp_path):
    source = tmp_path / "shop.py"
    source.write_text("from probe import application\n")
    server = serve("shop", "--max-requests", "5", cwd=tmp_path)
    (old,) = server.admin.pids()
    source.write_text("raise RuntimeError('half an upload')\n")
    for _ in range(100):
        assert server.get("/pid").text == str(old)
    server.err.wait_for("half an upload")
    assert server.admin.status("/readyz") == 200


def test_it_is_said_in_the_log(serve):
    server = serve("probe:app", "--max-requests", "3")
    for _ in range(6):
        server.get("/")
    server.err.wait_for(r"[Aa]utorestarting worker after current request|max_requests|max-requests")


@pytest.mark.parity
def test_zero_means_never(serve):
    server = serve("probe:app", "--max-requests", "0")
    assert len({server.get("/pid").text for _ in range(300)}) == 1
