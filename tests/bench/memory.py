"""Memory of servers that run alone, and how long a new worker takes from the fork until it can serve."""

import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from podtest.http import Connection
from podtest.load import Load

from bench import proc, scenarios
from bench.check import check, request
from bench.measure import Plan
from bench.running import Failed, Running
from bench.scenarios import Scenario
from bench.servers import CONTENDERS

REPEATS = 3
CYCLES = 11
#: So many requests for each worker: memory grows with them, and a server is not to look fat because it is fast.
REQUESTS = 3000
CLIENTS = 16
#: A worker has served when it has used so many seconds of CPU; there are so many attempts to get there.
ENOUGH = 0.02
ATTEMPTS = 5
#: One worker, without preloading: these and all peers that take part.
SINGLE_APPS = ("hello", "flask", "django", "asgi-hello", "fastapi")
#: FastPySGI drops the connections of ASGI clients that say Connection: close, which is what `exercise` does.
ASYNC = tuple(name for name in scenarios.ASYNC if name != "fastpysgi-asgi")
#: Four workers of the Django site.
FOUR = ("podicorn", "podicorn-preload", "gunicorn", "gunicorn-preload", "granian")
#: What starts a worker, and how long it takes.
STARTERS = ("podicorn-preload", "gunicorn-preload", "gunicorn")
#: Keep-alive connections that wait, on one worker of these.
IDLE = ("podicorn-asgi", "podicorn-gevent")
IDLE_CONNECTIONS = 10_000
IDLE_OPTIONS = ("--worker-connections", "12000", "--keep-alive", "600")
HOOKS = str(Path(__file__).with_name("apps") / "hooks.py")


@dataclass(frozen=True)
class Memory:
    """KiB after some load, nothing else of the benchmark's servers running."""

    scenario: str
    server: str
    workers: int
    round: int
    pss_worker: int
    pss_tree: int


@dataclass(frozen=True)
class Start:
    """One new worker of the Django site."""

    server: str
    round: int
    milliseconds: float


@dataclass(frozen=True)
class Idle:
    """What connections cost that wait for their next request: the PSS of all processes, after less before."""

    server: str
    connections: int
    round: int
    mib: float


@dataclass(frozen=True)
class Found:
    """All of it."""

    memory: list[Memory]
    starts: list[Start]
    idle: list[Idle]


def run(plan: Plan) -> Found:
    """All of it."""
    memory = []
    for number in range(REPEATS):
        for scenario in SINGLE_APPS:
            memory += [
                _memory(plan, scenario, name, 1, number)
                for name in (ASYNC if scenarios.by_name()[scenario].interface == "ASGI" else scenarios.EVERYONE)
                if CONTENDERS[name].family in plan.families
            ]
        memory += [
            _memory(plan, "django", name, 4, number) for name in FOUR if CONTENDERS[name].family in plan.families
        ]
    starts = []
    for name in STARTERS:
        if CONTENDERS[name].family in plan.families:
            starts += _starts(plan, name)
    idle = [_idle(plan, name, number) for number in range(REPEATS) for name in IDLE if "podicorn" in plan.families]
    return Found(memory, starts, idle)


def _memory(plan: Plan, scenario_name: str, name: str, workers: int, number: int) -> Memory:
    scenario = scenarios.by_name()[scenario_name]
    server = Running(
        CONTENDERS[name], scenario.app, plan.directory, plan.programs, cores=plan.all_cores, workers=workers
    )
    try:
        server.wait_ready(request(scenario))
        server.settle()
        check(server, scenario)
        busiest = exercise(server, scenario, workers)
        sizes = {pid: proc.pss_kib(pid) for pid in server.tree()}
        found = Memory(scenario_name, name, workers, number, sizes[busiest], sum(sizes.values()))
    finally:
        server.close()
    plan.say(
        f"memory     {scenario_name}, {workers} worker{'s' * (workers > 1)}  {name:18} "
        f"worker {found.pss_worker / 1024:6.1f} MiB, all {found.pss_tree / 1024:6.1f} MiB"
    )
    return found


def exercise(server: Running, scenario: Scenario, workers: int) -> int:
    """Load until every worker has served: the first requests are what makes them grow. The busiest process' pid."""
    before = proc.snapshot(server.tree())
    for _ in range(ATTEMPTS):
        # A connection per request reaches all workers sooner than connections that are kept.
        with Load(("127.0.0.1", server.port), CLIENTS, lambda _: scenario.path, limit=REQUESTS * workers) as load:
            load.join()
        if load.summary() != {"ok": REQUESTS * workers}:
            raise Failed(f"{server.name}: {load.summary()} of {REQUESTS * workers} requests")
        after = proc.snapshot(server.tree())
        if len([pid for pid in after if proc.own_seconds(pid, before, after) >= ENOUGH]) >= workers:
            return proc.used(before, after).busiest
    raise Failed(f"{server.name}: only some of {workers} workers serve")


def _idle(plan: Plan, name: str, number: int) -> Idle:
    """Each connection has had one answer, and the worker still answers among them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE_CONNECTIONS + 1000
    if hard < needed:
        raise Failed(f"{needed} file descriptors are needed for idle connections; the limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    scenario = scenarios.by_name()["asgi-hello" if name.endswith("-asgi") else "gevent"]
    server = Running(
        CONTENDERS[name], scenario.app, plan.directory, plan.programs, cores=plan.all_cores, options=IDLE_OPTIONS
    )
    connections: list[Connection] = []
    try:
        server.wait_ready(request(scenario))
        server.settle()
        exercise(server, scenario, 1)
        before = sum(map(proc.pss_kib, server.tree()))
        for _ in range(IDLE_CONNECTIONS):
            connection = Connection(("127.0.0.1", server.port), silence=30)
            connections.append(connection)
            connection.send(request(scenario))
            connection.read_response()
        after = sum(map(proc.pss_kib, server.tree()))
        check(server, scenario)
        connections[0].send(request(scenario))
        connections[0].read_response()
    finally:
        for connection in connections:
            connection.close()
        server.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = Idle(name, IDLE_CONNECTIONS, number, (after - before) / 1024)
    plan.say(f"idle       {name:18} {IDLE_CONNECTIONS} connections cost {found.mib:.1f} MiB")
    return found


def _starts(plan: Plan, name: str) -> list[Start]:
    """One worker more and one less, again and again; the hooks write the times."""
    scenario = scenarios.by_name()["django"]
    log = plan.directory / f"{name}.hooks"
    server = Running(
        CONTENDERS[name],
        scenario.app,
        plan.directory,
        plan.programs,
        cores=plan.all_cores,
        options=("--config", HOOKS),
        variables={"BENCH_HOOK_LOG": str(log)},
    )
    found = []
    try:
        server.wait_ready(request(scenario))
        server.settle()
        size = len(server.tree())
        for number in range(CYCLES):
            known = ready_times(log.read_text()).keys()
            os.kill(server.pid, signal.SIGTTIN)
            until(server, lambda known=known: len(ready_times(log.read_text())) > len(known))
            (new,) = ready_times(log.read_text()).keys() - known
            found.append(Start(name, number, ready_times(log.read_text())[new]))
            server.settle()
            os.kill(server.pid, signal.SIGTTOU)
            until(server, lambda: len(server.tree()) == size)
    finally:
        server.close()
    times = ", ".join(f"{start.milliseconds:.1f}" for start in found)
    plan.say(f"start      {name:18} fork to ready, ms: {times}")
    return found


def ready_times(text: str) -> dict[int, float]:
    """Milliseconds from fork to ready of each worker, by its age, from the lines that apps/hooks.py writes."""
    forks: dict[int, int] = {}
    found = {}
    for line in text.splitlines():
        event, age, *_, at = line.split()
        if event == "fork":
            forks[int(age)] = int(at)
        elif int(age) in forks:
            found[int(age)] = (int(at) - forks[int(age)]) / 1e6
    return found


def until(server: Running, condition: Callable[[], bool], deadline: float = 60.0) -> None:
    """Wait for it."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"{server.name} did not follow a signal:\n{server.said()}")
        time.sleep(0.02)
