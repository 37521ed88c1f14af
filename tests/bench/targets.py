"""What Podicorn must reach against its peers, and whether it does. Pure: samples in, verdicts out."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from bench.scenarios import by_name


class Measured(Protocol):
    """What is read of every sample; the figures are named."""

    @property
    def scenario(self) -> str: ...
    @property
    def server(self) -> str: ...
    @property
    def round(self) -> int: ...


class Start(Protocol):
    """What is read of a worker's start."""

    @property
    def server(self) -> str: ...
    @property
    def milliseconds(self) -> float: ...


class Idle(Protocol):
    """What is read of a server with idle connections."""

    @property
    def server(self) -> str: ...
    @property
    def connections(self) -> int: ...
    @property
    def mib(self) -> float: ...


@dataclass(frozen=True)
class Spread:
    """The median over the rounds, and how far the rounds lay apart."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Verdict:
    """One line of the list: a figure, the limit it must keep, and what a prototype reached."""

    what: str
    value: Spread
    limit: float
    #: Whether the figure must lie above the limit (a ratio) or below (a cost).
    above: bool
    prototype: float | None = None
    unit: str = ""

    @property
    def passed(self) -> bool:
        return operator.ge(self.value.median, self.limit) if self.above else self.value.median < self.limit


@dataclass(frozen=True)
class Ratio:
    """CPU per request of a peer ÷ that of Podicorn. ``peer`` "best" is the peer that needs least."""

    scenario: str
    peer: str
    prototype: float
    needed: float


RATIOS = (
    Ratio("hello", "bjoern", 1.35, 1.15),
    Ratio("hello", "fastpysgi", 1.28, 1.1),
    Ratio("hello", "granian", 2.3, 2.0),
    Ratio("hello", "gunicorn", 19, 15),
    Ratio("10k", "bjoern", 1.3, 1.1),
    Ratio("10k", "granian", 2.2, 1.8),
    Ratio("echo", "bjoern", 1.33, 1.1),
    Ratio("echo", "granian", 2.2, 1.8),
    Ratio("close", "best", 1.1, 1.0),
    Ratio("close", "gunicorn-sync", 6, 5),
    Ratio("gevent", "gunicorn-gevent", 12, 9),
    Ratio("eventlet", "gunicorn-eventlet", 8, 6),
    Ratio("flask", "bjoern", 1.0, 0.97),
    Ratio("flask", "granian", 1.45, 1.3),
    Ratio("flask", "gunicorn", 3, 2.5),
    Ratio("asgi-hello", "fastpysgi-asgi", 1.34, 1.2),
    Ratio("asgi-hello", "granian-asgi", 2.1, 1.9),
    Ratio("asgi-hello", "uvicorn", 2.9, 2.5),
    Ratio("asgi-hello", "gunicorn-asgi", 3.7, 3.2),
    Ratio("asgi-echo", "fastpysgi-asgi", 1.9, 1.5),
    Ratio("asgi-echo", "uvicorn", 3.7, 3),
    Ratio("asgi-echo", "granian-asgi", 5, 4),
    Ratio("fastapi", "uvicorn", 1.29, 1.2),
    Ratio("fastapi", "granian-asgi", 1.26, 1.15),
)
#: CPU per request with traces, and with metrics, ÷ without: the most that it may be.
SEEING = (
    ("see-flask", "traces", 1.03),
    ("see-fastapi", "traces", 1.03),
    ("see-flask", "metrics", 1.01),
    ("see-fastapi", "metrics", 1.01),
)
#: Messages per second on WebSockets: Podicorn ÷ peer.
MESSAGES = (("uvicorn", 1.5), ("granian-websocket", 1.0))
#: Scenarios with 32 keep-alive connections and one thread.
THIRTY_TWO = ("hello", "10k", "100k", "echo", "upload", "flask", "django")


WORKERS = (1, 2, 4, 8)


def is_peer(server: str) -> bool:
    """Whether the contender is not ours."""
    return not server.startswith("podicorn")


def rounds(samples: Sequence[Measured], scenario: str, server: str, figure: str) -> dict[int, float]:
    """A figure by round."""
    return {s.round: getattr(s, figure) for s in samples if (s.scenario, s.server) == (scenario, server)}


def paired(above: dict[int, float], below: dict[int, float]) -> Spread | None:
    """Ratios within each round: what disturbed the machine for long disturbed both."""
    ratios = [above[number] / below[number] for number in sorted(above.keys() & below.keys()) if below[number] > 0]
    return Spread.of(ratios) if ratios else None


def best_peer(samples: Sequence[Measured], scenario: str, figure: str, *, most: bool = False) -> str | None:
    """The peer whose median is the least, or the most."""
    medians = {
        server: median(rounds(samples, scenario, server, figure).values())
        for server in {s.server for s in samples if s.scenario == scenario and is_peer(s.server)}
    }
    choose = max if most else min
    return choose(medians, key=lambda server: (medians[server], server)) if medians else None


def judge(samples: Sequence[Measured], label: Callable[[str], str]) -> list[Verdict]:
    """Every verdict that these samples allow."""
    found = [_ratio(samples, ratio, label) for ratio in RATIOS]
    found += [_threads(samples, figure) for figure in ("cpu_us", "p99_us")]
    found += [_p99(samples, scenario, label) for scenario in THIRTY_TWO]
    found.append(_log(samples))
    found += [_seeing(samples, *limit) for limit in SEEING]
    found += [
        _messages(samples, scenario, *limit, label) for scenario in ("websocket", "websocket-1k") for limit in MESSAGES
    ]
    found.append(_eager(samples, label))
    found.append(_latency(samples, "asgi-hello-1", label))
    found += [_scaling(samples, f"scaling-{workers}", label) for workers in WORKERS]
    return [verdict for verdict in found if verdict is not None]


def _ratio(samples: Sequence[Measured], ratio: Ratio, label: Callable[[str], str]) -> Verdict | None:
    peer = best_peer(samples, ratio.scenario, "cpu_us") if ratio.peer == "best" else ratio.peer
    if peer is None:
        return None
    ours = by_name()[ratio.scenario].ours
    value = paired(rounds(samples, ratio.scenario, peer, "cpu_us"), rounds(samples, ratio.scenario, ours, "cpu_us"))
    name = f"best peer ({label(peer)})" if ratio.peer == "best" else label(peer)
    if value is None:
        return None
    return Verdict(f"{ratio.scenario}: CPU of {name} ÷ Podicorn", value, ratio.needed, True, ratio.prototype)


def _threads(samples: Sequence[Measured], figure: str) -> Verdict | None:
    one = rounds(samples, "threads", "podicorn", figure)
    four = rounds(samples, "threads", "podicorn-threads", figure)
    if figure == "cpu_us":
        value = paired(one, four)
        return value and Verdict("threads: CPU with 1 thread ÷ with 4", value, 0.75, True, 0.85)
    value = paired(four, one)
    return value and Verdict("threads: p99 with 4 threads ÷ with 1", value, 2.0, False)


def _p99(samples: Sequence[Measured], scenario: str, label: Callable[[str], str]) -> Verdict | None:
    peer = best_peer(samples, scenario, "p99_us")
    if peer is None:
        return None
    value = paired(rounds(samples, scenario, "podicorn", "p99_us"), rounds(samples, scenario, peer, "p99_us"))
    return value and Verdict(f"{scenario}: p99 of Podicorn ÷ best peer ({label(peer)})", value, 1.0, False)


def _messages(
    samples: Sequence[Measured], scenario: str, peer: str, limit: float, label: Callable[[str], str]
) -> Verdict | None:
    value = paired(rounds(samples, scenario, by_name()[scenario].ours, "rate"), rounds(samples, scenario, peer, "rate"))
    return value and Verdict(f"{scenario}: messages/s of Podicorn ÷ {label(peer)}", value, limit, True)


def _eager(samples: Sequence[Measured], label: Callable[[str], str]) -> Verdict | None:
    theirs, ours = (rounds(samples, "fastapi", server, "cpu_us") for server in ("uvicorn", "podicorn-eager"))
    value = paired(theirs, ours)
    return value and Verdict(f"fastapi: CPU of {label('uvicorn')} ÷ Podicorn, eager", value, 1.5, True)


def _latency(samples: Sequence[Measured], scenario: str, label: Callable[[str], str]) -> Verdict | None:
    peer = best_peer(samples, scenario, "p50_us")
    if peer is None:
        return None
    value = paired(
        rounds(samples, scenario, by_name()[scenario].ours, "p50_us"), rounds(samples, scenario, peer, "p50_us")
    )
    return value and Verdict(f"{scenario}: p50 of Podicorn ÷ best peer ({label(peer)})", value, 1.0, False)


def _log(samples: Sequence[Measured]) -> Verdict | None:
    with_log = rounds(samples, "log", "podicorn-log", "cpu_us")
    value = paired(with_log, rounds(samples, "log", "podicorn", "cpu_us"))
    return value and Verdict("log: CPU with access log ÷ without", value, 1.15, False)


def _seeing(samples: Sequence[Measured], scenario: str, what: str, limit: float) -> Verdict | None:
    ours = by_name()[scenario].ours
    value = paired(rounds(samples, scenario, f"{ours}-{what}", "cpu_us"), rounds(samples, scenario, ours, "cpu_us"))
    return value and Verdict(f"{scenario}: CPU with {what} ÷ without", value, limit, False)


def _scaling(samples: Sequence[Measured], scenario: str, label: Callable[[str], str]) -> Verdict | None:
    peer = best_peer(samples, scenario, "rate", most=True)
    if peer is None:
        return None
    value = paired(rounds(samples, scenario, "podicorn", "rate"), rounds(samples, scenario, peer, "rate"))
    return value and Verdict(f"{scenario}: req/s of Podicorn ÷ best peer ({label(peer)})", value, 1.0, True)


def judge_memory(single: Sequence[Measured], four: Sequence[Measured], label: Callable[[str], str]) -> list[Verdict]:
    """One worker's PSS against two peers in every app, and the total of four preloaded workers."""
    found = []
    for scenario in dict.fromkeys(sample.scenario for sample in single):
        ours = by_name()[scenario].ours
        for peer in ("granian", "gunicorn") if ours == "podicorn" else ("uvicorn",):
            value = paired(rounds(single, scenario, ours, "pss_worker"), rounds(single, scenario, peer, "pss_worker"))
            found.append(value and Verdict(f"{scenario}: PSS of a worker ÷ {label(peer)}'s", value, 1.0, False))
    value = paired(
        rounds(four, "django", "podicorn-preload", "pss_tree"), rounds(four, "django", "gunicorn-preload", "pss_tree")
    )
    found.append(value and Verdict("PSS of 4 preloaded Django workers in total ÷ Gunicorn's", value, 1.0, False))
    return [verdict for verdict in found if verdict is not None]


def judge_idle(idle: Sequence[Idle], label: Callable[[str], str]) -> list[Verdict]:
    """What the idle connections of a worker cost."""
    found = []
    for server in dict.fromkeys(sample.server for sample in idle):
        costs = [sample.mib for sample in idle if sample.server == server]
        count = next(sample.connections for sample in idle if sample.server == server)
        found.append(
            Verdict(
                f"{count} idle connections on one worker of {label(server)}", Spread.of(costs), 100, False, unit=" MiB"
            )
        )
    return found


def judge_starts(starts: Sequence[Start]) -> list[Verdict]:
    """A preloaded worker's way from the fork until it can serve."""
    times = [start.milliseconds for start in starts if start.server == "podicorn-preload"]
    if not times:
        return []
    return [Verdict("a preloaded Django worker is ready after the fork", Spread.of(times), 20, False, unit=" ms")]
