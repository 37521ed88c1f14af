"""The result as pictures: CPU per request, p99, scaling, memory. SVG, small enough to be kept in the checkout."""

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from bench import scenarios
from bench.scenarios import Scenario
from bench.servers import CONTENDERS, FAMILIES

if TYPE_CHECKING:
    from bench.results import Result

COLOURS = {
    "podicorn": "#c0392b",
    "bjoern": "#2e86c1",
    "fastpysgi": "#17a589",
    "granian": "#d68910",
    "pyuwsgi": "#7d3c98",
    "waitress": "#99a3a4",
    "uvicorn": "#2c3e50",
    "hypercorn": "#c39bd3",
    "gunicorn": "#27ae60",
}


def draw(result: "Result", directory: Path) -> list[str]:
    """Every picture that the result has figures for; their names."""
    # Text stays text, and the same result gives the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "podicorn", "font.size": 9})
    drawn = []
    measured = {sample.scenario for sample in result.samples}
    if measured & {scenario.name for scenario in scenarios.SCENARIOS}:
        for interface in ("WSGI", "ASGI"):
            rows = [s for s in scenarios.SCENARIOS if s.name in measured and s.interface == interface]
            for figure, title, name in (("cpu_us", "CPU-µs per request", "cpu"), ("p99_us", "p99, µs", "p99")):
                if rows:
                    picture = f"{name}-{interface.lower()}.svg"
                    _bars(result, rows, figure, f"{interface}: {title} (log)", directory / picture)
                    drawn.append(picture)
    if measured & {scenario.name for scenario in scenarios.SCALING}:
        _scaling(result, directory / "scaling.svg")
        drawn.append("scaling.svg")
    if result.memory:
        _memory(result, directory / "memory.svg")
        drawn.append("memory.svg")
    return drawn


def _save(figure: pyplot.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _spread(values: list[float]) -> tuple[float, list[list[float]]]:
    """The median, and how far least and most lie from it."""
    middle = median(values)
    return middle, [[middle - min(values)], [max(values) - middle]]


def _bars(result: "Result", rows: list[Scenario], figure: str, title: str, path: Path) -> None:
    """A group of bars for each scenario, a bar for each package, the rounds' spread on it."""
    shown = {scenario.name for scenario in rows}
    present = {CONTENDERS[sample.server].family for sample in result.samples if sample.scenario in shown}
    families = [name for name in FAMILIES if name in present]
    canvas, axes = pyplot.subplots(figsize=(11, 4.5))
    width = 0.8 / len(families)
    for place, family in enumerate(families):
        for number, scenario in enumerate(rows):
            name = scenario.plain(family)
            values = [getattr(s, figure) for s in result.samples if (s.scenario, s.server) == (scenario.name, name)]
            if values:
                middle, errors = _spread(values)
                at = number - 0.4 + (place + 0.5) * width
                axes.bar(at, middle, width, color=COLOURS[family], yerr=errors, error_kw={"linewidth": 0.7})
    axes.set_yscale("log")
    axes.set_xticks(range(len(rows)), [scenario.name for scenario in rows])
    _legend(axes, families)
    axes.set_title(title)
    _save(canvas, path)


def _legend(axes: Axes, families: list[str]) -> None:
    for family in families:
        axes.bar(0, 0, color=COLOURS[family], label=FAMILIES[family])
    axes.legend(ncols=len(families), fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
    axes.grid(axis="y", linewidth=0.3)
    axes.set_axisbelow(True)


def _scaling(result: "Result", path: Path) -> None:
    canvas, axes = pyplot.subplots(figsize=(7, 4))
    for name in scenarios.SCALING[0].contenders:
        points = []
        for scenario in scenarios.SCALING:
            rates = [s.rate for s in result.samples if (s.scenario, s.server) == (scenario.name, name)]
            if rates:
                points.append((scenario.workers, *_spread(rates)))
        if points:
            workers, middles, errors = zip(*points, strict=True)
            family = CONTENDERS[name].family
            axes.errorbar(
                range(len(workers)),
                middles,
                [[error[side][0] for error in errors] for side in (0, 1)],
                color=COLOURS[family],
                label=FAMILIES[family],
                marker="o",
                capsize=3,
            )
    axes.set_xticks(range(len(scenarios.SCALING)), [str(scenario.workers) for scenario in scenarios.SCALING])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("workers")
    axes.set_title("Hello: requests per second, all cores")
    axes.grid(linewidth=0.3)
    axes.legend(fontsize=8)
    _save(canvas, path)


def _memory(result: "Result", path: Path) -> None:
    columns = list(dict.fromkeys((sample.scenario, sample.workers) for sample in result.memory))
    names = list(dict.fromkeys(sample.server for sample in result.memory))
    canvas, axes = pyplot.subplots(figsize=(11, 4.5))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        family = CONTENDERS[name].family
        hatch = "//" if name.endswith("-preload") else None
        shown = False
        for number, column in enumerate(columns):
            values = [s.pss_tree / 1024 for s in result.memory if (s.server, (s.scenario, s.workers)) == (name, column)]
            if values:
                middle, errors = _spread(values)
                at = number - 0.4 + (place + 0.5) * width
                text = None if shown else CONTENDERS[name].label
                shown = True
                axes.bar(at, middle, width, color=COLOURS[family], hatch=hatch, yerr=errors, label=text)
    axes.set_xticks(range(len(columns)), [f"{app}, {count} worker{'s' * (count > 1)}" for app, count in columns])
    axes.set_title("PSS of all processes, MiB")
    axes.grid(axis="y", linewidth=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.08), frameon=False)
    _save(canvas, path)
