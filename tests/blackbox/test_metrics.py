"""/metrics: what is in it, that its counters never fall, and that Prometheus' own tools take it."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request

import pytest
from podtest import http
from podtest.ports import free_port
from podtest.waiting import wait_until

#: Deaths that the counters have to survive; `PODTEST_RECYCLES=10000` for a long run.
RECYCLES = int(os.environ.get("PODTEST_RECYCLES", "60"))

#: What is there on any machine, whether anything has happened yet or not.
ALWAYS = [
    "accept_queue_length",
    "accept_queue_limit",
    "arrivals_total",
    "build_info",
    "cap_reason",
    "capacity_utilization",
    "connections",
    "connections_accepted_total",
    "control_epoch",
    "demand_erlangs",
    "fork_server_up",
    "generation",
    "log_lines_dropped_total",
    "offered_workers",
    "oom_kills_total",
    "phase",
    "python_gc_collections_total",
    "python_gc_objects_freed_total",
    "python_gc_pause_seconds_total",
    "python_lag_seconds_bucket",
    "rejected_total",
    "reload_failures_total",
    "reloads_total",
    "request_duration_seconds_bucket",
    "request_queue_seconds_bucket",
    "request_timeouts_total",
    "requests_in_flight",
    "requests_queued",
    "requests_total",
    "scale_lease_remaining_seconds",
    "scoreboard_corruptions_total",
    "spawn_seconds",
    "start_time_seconds",
    "startup_done",
    "strays_reaped_total",
    "watch_streams",
    "watch_streams_opened_total",
    "watch_streams_refused_total",
    "worker_boot_failures_total",
    "worker_busy_seconds_total",
    "worker_in_flight",
    "worker_restarts_total",
    "workers",
    "workers_base_target",
    "workers_cap",
    "workers_max",
    "workers_min",
    "workers_target",
]


def test_the_list(serve):
    server = serve("hello:app")
    names = {name for name, _ in server.admin.metrics().samples}
    assert not {f"podicorn_{name}" for name in ALWAYS} - names


def test_arrivals_connections_and_rejections(serve):
    server = serve("hello:app", "--workers", "2")
    for _ in range(5):
        server.get("/")
    with server.connect() as client:
        client.send(b"no request at all\r\n\r\n")
        assert client.read_response().status == 400
    metrics = server.admin.metrics()
    assert metrics.value("podicorn_arrivals_total") == 5
    assert metrics.value("podicorn_connections_accepted_total") == 6
    assert metrics.value("podicorn_rejected_total") == 1
    assert metrics.value("podicorn_requests_total", code_class="4xx") == 1


def test_a_request_that_runs_has_arrived(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/here"))
        gate.wait(1, "here")
        assert server.admin.metrics().value("podicorn_arrivals_total") == 1
        gate.open()
        client.read_response()
    assert server.admin.metrics().value("podicorn_arrivals_total") == 1


def test_the_garbage_collector(serve):
    server = serve("--app-metrics", "counting:application")
    before = server.admin.metrics()
    for _ in range(7):
        server.get("/collect")
    after = server.admin.metrics()
    assert after.value("podicorn_python_gc_collections_total", generation="2") >= 7 + before.value(
        "podicorn_python_gc_collections_total", generation="2"
    )
    assert after.value("podicorn_python_gc_pause_seconds_total") > before.value(
        "podicorn_python_gc_pause_seconds_total"
    )


LAGGING = {
    "asgi": ("faults.lagging:app", "-k", "asgi"),
    "gevent": ("faults.lagging:application", "-k", "gevent"),
    "eventlet": ("faults.lagging:application", "-k", "eventlet"),
    "gthread": ("faults.lagging:hog", "-k", "gthread", "--threads", "2"),
    "gthread-1": ("faults.lagging:hog", "-k", "gthread", "--threads", "1"),
    "tornado": ("faults.lagging:application", "-k", "tornado"),
}


@pytest.mark.parametrize("line", LAGGING.values(), ids=LAGGING.keys())
def test_a_blocked_loop_hub_or_gil_is_seen(serve, line):
    """Two seconds in which nothing else could run: some heartbeat was late by one of them at least."""
    server = serve(*line)

    def late() -> float:
        metrics = server.admin.metrics()
        return metrics.value("podicorn_python_lag_seconds_count") - metrics.value(
            "podicorn_python_lag_seconds_bucket", le="0.5"
        )

    server.get("/2")
    wait_until(lambda: late() > 0, lambda: server.admin.metrics().text)
    assert server.admin.metrics().value("podicorn_worker_lag_seconds") >= 0


def test_lag_is_not_what_a_request_takes(serve):
    """sync: the engine's thread is in the app; nobody waits for anything but the request."""
    server = serve("faults.lagging:application")
    server.get("/2")
    assert server.admin.metrics().value("podicorn_python_lag_seconds_count") == 0


def test_counters_never_fall_across_recycling(serve):
    """Workers end by themselves, are killed, are scaled away, are reloaded."""
    server = serve(
        "--app-metrics", "counting:application", "--workers", "8", "--max-requests", "1", "--graceful-timeout", "5"
    )
    server.admin.wait_workers(8)
    last = server.admin.metrics()
    answered = rounds = 0
    while (deaths := sum(server.admin.pool()["totals"]["restarts"].values())) < RECYCLES:
        for _ in range(16):
            try:
                answered += server.get("/order/book").status == 200
            except (OSError, http.ExchangeError):
                # Its worker was killed.
                pass
        if rounds % 10 == 3:
            for pid in server.worker_pids()[:2]:
                os.kill(pid, signal.SIGKILL)
        if rounds % 50 == 5:
            server.send(signal.SIGHUP)
        now = server.admin.metrics()
        assert not now.fallen_since(last), f"after {deaths} deaths"
        last = now
        rounds += 1
    last = server.admin.metrics()
    assert last.value("podicorn_scoreboard_corruptions_total") == 0
    assert last.value("podicorn_requests_total") >= answered
    assert last.value("shop_orders_total", kind="book") >= answered
    assert len(last.samples) < 1000, "the number of series does not depend on how many workers there have been"
    assert not re.search(r'\bpid="', last.text)


# ---- Prometheus ----


@pytest.fixture
def promtool() -> str:
    return tool("promtool")


def tool(name: str) -> str:
    """The Debian package `prometheus` has them."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is needed here")
        pytest.skip(f"no {name} on this machine")
    return path


def test_promtool_finds_nothing(serve, promtool):
    server = serve("--app-metrics", "counting:application", "--workers", "2", "--max-requests", "4")
    server.admin.wait_workers(2)
    for _ in range(20):
        server.get("/order/book")
    response = server.admin.call("GET", "/metrics", headers={"Accept": "text/plain"})
    assert response.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    assert "podicorn_requests_total" in response.text
    assert "shop_orders_total" in response.text
    done = subprocess.run(
        [promtool, "check", "metrics"], input=response.text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_two_forms_have_the_same_samples(serve):
    server = serve("--app-metrics", "counting:application")
    server.get("/order/book")

    def scrape(kind: str) -> http.Response:
        return server.admin.call("GET", "/metrics", headers={"Accept": kind})

    def names(response: http.Response) -> list[str]:
        return [line.rsplit(" ", 1)[0] for line in response.text.splitlines() if not line.startswith("#")]

    def undisturbed() -> tuple[http.Response, http.Response] | None:
        older, newer, again = map(scrape, ("text/plain", "application/openmetrics-text", "text/plain"))
        return (older, newer) if names(older) == names(again) else None

    # What is looked up once a second, such as a worker's memory, may come between two scrapes.
    older, newer = wait_until(undisturbed, "scrapes with nothing new between them")
    assert newer.header("Content-Type") == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert names(newer) == names(older)


def test_prometheus_scrapes(serve, tmp_path):
    """A real one, which asks for OpenMetrics, keeps the samples and knows their types."""
    program = tool("prometheus")
    server = serve("--app-metrics", "counting:application", "--workers", "2")
    server.admin.wait_workers(2)
    for _ in range(9):
        server.get("/order/book")
    config = {
        "global": {"scrape_interval": "200ms"},
        "scrape_configs": [{"job_name": "pod", "static_configs": [{"targets": [f"127.0.0.1:{server.admin_port}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    port = free_port()
    process = subprocess.Popen(
        [
            program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def ask(path: str):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as response:
                return json.load(response)["data"]
        except OSError:
            return None

    def value(query: str):
        found = ask(f"query?query={query}")
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    try:
        wait_until(lambda: value("up") == 1.0, lambda: str(ask("targets")))
        wait_until(lambda: value("sum(podicorn_requests_total)") == 9.0, "the requests")
        assert value("sum(shop_orders_total)") == 9.0
        assert value("podicorn_workers_target") == 2.0
        assert value("sum(podicorn_request_duration_seconds_count)") == 9.0
        known = ask("targets/metadata?metric=podicorn_requests")
        assert known[0]["type"] == "counter"
        assert value("scrape_samples_scraped") == len(server.admin.metrics().samples)
    finally:
        process.terminate()
        process.wait()
