"""What an app counts with prometheus_client is part of the server's /metrics, and leaves nothing behind."""

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest
from podtest import http
from podtest.waiting import wait_until


@pytest.fixture
def serve(serve):
    """With the setting; `plain` starts servers without it."""

    def start(*arguments, **options):
        return serve("--app-metrics", *arguments, **options)

    start.plain = serve
    return start


TYPES = {
    "sync": ("counting:application", "-k", "sync"),
    "gthread": ("counting:application", "-k", "gthread", "--threads", "4"),
    "gevent": ("counting:application", "-k", "gevent"),
    "eventlet": ("counting:application", "-k", "eventlet"),
    "asgi": ("counting:app", "-k", "asgi"),
    "tornado": ("counting:application", "-k", "tornado"),
    "third-party": ("counting:application", "-k", "socket_types.worker_classes.Sync"),
    "preload": ("counting:application", "--preload"),
}
every_kind = pytest.mark.parametrize("line", TYPES.values(), ids=TYPES.keys())


def directory_of(server) -> Path:
    """The server's directory, as its workers know it."""
    for pid in server.worker_pids():
        # Where workers are recycled, one may end under the eyes.
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                path = line.split(maxsplit=5)[-1]
                if "podicorn-metrics-" in path:
                    return Path(path).parent
    raise AssertionError("no worker has one of its files open")


def order(server, kind: str, times: int, size: int = 1) -> None:
    """So many orders, on connections of their own, so that all workers get some."""
    for _ in range(times):
        assert server.get(f"/order/{kind}/{size}").status == 200


@every_kind
def test_the_values_of_all_workers_add_up(serve, line):
    server = serve(*line, "--workers", "3")
    server.admin.wait_workers(3)
    order(server, "pen", 5, 3)
    # Later than the pens, so that no worker lowers what it has said of itself.
    order(server, "book", 20, 7)
    metrics = server.admin.metrics()
    assert metrics.value("shop_orders_total", kind="book") == 20
    assert metrics.value("shop_orders_total", kind="pen") == 5
    assert metrics.value("shop_order_seconds_bucket", le="0.1") == 0
    assert metrics.value("shop_order_seconds_bucket", le="1.0") == 25
    assert metrics.value("shop_order_seconds_bucket", le="+Inf") == 25
    assert metrics.value("shop_order_seconds_count") == 25
    assert metrics.value("shop_order_seconds_sum") == 12.5
    assert metrics.value("shop_order_bytes_sum") == 2500
    assert metrics.value("shop_highest") == 7
    assert metrics.kinds["shop_orders"] == "counter"
    assert "pid=" not in metrics.text, "pids are without number"


@every_kind
def test_they_survive_recycling(serve, line):
    server = serve(*line, "--workers", "2", "--max-requests", "5", "--graceful-timeout", "5")
    server.admin.wait_workers(2)
    # In the end there may be none but new workers, which have opened no file yet.
    order(server, "book", 1)
    directory = directory_of(server)
    last = server.admin.metrics()
    orders = 1
    # A worker goes on until its replacement is ready, so how many there are depends on the machine.
    while server.admin.pool()["totals"]["restarts"]["maxRequests"] < 4:
        order(server, "book", 10)
        orders += 10
        now = server.admin.metrics()
        assert not now.fallen_since(last)
        last = now
    assert server.admin.metrics().value("shop_orders_total", kind="book") == orders
    # By slot, not by process; how many slots there are at a time depends on the machine, too.
    owners = {name.rsplit("_", 1)[1] for name in os.listdir(directory)}
    # The app is imported there under --preload.
    owners -= {f"{pid}.db" for pid in server.fork_servers()}
    assert all(re.fullmatch(r"(slot[0-9]{1,2}|dead)\.db", owner) for owner in owners), sorted(owners)


def test_a_killed_worker_takes_its_moment_along_and_not_its_counts(serve):
    server = serve("counting:application", "--workers", "1")
    order(server, "book", 3)
    server.get("/level/7")
    assert server.admin.metrics().value("shop_level", slot="0") == 7
    with server.connect() as client:
        client.send(http.head("GET", "/die"))
        assert client.ended()
    server.admin.wait_workers(1)
    wait_until(lambda: server.get("/").status == 200, "the next worker")
    metrics = server.admin.metrics()
    assert metrics.value("shop_orders_total", kind="book") == 3
    assert "shop_level{" not in metrics.text.replace('shop_level{slot="0"} 0.0', "")
    assert not [key for key, value in metrics.samples.items() if key[0] == "shop_running" and value != 0]


def test_children_of_the_app_count_and_leave_no_files(serve):
    server = serve("counting:application", "--workers", "1")
    for _ in range(5):
        server.get("/child")
        server.admin.metrics()
    assert server.admin.metrics().value("shop_orders_total", kind="child") == 5
    files = os.listdir(directory_of(server))
    assert not [name for name in files if name.startswith("counter_") and not name.endswith(("slot0.db", "dead.db"))]


def test_an_app_that_collects_by_itself_sees_the_same(serve):
    server = serve("counting:application", "--workers", "2")
    server.admin.wait_workers(2)
    order(server, "book", 10)
    for _ in range(3):
        server.get("/child")
    server.admin.metrics()
    text = server.get("/own").text
    assert 'shop_orders_total{kind="book"} 10.0' in text
    assert 'shop_orders_total{kind="child"} 3.0' in text


def test_reload_and_scaling_keep_the_counts(serve):
    server = serve("counting:application", "--workers", "4")
    server.admin.wait_workers(4)
    order(server, "book", 20)
    before = server.admin.metrics()
    server.send(signal.SIGHUP)
    wait_until(lambda: server.admin.pool()["generation"] == 2, "the second generation")
    server.admin.scale(1)
    server.admin.wait_workers(1)
    assert not server.admin.metrics().fallen_since(before)
    order(server, "book", 5)
    assert server.admin.metrics().value("shop_orders_total", kind="book") == 25


def test_nothing_is_left_behind(serve):
    server = serve("counting:application")
    order(server, "book", 1)
    directory = directory_of(server)
    assert directory.exists()
    assert server.stop() == 0
    assert not directory.exists()


def test_what_a_killed_server_leaves_the_next_one_removes(serve):
    server = serve("counting:application")
    order(server, "book", 1)
    directory = directory_of(server)
    server.send(signal.SIGKILL)
    server.wait_exit()
    # Any server that starts removes it, those of other tests as well.
    other = serve("counting:application")
    assert not directory.exists()
    order(other, "book", 2)
    assert other.admin.metrics().value("shop_orders_total", kind="book") == 2


@pytest.mark.parametrize("by", ["environment", "raw_env"])
def test_a_directory_of_the_users_own_is_read_and_left_to_the_user(serve, tmp_path, by):
    variable = "PROMETHEUS_MULTIPROC_DIR"
    line = ("--env", f"{variable}={tmp_path}") if by == "raw_env" else ()
    server = serve("counting:application", *line, environment={} if line else {variable: str(tmp_path)})
    order(server, "book", 2)
    files = sorted(tmp_path.glob("*.db"))
    assert files
    metrics = server.admin.metrics()
    assert metrics.value("shop_orders_total", kind="book") == 2
    assert "pid=" not in metrics.text
    (pid,) = server.worker_pids()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.admin.pids() and pid not in server.admin.pids(), "the next worker")
    order(server, "book", 1)
    assert server.admin.metrics().value("shop_orders_total", kind="book") == 3
    assert server.stop() == 0
    assert set(files) <= set(tmp_path.glob("*.db"))


def test_it_has_to_be_switched_on(serve):
    server = serve.plain("counting:application")
    order(server, "book", 2)
    assert "shop_orders" not in server.admin.metrics().text


def test_a_config_file_that_imports_the_library_first(serve, config):
    """As Gunicorn's documentation of the library says."""
    hooks = (
        "from prometheus_client import multiprocess\n"
        "def child_exit(server, worker):\n"
        "    multiprocess.mark_process_dead(worker.pid)\n"
    )
    server = serve("-c", config(hooks), "counting:application", "--workers", "2", "--max-requests", "5")
    server.admin.wait_workers(2)
    order(server, "book", 30)
    assert server.admin.metrics().value("shop_orders_total", kind="book") == 30
    assert "Hook" not in server.err.text


def test_hostile_files_hurt_nobody(serve):
    server = serve("counting:application")
    order(server, "book", 1)
    directory = directory_of(server)
    (directory / "counter_slot7.db").write_bytes(b"\xff" * 100)
    os.mkfifo(directory / "counter_slot8.db")
    (directory / "counter_slot9.db").symlink_to("/dev/zero")
    (directory / "counter_slot0.db").write_bytes(b"")
    assert server.admin.get("/metrics").text.endswith("# EOF\n")
    assert server.admin.ready()
