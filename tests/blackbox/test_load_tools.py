"""Load tools: every request is answered, rightly and in order. Nothing here says how fast."""

import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from podtest.clients import CLIENTS, run_tool
from podtest.types import every_type, keeping_types
from podtest.waiting import wait_until

REQUESTS = 3000


def h2load(*arguments: str, requests: int = REQUESTS) -> None:
    """With HTTP/1.1. Every request must succeed."""
    done = run_tool("h2load", "--h1", "-n", str(requests), *arguments)
    out = done.stdout.decode()
    counts = f"requests: {requests} total, {requests} started, {requests} done, {requests} succeeded"
    assert f"{counts}, 0 failed, 0 errored, 0 timeout" in out
    assert f"status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx" in out


def answered(server) -> int:
    return int(server.admin.metrics().value("podicorn_requests_total", code_class="2xx"))


def counted(server, requests: int) -> None:
    """The server has counted just so many; a response may be with its client a little before that."""
    wait_until(lambda: answered(server) >= requests, lambda: f"{requests} requests: {answered(server)}")
    assert answered(server) == requests


@every_type
def test_h2load(serve, kind):
    server = serve("probe:app", *kind)
    h2load("-c", "16", f"http://127.0.0.1:{server.port}/")
    counted(server, REQUESTS)
    h2load("-c", "4", f"http://127.0.0.1:{server.port}/bytes/100000", requests=500)
    h2load("-c", "4", f"http://127.0.0.1:{server.port}/stream?n=20&size=5000", requests=500)


@every_type
def test_h2load_with_bodies(serve, kind, tmp_path):
    server = serve("probe:app", *kind)
    (tmp_path / "body").write_bytes(b"b" * 50_000)
    h2load("-c", "8", "-d", str(tmp_path / "body"), f"http://127.0.0.1:{server.port}/echo", requests=500)
    counted(server, 500)


@keeping_types
def test_h2load_pipelines(serve, kind):
    server = serve("probe:app", *kind)
    h2load("-c", "8", "-m", "16", f"http://127.0.0.1:{server.port}/bytes/2000")
    counted(server, REQUESTS)


def wrk(server, connections: int, depth: int = 1, size: int = 10, seconds: int = 2) -> None:
    """So long, on one thread. Every response must be right."""
    order = "in-order" if connections == 1 else "any-order"
    url = f"http://127.0.0.1:{server.port}"
    script = ["-s", str(CLIENTS / "wrk.lua"), url, "--", str(depth), str(size), order]
    done = run_tool("wrk", "-d", str(seconds), "-t", "1", "-c", str(connections), "--timeout", "60", *script)
    out = done.stdout.decode()
    counted = json.loads(re.findall(r"^\{.*\}$", out, re.M)[-1])
    assert counted.pop("right") >= 100
    assert set(counted.values()) == {0}, counted
    assert "Socket errors" not in out
    assert "Non-2xx" not in out


@every_type
@pytest.mark.parametrize("connections", [1, 32])
def test_wrk(serve, kind, connections):
    wrk(serve("probe:app", *kind), connections)


@keeping_types
@pytest.mark.parametrize("connections", [1, 16])
@pytest.mark.parametrize("size", [10, 5000])
def test_wrk_pipelines(serve, kind, connections, size):
    wrk(serve("probe:app", *kind), connections, depth=16, size=size)


@every_type
def test_a_reload_beside_wrk(serve, kind):
    """No connection is cut, though each of them always carries a request."""
    server = serve("probe:app", *kind, "--workers", "2")
    old = set(server.admin.pids())
    with ThreadPoolExecutor(1) as beside:
        load = beside.submit(wrk, server, 32, seconds=6)
        wait_until(lambda: answered(server) >= 100, "the first requests")
        server.send(signal.SIGHUP)
        wait_until(lambda: old.isdisjoint(server.admin.wait_workers(2)), "new workers")
        load.result()
