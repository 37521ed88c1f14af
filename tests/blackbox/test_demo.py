"""`make demo` and `make pictures`, briefly: what people are shown works."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from podtest.output import Output
from podtest.server import TESTS
from podtest.waiting import wait_until


@pytest.fixture
def tour():
    """The demonstration, and what it says. Ends with the test, whatever it has come to."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-B", "-m", "demo.tour"],
        cwd=TESTS,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
        start_new_session=True,
    )
    os.close(writing)
    said = Output(reading, "the demonstration")
    yield process, said
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    said.join(5)


def test_where_it_says_to_look_there_is_something(tour):
    process, said = tour
    said.wait_for("Ctrl-C ends all of it")
    addresses = re.findall(r"http://127\.0\.0\.1:\d+\S*", said.text)
    assert len(addresses) >= 5
    shop, dashboard, metrics, prometheus, graph, *_ = addresses
    for address, words in ((shop, "/"), (dashboard, "Podicorn"), (prometheus, "Prometheus"), (graph, "Prometheus")):
        with urllib.request.urlopen(address, timeout=20) as response:
            assert words in response.read().decode(), address

    def counted() -> bool:
        with urllib.request.urlopen(metrics, timeout=20) as response:
            text = response.read().decode()
        return (
            "shop_orders_total{" in text and re.search(r"podicorn_trace_spans_exported_total [1-9]", text) is not None
        )

    wait_until(counted, "orders and spans among the metrics")
    # The first report: rates by way of Prometheus, spans by way of the collector.
    said.wait_for(r"requests per second by Prometheus, [1-9]\d* spans of requests came to the collector")
    said.wait_for(r"slowest: GET /\S* → \d+ in ")
    os.killpg(process.pid, signal.SIGINT)
    wait_until(lambda: process.poll() is not None, lambda: said.text)
    assert process.returncode == 0
    said.wait_for("All has ended")
    left = subprocess.run(["pgrep", "--session", str(process.pid)], capture_output=True, text=True, check=False)
    assert not left.stdout, "processes of it live on"


def test_pictures_are_taken(tmp_path):
    subprocess.run(
        [sys.executable, "-B", "-m", "demo.pictures", str(tmp_path)],
        cwd=TESTS,
        env=os.environ | {"PICTURES_AFTER": "4"},
        check=True,
        timeout=300,
    )
    assert (tmp_path / "dashboard.png").read_bytes().startswith(b"\x89PNG\r\n")
    screen = (tmp_path / "ctl-top.svg").read_text()
    for words in ("podicorn", "workers wanted", "requests/s", "SLOT", "GET /"):
        assert words in screen
