"""The result as Markdown: a table for each scenario, the verdicts, a short table for the project's front page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from bench import targets
from bench.alone import Alone
from bench.measure import Sample
from bench.memory import Memory, Start
from bench.scenarios import Scenario
from bench.scrapes import Scrape
from bench.targets import Spread, Verdict

Label = Callable[[str], str]
Row = Sequence[str]


def table(header: Row, rows: Iterable[Row], right: int = 1) -> str:
    """A Markdown table; columns from ``right`` on are set to the right."""
    rule = ["---" if number < right else "---:" for number in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def duration(microseconds: float) -> str:
    """A latency with three digits."""
    if microseconds < 999.5:
        return f"{three(microseconds)} µs"
    if microseconds < 999.5e3:
        return f"{three(microseconds / 1e3)} ms"
    return f"{three(microseconds / 1e6)} s"


def three(value: float) -> str:
    """Three digits that mean something."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def mib(kib: float) -> str:
    """Memory."""
    return f"{kib / 1024:.1f}"


def spread(value: Spread, write: Callable[[float], str]) -> str:
    """The median, and in brackets the least and the most."""
    return f"{write(value.median)} ({write(value.least)}–{write(value.most)})"


def of(samples: Sequence[Sample], server: str, figure: str) -> Spread:
    """A figure of one server in the samples of one scenario."""
    return Spread.of([getattr(sample, figure) for sample in samples if sample.server == server])


def scenario_table(scenario: Scenario, samples: Sequence[Sample], label: Label) -> str:
    """All servers of a scenario, least CPU first."""
    mine = [sample for sample in samples if sample.scenario == scenario.name]
    names = sorted({sample.server for sample in mine}, key=lambda name: of(mine, name, "cpu_us").median)
    base = targets.rounds(mine, scenario.name, scenario.ours, "cpu_us")
    logged = any(sample.log_lines for sample in mine)
    rows = []
    for name in names:
        lines = of(mine, name, "log_lines").median
        ratio = targets.paired(targets.rounds(mine, scenario.name, name, "cpu_us"), base)
        errors = sum(sample.errors for sample in mine if sample.server == name)
        rows.append(
            (
                (f"**{label(name)}**" if name.startswith("podicorn") else label(name))
                + (f" ({errors} errors!)" if errors else ""),
                spread(of(mine, name, "rate"), lambda value: f"{value:.0f}"),
                spread(of(mine, name, "cpu_us"), three),
                f"{three(of(mine, name, 'user_us').median)} + {three(of(mine, name, 'system_us').median)}",
                three(ratio.median) if ratio else "",
                spread(of(mine, name, "p50_us"), duration),
                spread(of(mine, name, "p99_us"), duration),
                f"{mib(of(mine, name, 'pss_worker').median)} / {mib(of(mine, name, 'pss_tree').median)}",
                f"{of(mine, name, 'server_busy').median:.0%} / {of(mine, name, 'wrk_busy').median:.0%}",
                *([f"{lines:.1%}" if lines else ""] if logged else []),
            )
        )
    header = ("", "req/s", "CPU-µs per request", "user + system", "÷ Podicorn", "p50", "p99", "PSS MiB", "busy")
    if logged:
        header += ("logged",)
    return f"### {scenario.title}\n\n" + table(header, rows)


def alone_table(scenarios: Sequence[Scenario], samples: Sequence[Sample], alone: Sequence[Alone]) -> str:
    """What a request takes beside the least that the app can take, and the kernel's part."""
    rows = []
    for scenario in scenarios:
        apps = [one for one in alone if one.scenario == scenario.name]
        mine = [sample for sample in samples if sample.scenario == scenario.name and sample.server == scenario.ours]
        if not apps or not mine:
            continue
        user, system = (median(getattr(one, figure) for one in apps) for figure in ("user_us", "system_us"))
        total, kernel = (of(mine, scenario.ours, figure).median for figure in ("cpu_us", "system_us"))
        parts = (user + system, kernel - system, total - kernel - user)
        rows.append((scenario.title, three(total), *(three(max(part, 0.0)) for part in parts)))
    header = ("CPU-µs per request", "Podicorn", "the app without a server", "the kernel", "the rest")
    return "### The apps without a server\n\n" + table(header, rows)


def seeing_table(scenarios: Sequence[Scenario], samples: Sequence[Sample], label: Label) -> str:
    """What each way to see costs, against the same server without it."""
    rows = []
    for scenario in scenarios:
        mine = [sample for sample in samples if sample.scenario == scenario.name]
        for name in (name for name in scenario.contenders if any(sample.server == name for sample in mine)):

            def over(figure: str, name: str = name, scenario: Scenario = scenario) -> str:
                ratio = targets.paired(
                    targets.rounds(samples, scenario.name, name, figure),
                    targets.rounds(samples, scenario.name, scenario.ours, figure),
                )
                return spread(ratio, lambda value: f"{value:.3f}") if ratio and name != scenario.ours else ""

            rows.append(
                (
                    scenario.title.partition(":")[0],
                    label(name),
                    spread(of(mine, name, "rate"), lambda value: f"{value:.0f}"),
                    over("rate"),
                    spread(of(mine, name, "cpu_us"), three),
                    over("cpu_us"),
                    f"{of(mine, name, 'spans_dropped').median:.1%}" if name.endswith("-traces") else "",
                )
            )
    header = ("", "", "req/s", "÷ without", "CPU-µs per request, all processes", "÷ without", "spans dropped")
    return "### What it costs to see\n\n" + table(header, rows, right=2)


def scrape_table(scrapes: Sequence[Scrape]) -> str:
    """What one look at the metrics costs."""
    rows = []
    for workers in dict.fromkeys(scrape.workers for scrape in scrapes):
        mine = [scrape for scrape in scrapes if scrape.workers == workers]
        rows.append(
            (
                f"{workers} worker{'s' * (workers > 1)}",
                *(
                    spread(Spread.of([getattr(scrape, figure) for scrape in mine]), three)
                    for figure in ("cpu_ms", "p50_ms", "p99_ms")
                ),
                f"{mine[0].kib:.0f}",
            )
        )
    header = ("one scrape of", "CPU ms", "answered within ms, p50", "p99", "KiB")
    return table(header, rows)


def scaling_table(scenarios: Sequence[Scenario], samples: Sequence[Sample], label: Label) -> str:
    """Requests per second by number of workers."""
    scenarios = [scenario for scenario in scenarios if any(s.scenario == scenario.name for s in samples)]
    rows = []
    for name in dict.fromkeys(name for scenario in scenarios for name in scenario.contenders):
        cells = []
        for scenario in scenarios:
            rates = list(targets.rounds(samples, scenario.name, name, "rate").values())
            cells.append(spread(Spread.of(rates), lambda value: f"{value:.0f}") if rates else "")
        if any(cells):
            rows.append((f"**{label(name)}**" if name.startswith("podicorn") else label(name), *cells))
    header = ("req/s", *(f"{s.workers} worker{'s' * (s.workers > 1)}" for s in scenarios))
    return "### Hello, workers on all cores, 64 connections\n\n" + table(header, rows)


def memory_table(memory: Sequence[Memory], label: Label) -> str:
    """PSS by server; a column for each app and number of workers."""
    columns = list(dict.fromkeys((sample.scenario, sample.workers) for sample in memory))
    rows = []
    for name in dict.fromkeys(sample.server for sample in memory):
        cells = []
        for scenario, workers in columns:
            mine = [s for s in memory if (s.server, s.scenario, s.workers) == (name, scenario, workers)]
            worker, total = (
                Spread.of([getattr(s, f) for s in mine]) if mine else None for f in ("pss_worker", "pss_tree")
            )
            cells.append(f"{mib(worker.median)} / {mib(total.median)}" if worker and total else "")
        rows.append((f"**{label(name)}**" if name.startswith("podicorn") else label(name), *cells))
    header = ("PSS MiB: a worker / all", *(f"{app}, {count} worker{'s' * (count > 1)}" for app, count in columns))
    return "### Memory\n\n" + table(header, rows)


def start_table(starts: Sequence[Start], label: Label) -> str:
    """From fork to ready."""
    rows = []
    for name in dict.fromkeys(start.server for start in starts):
        times = [start.milliseconds for start in starts if start.server == name]
        rows.append(
            (f"**{label(name)}**" if name.startswith("podicorn") else label(name), spread(Spread.of(times), three))
        )
    return "### A new worker of the Django site\n\n" + table(("", "fork to ready, ms"), rows)


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Each figure beside its limit."""
    rows = [
        (
            verdict.what,
            spread(verdict.value, three) + verdict.unit,
            f"{'≥' if verdict.above else '<'} {verdict.limit:g}{verdict.unit}",
            f"{verdict.prototype:g}" if verdict.prototype else "",
            "pass" if verdict.passed else "**miss**",
        )
        for verdict in verdicts
    ]
    return table(("", "measured", "needed", "prototype", ""), rows)


def short_table(scenarios: Sequence[Scenario], samples: Sequence[Sample], families: Mapping[str, str]) -> str:
    """CPU-µs per request: a row for each scenario, a column for each package; the least in bold."""
    rows = []
    for scenario in scenarios:
        mine = [sample for sample in samples if sample.scenario == scenario.name]
        if not mine:
            continue
        cells = []
        for family in families:
            name = scenario.plain(family)
            values = [sample.cpu_us for sample in mine if sample.server == name]
            cells.append(median(values) if values else None)
        least = min(value for value in cells if value is not None)
        texts = ["" if value is None else three(value) for value in cells]
        texts = [f"**{text}**" if value == least else text for text, value in zip(texts, cells, strict=True)]
        rows.append((scenario.title, *texts))
    return table(("CPU-µs per request", *families.values()), rows)


def types_table(samples: Sequence[Sample], types: Sequence[tuple[str, str, str, str]], label: Label) -> str:
    """The worker types beside Gunicorn's. ``types``: what to call it, the scenario, ours, theirs."""
    rows = []
    for title, scenario, ours, theirs in types:
        mine = [sample for sample in samples if sample.scenario == scenario]
        if not {ours, theirs} <= {sample.server for sample in mine}:
            continue
        cost = of(mine, ours, "cpu_us").median
        ratio = targets.paired(
            targets.rounds(mine, scenario, theirs, "cpu_us"), targets.rounds(mine, scenario, ours, "cpu_us")
        )
        rate = of(mine, ours, "rate").median
        rows.append((title, f"{rate:.0f}", three(cost), f"{three(ratio.median)} × ({label(theirs)})" if ratio else ""))
    return table(("", "requests per second", "CPU-µs per request", "Gunicorn's needs"), rows)


def between(text: str, name: str, content: str) -> str:
    """The text with what stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` replaced."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the markers {begin} and {end} are missing")
    return f"{before}{begin}\n\n{content.strip()}\n\n{end}{after}"
