"""`make demo`: a shop under load, with a collector of traces and a Prometheus beside it. Prints where to look, and once
in ten seconds what there is to see. Ctrl-C ends all of it; SECONDS=60 ends it by itself.
"""

import math
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from types import FrameType

from podtest.collector import Collector, Span
from podtest.server import TESTS, Server, program_path

from demo.prometheus import Prometheus
from demo.shop import a_page
from demo.traffic import Traffic

REPORT_EVERY = 10.0
SERVER_ARGUMENTS = (
    "shop:application", "--workers", "2..12", "--preload", "--app-metrics", "--slow-request", "2",
    "--log-level", "warning",
)  # fmt: skip
QUERIES = (
    "sum by (code_class) (rate(podicorn_requests_total[15s]))",
    "histogram_quantile(0.95, sum by (le) (rate(podicorn_request_duration_seconds_bucket[15s])))",
    "podicorn_workers_target",
    "sum by (kind) (rate(shop_orders_total[30s]))",
)


def rate(seconds: float) -> float:
    """Two minutes of a day: quiet, a swell, and a rush."""
    return 55 + 35 * math.sin(seconds / 19) + (80 if seconds % 120 > 90 else 0)


def slowest(spans: list[Span]) -> str:
    """One request of many, in words."""
    span = max(spans, key=lambda span: span.end - span.start)
    attributes = span.attributes
    return (
        f"{attributes['http.request.method']} {attributes['url.path']} → {attributes.get('http.response.status_code')} "
        f"in {(span.end - span.start) / 1e9:.2f} s, of which {attributes['podicorn.queue.duration'] * 1000:.0f} ms "
        f"in the queue, on slot {attributes['podicorn.worker.slot']} (trace {span.trace})"
    )


def report(server: Server, collector: Collector, prometheus: Prometheus) -> str:
    """What has happened since the last one."""
    spans = collector.spans()
    collector.clear()
    requests = [span for span in spans if span.scope == "podicorn" and "url.path" in span.attributes]
    pool = server.admin.pool()
    per_second = prometheus.value("sum(rate(podicorn_requests_total[10s]))")
    lines = [
        f"{len(pool['workers'])} workers ({pool['scale']['target']} wanted), "
        + ("no rate yet" if per_second is None else f"{per_second:.0f} requests per second by Prometheus")
        + f", {len(requests)} spans of requests came to the collector"
    ]
    if decision := pool["scale"]["decision"]:
        lines.append(f"scaling: {decision['message']}")
    if requests:
        lines.append(f"slowest: {slowest(requests)}")
    return "\n    ".join(lines)


def main() -> int:
    """Until Ctrl-C, TERM or the time is up; 1 where the server has ended by itself."""
    seconds = float(os.environ.get("SECONDS") or "inf")
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    with ExitStack() as stack:
        collector = stack.enter_context(Collector())
        place = TESTS / "demo"
        environment = {"PYTHONPATH": str(place)} | collector.environment(OTEL_BSP_SCHEDULE_DELAY="500")
        server = stack.enter_context(Server(*SERVER_ARGUMENTS, cwd=place, environment=environment))
        server.wait_ready()
        host, port = server.admin.address
        prometheus = stack.enter_context(Prometheus(f"{host}:{port}"))
        stack.enter_context(Traffic(server.address, rate, a_page))
        print(
            f"""A shop is under load at http://127.0.0.1:{server.port}/

  http://{host}:{port}/                     the dashboard
  http://{host}:{port}/metrics              what Prometheus reads, the app's own shop_orders_total with it
  http://127.0.0.1:{prometheus.port}/                    Prometheus, which reads it each second
  {prometheus.graph(*QUERIES)}
                                             rates, latency, workers and orders, drawn
  {collector.address}                     the collector: it takes OTLP over HTTP, below is what comes
  {program_path()} ctl --admin {host}:{port} top
  {program_path()} ctl --admin {host}:{port} stack 0
  kill -9 {server.worker_pids()[0]}
                                             a worker dies: the dashboard says of what, and while doing what

Ctrl-C ends all of it.
""",
            flush=True,
        )
        began = time.monotonic()
        while not stop.wait(min(REPORT_EVERY, max(0.0, began + seconds - time.monotonic()))):
            passed = time.monotonic() - began
            if not server.running():
                print(f"The server has ended with {server.exit_code}:\n{server.err.text}", file=sys.stderr)
                return 1
            print(f"{passed:4.0f} s  {report(server, collector, prometheus)}", flush=True)
            if passed >= seconds:
                break
    print("All has ended.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
