"""Collects all that a run measures, and writes it: JSON, Markdown, plots, and the READMEs on request."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from bench import measure, memory, pace, plots, report, scenarios, scrapes, targets
from bench.alone import Alone
from bench.measure import Plan, Sample
from bench.memory import Found, Idle, Memory, Start
from bench.scrapes import Scrape
from bench.servers import CONTENDERS, FAMILIES

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
PACKAGES = (
    "podicorn",
    "gunicorn",
    "granian",
    "bjoern",
    "fastpysgi",
    "pyuwsgi",
    "waitress",
    "uvicorn",
    "hypercorn",
    "uvloop",
    "websockets",
    "gevent",
    "eventlet",
    "Flask",
    "Django",
    "fastapi",
)


#: The columns of the two tables on the front page.
FRONT_PAGE = {
    "WSGI": ("podicorn", "bjoern", "fastpysgi", "granian", "pyuwsgi", "waitress", "gunicorn"),
    "ASGI": ("podicorn", "fastpysgi", "granian", "uvicorn", "hypercorn", "gunicorn"),
}


#: The table in docs/workers.md: title, scenario, ours, Gunicorn's.
TYPES = (
    ("`-k sync`, a connection per request", "close", "podicorn-sync", "gunicorn-sync"),
    ("`-k gthread`", "hello", "podicorn", "gunicorn"),
    ("`-k gthread --threads 4`", "threads", "podicorn-threads", "gunicorn-threads"),
    ("`-k asgi`, uvloop", "asgi-hello", "podicorn-asgi", "gunicorn-asgi"),
    ("`-k gevent`", "gevent", "podicorn-gevent", "gunicorn-gevent"),
    ("`-k eventlet`", "eventlet", "podicorn-eventlet", "gunicorn-eventlet"),
)


@dataclass(frozen=True)
class Result:
    """One run."""

    machine: dict[str, str]
    rounds: int
    seconds: int
    samples: list[Sample]
    alone: list[Alone]
    memory: list[Memory]
    starts: list[Start]
    idle: list[Idle]
    scrapes: list[Scrape]


def label(name: str) -> str:
    """How a contender is called in tables."""
    return CONTENDERS[name].label


def machine() -> dict[str, str]:
    """What the figures depend on."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git.stdout.strip() or "unknown",
        "cpu": f"{os.cpu_count()} × {models[0] if models else platform.machine()}",
        "kernel": platform.release(),
        "python": platform.python_version(),
    } | {name: metadata.version(name) for name in PACKAGES}


def collect(plan: Plan, *, with_memory: bool) -> Result:
    """The run itself."""
    samples, alone = measure.run(plan)
    found = memory.run(plan) if with_memory else Found([], [], [])
    scraped = scrapes.run(plan) if any(scenario in scenarios.SEEING for scenario in plan.scenarios) else []
    return Result(
        machine=machine(),
        rounds=plan.rounds,
        seconds=plan.seconds,
        samples=samples,
        alone=alone,
        memory=found.memory,
        starts=found.starts,
        idle=found.idle,
        scrapes=scraped,
    )


def about(result: Result) -> str:
    """One paragraph: where and when."""
    facts = result.machine
    versions = ", ".join(f"{name} {facts[name]}" for name in PACKAGES[1:])
    return (
        f"{facts['date']}, commit {facts['commit']}, CPython {facts['python']}, {facts['cpu']}, "
        f"Linux {facts['kernel']}; {versions}. {result.rounds} rounds of {result.seconds} s; medians (least–most). "
        f"{unevenness(result.samples)}"
    )


def unevenness(samples: Sequence[Sample]) -> str:
    """How far the machine was its usual self."""
    uneven = sum(sample.slowness > pace.UNEVEN for sample in samples)
    return (
        f"{uneven} of {len(samples)} measurements were taken while the machine was slower than usual by more than "
        f"{pace.UNEVEN - 1:.0%}, as {pace.TRIES} tries brought no better."
    )


def verdicts(result: Result) -> list[targets.Verdict]:
    """Everything that can be said of this run."""
    single, four = ([m for m in result.memory if m.workers == workers] for workers in (1, 4))
    return [
        *targets.judge(result.samples, label),
        *targets.judge_memory(single, four, label),
        *targets.judge_starts(result.starts),
        *targets.judge_idle(result.idle, label),
    ]


def markdown(result: Result) -> str:
    """The whole result."""
    measured = {sample.scenario for sample in result.samples}
    parts = [about(result), report.verdict_table(verdicts(result))]
    if result.alone:
        parts.append(report.alone_table(scenarios.SCENARIOS, result.samples, result.alone))
    parts += [
        report.scenario_table(scenario, result.samples, label)
        for scenario in scenarios.SCENARIOS
        if scenario.name in measured
    ]
    if any(scenario.name in measured for scenario in scenarios.SEEING):
        parts.append(seeing(result))
    if any(scenario.name in measured for scenario in scenarios.SCALING):
        parts.append(report.scaling_table(scenarios.SCALING, result.samples, label))
    if result.memory:
        parts.append(report.memory_table(result.memory, label))
    if result.starts:
        parts.append(report.start_table(result.starts, label))
    return "\n\n".join(parts) + "\n"


def front_page(result: Result) -> str:
    """The short table for the project's README."""
    facts = result.machine
    return "\n\n".join(
        (
            *(
                report.short_table(
                    [scenario for scenario in scenarios.SCENARIOS if scenario.interface == interface],
                    result.samples,
                    {
                        name: FAMILIES[name]
                        for name in families
                        if any(CONTENDERS[s.server].family == name for s in result.samples)
                    },
                )
                for interface, families in FRONT_PAGE.items()
                if any(scenarios.by_name()[sample.scenario].interface == interface for sample in result.samples)
            ),
            f"One worker on one core, {facts['cpu']}, CPython {facts['python']}, {facts['date'][:10]}; less is better. "
            "Method, requests per second, latencies, memory: [tests/bench](tests/bench/README.md).",
        )
    )


def seeing(result: Result) -> str:
    """What it costs to see, for the page on telemetry too."""
    parts = [report.seeing_table(scenarios.SEEING, result.samples, label)]
    if result.scrapes:
        parts.append(report.scrape_table(result.scrapes))
    return "\n\n".join(parts)


def types(result: Result) -> str:
    """The table for the guide to the worker types."""
    facts = result.machine
    where = f"One worker on one core, {facts['cpu']}, CPython {facts['python']}, {facts['date'][:10]}."
    return f"{report.types_table(result.samples, TYPES, label)}\n\n{where}"


def raw(result: Result) -> str:
    """JSON, with a measurement on each line."""

    def lines(rows: Sequence[Sample | Alone | Memory | Start | Idle | Scrape]) -> str:
        return (
            "[" + ",".join(f"\n  {json.dumps({k: rounded(v) for k, v in vars(row).items()})}" for row in rows) + "\n ]"
        )

    parts = {
        "machine": json.dumps(result.machine),
        "rounds": str(result.rounds),
        "seconds": str(result.seconds),
        "samples": lines(result.samples),
        "alone": lines(result.alone),
        "memory": lines(result.memory),
        "starts": lines(result.starts),
        "idle": lines(result.idle),
        "scrapes": lines(result.scrapes),
    }
    return "{" + ",".join(f'\n "{name}": {text}' for name, text in parts.items()) + "\n}\n"


def rounded(value: float | str) -> float | str:
    """No more digits than mean something."""
    return round(value, 3) if isinstance(value, float) else value


def write(result: Result, output: Path, *, into_checkout: bool) -> None:
    """Files, and the Markdown to the standard output."""
    text = markdown(result)
    pictures: list[str] = []
    for directory in [output, *([HERE / "results"] if into_checkout else [])]:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "result.json").write_text(raw(result))
        pictures = plots.draw(result, directory)
    (output / "result.md").write_text(text)
    if into_checkout:
        shown = "\n".join(f"![{name}](results/{name})" for name in pictures)
        for page, name, content in (
            (HERE / "README.md", "result", f"{text}\n{shown}"),
            (CHECKOUT / "README.md", "bench", front_page(result)),
            (CHECKOUT / "docs" / "workers.md", "types", types(result)),
            (CHECKOUT / "docs" / "telemetry.md", "seeing", f"{about(result)}\n\n{seeing(result)}"),
        ):
            if name == "seeing" and not any(s.scenario.startswith("see-") for s in result.samples):
                continue
            page.write_text(report.between(page.read_text(), name, content))
    print(f"\n{text}\nresult.md, result.json and the plots are in {output}")
