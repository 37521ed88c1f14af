"""Collects all that a run measures, and writes it: JSON, Markdown, plots, and the READMEs on request."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from bench import measure, report, targets
from bench.measure import Plan, Sample
from bench.servers import CONTENDERS

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass
class Result:
    """One run."""

    plan: Plan
    machine: dict[str, str]
    samples: list[Sample]


def label(name: str) -> str:
    """How a contender is called in tables."""
    return CONTENDERS[name].label


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    packages = ("podicorn", "gunicorn", "granian", "bjoern", "fastpysgi", "pyuwsgi", "waitress", "Flask", "Django")
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git.stdout.strip() or "unknown",
        "cpu": f"{os.cpu_count()} × {cpu}",
        "kernel": platform.release(),
        "python": platform.python_version(),
    } | {name: metadata.version(name) for name in packages}


def collect(plan: Plan, wanted: tuple[str, ...]) -> Result:
    """The run itself."""
    return Result(plan, machine(), measure.run(plan))


def markdown(result: Result) -> str:
    """The whole result."""
    about = ", ".join(f"{key} {value}" for key, value in result.machine.items())
    parts = [
        f"{about}; {result.plan.rounds} rounds of {result.plan.seconds} s. Medians (least–most).",
        report.verdict_table(targets.judge(result.samples, label)),
    ]
    measured = {sample.scenario for sample in result.samples}
    parts += [
        report.scenario_table(scenario, result.samples, label)
        for scenario in result.plan.scenarios
        if scenario.name in measured
    ]
    return "\n\n".join(parts) + "\n"


def write(result: Result, output: Path, *, into_checkout: bool) -> None:
    """Files, and the Markdown to the standard output."""
    output.mkdir(parents=True, exist_ok=True)
    text = markdown(result)
    (output / "result.md").write_text(text)
    raw = {"machine": result.machine, "samples": [asdict(sample) for sample in result.samples]}
    (output / "result.json").write_text(json.dumps(raw, indent=1) + "\n")
    print(f"\n{text}\nWritten to {output}")
