"""The rounds: each server in turn, the others frozen, CPU time read before and after."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from bench import proc, seeing
from bench.alone import Alone, Caller
from bench.check import check, request
from bench.pace import UNEVEN, Pace
from bench.running import Failed, Running, close_all
from bench.scenarios import Scenario
from bench.servers import CONTENDERS
from bench.wrk import Generator

#: Between the thaw and the load, for timers that ran out meanwhile; and behind the warm-up, for the requests that its
#: clients have not waited for: the next clients' first ones would stand behind them.
SETTLE = 0.1


@dataclass(frozen=True)
class Sample:
    """One server in one round of one scenario."""

    scenario: str
    server: str
    round: int
    rate: float
    requests: int
    user_us: float
    system_us: float
    cpu_us: float
    p50_us: float
    p99_us: float
    #: KiB, of the process that served and of the whole tree, with the other servers' processes around.
    pss_worker: int
    pss_tree: int
    #: CPU seconds per second: of the server's tree and of wrk. The one near 1 is the limit.
    server_busy: float
    wrk_busy: float
    errors: int
    #: Lines of access log per request; less than 1: some were dropped.
    log_lines: float
    #: Spans per request: that the collector took, and that were dropped.
    spans: float = 0.0
    spans_dropped: float = 0.0
    #: How much slower than usual the machine was before or after it (see :mod:`bench.pace`).
    slowness: float = 1.0


@dataclass(frozen=True)
class Plan:
    """What the command line asks for, and where things are."""

    scenarios: tuple[Scenario, ...]
    families: tuple[str, ...]
    rounds: int
    seconds: int
    warm_up: float
    programs: Path
    directory: Path
    #: Lists of cores as taskset reads them.
    server_cores: str
    load_cores: str
    all_cores: str
    pace: Pace
    say: Callable[[str], None]

    def contenders(self, scenario: Scenario) -> tuple[str, ...]:
        """Those of the scenario whose family takes part."""
        return tuple(name for name in scenario.contenders if CONTENDERS[name].family in self.families)


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The order of a round: everybody is first once, so that no place in the order is anybody's."""
    start = turn % len(names)
    return [*names[start:], *names[:start]]


@contextmanager
def turn(server: Running, say: Callable[[str], None]) -> Iterator[None]:
    """The server's turn: continued, and stopped again."""
    before = server.frozen
    server.thaw()
    time.sleep(SETTLE)
    yield
    server.freeze()
    if sorted(server.frozen) != sorted(before):
        say(f"{server.name} had the processes {before} and now {server.frozen}; it said:\n{server.said()}")


def measured(server: Running, scenario: Scenario, number: int, plan: Plan, generator: Generator) -> Sample:
    """Warm up, then one run of wrk between two looks at /proc."""
    generator.warm_up(scenario, server.port, plan.warm_up)
    time.sleep(SETTLE)
    if server.contender.logs:
        server.take_log()
    spans = seeing.spans(server.admin_port) if server.contender.traced else seeing.Spans()
    pids = server.tree()
    before = proc.snapshot(pids)
    with seeing.scraping(server.admin_port if server.contender.scraped else None):
        load = generator.run(scenario, server.port, plan.seconds)
    after = proc.snapshot(server.tree())
    cpu = proc.used(before, after)
    if load.requests == 0:
        raise Failed(f"{server.name} answered nothing in {scenario.name}:\n{server.said()}")
    per_request = 1e6 / load.requests
    seen = seeing.spans(server.admin_port) if server.contender.traced else spans
    memory = {pid: proc.pss_kib(pid) for pid in after}
    return Sample(
        scenario=scenario.name,
        server=server.name,
        round=number,
        rate=load.rate,
        requests=load.requests,
        user_us=cpu.user * per_request,
        system_us=cpu.system * per_request,
        cpu_us=cpu.total * per_request,
        p50_us=load.p50_us,
        p99_us=load.p99_us,
        pss_worker=memory[cpu.busiest],
        pss_tree=sum(memory.values()),
        server_busy=cpu.total / load.seconds,
        wrk_busy=load.busy,
        errors=load.errors,
        log_lines=server.take_log() / load.requests if server.contender.logs else 0.0,
        spans=(seen.exported - spans.exported) / load.requests,
        spans_dropped=(seen.dropped - spans.dropped) / load.requests,
    )


def evenly(server: Running, scenario: Scenario, number: int, plan: Plan, generator: Generator) -> Sample:
    """As :func:`measured`, again while the machine is uneven."""
    sample, slowness = plan.pace.evenly(lambda: measured(server, scenario, number, plan, generator))
    return replace(sample, slowness=slowness)


def called(caller: Caller, scenario: Scenario, number: int, plan: Plan) -> Alone:
    """The app of the scenario without a server, while all servers are frozen."""
    caller.measured(number, plan.warm_up)
    alone, _ = plan.pace.evenly(lambda: caller.measured(number, plan.seconds))
    cpu_us = alone.user_us + alone.system_us
    plan.say(f"{scenario.name:10} round {number + 1}/{plan.rounds}  {'no server':18} {cpu_us:23.1f} CPU-us")
    return alone


def run(plan: Plan) -> tuple[list[Sample], list[Alone]]:
    """All scenarios. Neighbours that need the same servers share them."""
    samples: list[Sample] = []
    alone: list[Alone] = []

    def needs(scenario: Scenario) -> tuple[str, tuple[str, ...], int, bool]:
        return scenario.app, plan.contenders(scenario), scenario.workers, scenario.spread

    for (_, names, _, _), group in groupby(plan.scenarios, needs):
        if names:
            of_servers, of_apps = _group(names, list(group), plan)
            samples += of_servers
            alone += of_apps
    return samples, alone


def _group(names: tuple[str, ...], scenarios: list[Scenario], plan: Plan) -> tuple[list[Sample], list[Alone]]:
    first = scenarios[0]
    generator = Generator(plan.directory, plan.all_cores if first.spread else plan.load_cores)
    cores = plan.all_cores if first.spread else plan.server_cores
    samples: list[Sample] = []
    alone: list[Alone] = []
    servers: dict[str, Running] = {}
    callers: dict[str, Caller] = {}
    sink = seeing.Sink()
    try:
        for name in names:
            contender = CONTENDERS[name]
            servers[name] = Running(
                contender,
                first.app,
                plan.directory,
                plan.programs,
                cores=cores,
                workers=first.workers,
                variables=sink.environment() if contender.traced else None,
            )
        for server in servers.values():
            server.wait_ready(request(first))
        for server in servers.values():
            server.settle()
            for scenario in scenarios:
                check(server, scenario)
            server.freeze()
        callers.update((scenario.name, Caller(scenario, plan)) for scenario in scenarios if scenario.alone)
        for scenario in scenarios:
            for number in range(plan.rounds):
                for name in rotated(names, number):
                    with turn(servers[name], plan.say):
                        sample = evenly(servers[name], scenario, number, plan, generator)
                    plan.say(
                        f"{scenario.name:10} round {number + 1}/{plan.rounds}  {name:18} {sample.rate:9.0f} req/s "
                        f"{sample.cpu_us:8.1f} CPU-us  p99 {sample.p99_us:8.0f} us"
                        + (f"  {sample.errors} errors" if sample.errors else "")
                        + (f"  at {sample.slowness:.2f} times the usual pace" if sample.slowness > UNEVEN else "")
                    )
                    samples.append(sample)
                if caller := callers.get(scenario.name):
                    alone.append(called(caller, scenario, number, plan))
    finally:
        for caller in callers.values():
            caller.close()
        close_all(servers.values())
        sink.close()
    return samples, alone
