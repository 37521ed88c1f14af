"""What one scrape of `/metrics` costs the server, with one worker and with many."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podtest.http import Connection, head

from bench import proc
from bench.running import Running
from bench.servers import CONTENDERS
from bench.targets import Spread

if TYPE_CHECKING:
    from bench.measure import Plan

WORKERS = (1, 8, 64)
#: Of one measurement.
SCRAPES = 200


@dataclass(frozen=True)
class Scrape:
    """One measurement: means and quantiles of many scrapes, one after the other on a connection that is kept."""

    server: str
    workers: int
    round: int
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    kib: float


def run(plan: "Plan") -> list[Scrape]:
    """Each number of workers in turn, of an app that is preloaded and idle."""
    found = []
    for workers in WORKERS:
        server = Running(
            CONTENDERS["podicorn-preload"],
            "plain:hello",
            plan.directory,
            plan.programs,
            cores=plan.server_cores,
            workers=workers,
        )
        try:
            server.wait_ready()
            server.settle()
            for number in range(plan.rounds):
                found.append(measured(server, workers, number))
                plan.say(
                    f"scrape     {workers:2} workers  {found[-1].cpu_ms:6.2f} CPU-ms  p99 {found[-1].p99_ms:6.2f} ms"
                )
        finally:
            server.close()
    return found


def measured(server: Running, workers: int, number: int) -> Scrape:
    """So many scrapes between two looks at /proc."""
    times, size = [], 0
    before = proc.snapshot(server.tree())
    with Connection(("127.0.0.1", server.admin_port)) as connection:
        for _ in range(SCRAPES):
            began = time.perf_counter()
            connection.send(head("GET", "/metrics"))
            size = len(connection.read_response().body)
            times.append((time.perf_counter() - began) * 1e3)
    cpu = proc.used(before, proc.snapshot(server.tree()))
    ordered = sorted(times)
    return Scrape(
        server=server.name,
        workers=workers,
        round=number,
        cpu_ms=cpu.total / SCRAPES * 1e3,
        p50_ms=Spread.of(ordered).median,
        p99_ms=ordered[len(ordered) * 99 // 100],
        kib=size / 1024,
    )
