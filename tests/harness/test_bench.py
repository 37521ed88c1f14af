"""The benchmark's arithmetic: what it reads of wrk and /proc, and what it concludes."""

import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from bench import measure, memory, pace, proc, report, scenarios, seeing, targets, websocket, wrk
from bench.alone import Alone, Caller
from bench.measure import Sample, rotated
from bench.running import Failed, prepare_database
from bench.servers import CONTENDERS, Launch
from bench.targets import Spread
from podtest.http import Connection, head

WRK = """Running 2s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   343.50us  101.10us   4.35ms   95.58%
    Req/Sec    93.05k     3.16k   96.35k    80.00%
  Latency Distribution
     50%  340.00us
     75%  361.00us
     90%  402.00us
     99%    1.20ms
  185214 requests in 2.10s, 22.61MB read
{errors}Requests/sec:  88197.14
Transfer/sec:     10.77MB
"""


def test_wrk_is_read():
    load = wrk.parse(WRK.format(errors=""))
    assert load == wrk.Load(185214, 2.1, 88197.14, 340.0, 1200.0, errors=0)


def test_errors_of_wrk_count():
    errors = "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 50000\n"
    assert wrk.parse(WRK.format(errors=errors)).errors == 54321
    refused = "  Non-2xx or 3xx responses: 7\n"
    assert wrk.parse(WRK.format(errors=refused)).errors == 7


def test_what_is_not_wrks_output_is_refused():
    with pytest.raises(ValueError, match="unexpected"):
        wrk.parse("unable to connect to 127.0.0.1:8000 Connection refused\n")


def test_the_websocket_generator_is_read():
    line = '{"messages": 500, "seconds": 2.0, "p50_us": 40.5, "p99_us": 90.0}\n'
    assert wrk.parse_websocket(line) == wrk.Load(500, 2.0, 250.0, 40.5, 90.0, errors=0)


def test_frames():
    # The first example of RFC 6455 §5.7 that is masked has this key, too.
    assert websocket.masked(b"Hello") == bytes.fromhex("8285 37fa213d 7f9f4d5158")
    assert websocket.plain(b"Hello") == bytes.fromhex("8205") + b"Hello"
    long = websocket.payload(1024)
    assert (len(long), long[255:258]) == (1024, b"\xff\x00\x01")
    assert websocket.masked(long)[:4] == bytes.fromhex("82fe0400")
    assert websocket.plain(long)[:4] == bytes.fromhex("827e0400")


@pytest.mark.parametrize(("text", "microseconds"), [("0.00us", 0), ("2.5ms", 2500), ("1.02s", 1.02e6), ("1.5m", 90e6)])
def test_durations(text, microseconds):
    assert wrk.duration_us(text) == pytest.approx(microseconds)


def test_the_script_sends_the_scenarios_request():
    lines = wrk.script(scenarios.by_name()["echo"]).splitlines()
    assert lines == ['wrk.method = "POST"', 'wrk.body = string.rep("x", 1024)']
    assert 'wrk.headers["Connection"] = "close"' in wrk.script(scenarios.by_name()["close"])


def stat_line(pid: int, parent: int, times: tuple[int, int, int, int], name: str = "worker", state: str = "S") -> str:
    before = f"{pid} ({name}) {state} {parent} 1 1 0 -1 4194560 100 0 0 0"
    return f"{before} {' '.join(map(str, times))} 20 0 1 0 999 1000 200"


def test_a_name_with_parentheses_and_spaces():
    stat = proc.parse_stat(stat_line(42, 7, (10, 20, 3, 4), name="a) S 1 (b"))
    assert stat == proc.Stat(pid=42, parent=7, state="S", user=13, system=24)


def test_our_own_stat_is_read():
    stat = proc.snapshot([os.getpid()])[os.getpid()]
    assert stat.parent == os.getppid()
    assert stat.user + stat.system > 0
    assert os.getpid() in proc.tree(os.getppid())
    assert proc.pss_kib(os.getpid()) > 1000


def test_the_tree_has_parents_before_children_and_nobody_else():
    lines = [(5, 1), (9, 5), (7, 9), (8, 5), (6, 1), (3, 6)]
    stats = {pid: proc.parse_stat(stat_line(pid, parent, (0, 0, 0, 0))) for pid, parent in lines}
    assert proc.descendants(5, stats) == [5, 8, 9, 7]
    assert proc.descendants(77, stats) == []


def test_cpu_of_a_tree_knows_children_that_came_and_went():
    ticks = proc.TICKS_PER_SECOND
    before = {1: proc.Stat(1, 0, "S", 5, 5), 2: proc.Stat(2, 1, "S", 100, 50), 3: proc.Stat(3, 1, "S", 7, 7)}
    # 3 has ended and is in the sums of 1, with 10 ticks more than before; 4 is new.
    after = {
        1: proc.Stat(1, 0, "S", 5 + 17, 5 + 7),
        2: proc.Stat(2, 1, "S", 100 + 2 * ticks, 50 + ticks),
        4: proc.Stat(4, 1, "S", 1, 1),
    }
    cpu = proc.used(before, after)
    assert cpu.user == pytest.approx(2 + 11 / ticks)
    assert cpu.system == pytest.approx(1 + 1 / ticks)
    assert cpu.busiest == 2


def test_pss():
    assert proc.parse_pss("5581e000-7ffe [rollup]\nRss:   900 kB\nPss:    321 kB\nPss_Anon: 5 kB\n") == 321
    with pytest.raises(ValueError, match="Pss"):
        proc.parse_pss("Rss: 900 kB\n")


@dataclass(frozen=True)
class Fake:
    scenario: str
    server: str
    round: int
    cpu_us: float = 1.0
    p50_us: float = 1.0
    p99_us: float = 1.0
    rate: float = 1.0
    pss_worker: int = 1
    pss_tree: int = 1


def label(name: str) -> str:
    return name.upper()


def only(verdicts: list[targets.Verdict], what: str) -> targets.Verdict:
    (found,) = [verdict for verdict in verdicts if what in verdict.what]
    return found


def test_ratios_are_taken_within_rounds():
    # The machine was half as fast in round 1: the ratio does not change.
    samples = [
        Fake("hello", "podicorn", 0, cpu_us=10),
        Fake("hello", "bjoern", 0, cpu_us=12),
        Fake("hello", "podicorn", 1, cpu_us=20),
        Fake("hello", "bjoern", 1, cpu_us=24),
        Fake("hello", "bjoern", 2, cpu_us=99),
    ]
    verdict = only(targets.judge(samples, label), "CPU of BJOERN")
    assert verdict.value == Spread(1.2, 1.2, 1.2)
    assert (verdict.limit, verdict.prototype, verdict.passed) == (1.15, 1.35, True)


def test_a_ratio_below_the_limit_is_a_miss():
    samples = [Fake("flask", "podicorn", 0, cpu_us=100), Fake("flask", "bjoern", 0, cpu_us=96)]
    assert not only(targets.judge(samples, label), "flask: CPU of BJOERN").passed


def test_the_best_peer_is_a_peer_and_the_best():
    samples = [
        Fake("close", "podicorn-sync", 0, cpu_us=30),
        Fake("close", "gunicorn-sync", 0, cpu_us=180),
        Fake("close", "granian", 0, cpu_us=45),
        Fake("close", "bjoern", 0, cpu_us=33),
    ]
    verdicts = targets.judge(samples, label)
    assert only(verdicts, "best peer (BJOERN)").value.median == pytest.approx(1.1)
    assert only(verdicts, "GUNICORN-SYNC").value.median == pytest.approx(6)


def test_costs_must_lie_below():
    samples = [
        Fake("log", "podicorn", 0, cpu_us=10),
        Fake("log", "podicorn-log", 0, cpu_us=11.5),
        Fake("threads", "podicorn", 0, cpu_us=10, p99_us=300),
        Fake("threads", "podicorn-threads", 0, cpu_us=12, p99_us=599),
        Fake("hello", "podicorn", 0, p99_us=400),
        Fake("hello", "waitress", 0, p99_us=400),
    ]
    verdicts = targets.judge(samples, label)
    assert not only(verdicts, "access log").passed
    assert only(verdicts, "1 thread ÷ with 4").passed
    assert only(verdicts, "p99 with 4").passed
    assert not only(verdicts, "hello: p99").passed  # not below: equal


def test_throughput_against_the_fastest_at_the_same_count():
    samples = [
        Fake("scaling-2", "podicorn", 0, rate=100),
        Fake("scaling-2", "granian", 0, rate=90),
        Fake("scaling-2", "bjoern", 0, rate=110),
        Fake("scaling-4", "podicorn", 0, rate=100),
        Fake("scaling-4", "bjoern", 0, rate=80),
    ]
    verdicts = targets.judge(samples, label)
    assert not only(verdicts, "scaling-2: req/s of Podicorn ÷ best peer (BJOERN)").passed
    assert only(verdicts, "scaling-4").passed


def test_memory_and_starts():
    single = [
        Fake("django", "podicorn", 0, pss_worker=30),
        Fake("django", "gunicorn", 0, pss_worker=40),
        Fake("django", "granian", 0, pss_worker=20),
    ]
    four = [Fake("django", "podicorn-preload", 0, pss_tree=80), Fake("django", "gunicorn-preload", 0, pss_tree=79)]
    verdicts = targets.judge_memory(single, four, label)
    assert [verdict.passed for verdict in verdicts] == [False, True, False]
    starts = [memory.Start("podicorn-preload", n, ms) for n, ms in enumerate((5.0, 19.0, 40.0))]
    (verdict,) = targets.judge_starts([*starts, memory.Start("gunicorn", 0, 200.0)])
    assert verdict.value == Spread(19.0, 5.0, 40.0) and verdict.passed


def test_an_asgi_worker_is_compared_with_uvicorns():
    single = [
        Fake("asgi-hello", "podicorn-asgi", 0, pss_worker=24),
        Fake("asgi-hello", "uvicorn", 0, pss_worker=30),
        Fake("asgi-hello", "granian-asgi", 0, pss_worker=20),
    ]
    (verdict,) = targets.judge_memory(single, [], label)
    assert (verdict.value.median, verdict.passed) == (0.8, True)


def test_idle_connections():
    idle = [memory.Idle("podicorn-asgi", 10_000, number, mib) for number, mib in enumerate((101.0, 99.0, 120.0))]
    (verdict,) = targets.judge_idle(idle, label)
    assert verdict.what == "10000 idle connections on one worker of PODICORN-ASGI"
    assert verdict.value == Spread(101.0, 99.0, 120.0) and not verdict.passed


def test_messages_and_latency():
    samples = [
        Fake("websocket", "podicorn-asgi", 0, rate=300),
        Fake("websocket", "uvicorn", 0, rate=200),
        Fake("websocket", "granian-websocket", 0, rate=301),
        Fake("asgi-hello-1", "podicorn-asgi", 0, p50_us=30),
        Fake("asgi-hello-1", "uvicorn", 0, p50_us=60),
        Fake("asgi-hello-1", "granian-asgi", 0, p50_us=31),
    ]
    verdicts = targets.judge(samples, label)
    assert only(verdicts, "websocket: messages/s of Podicorn ÷ UVICORN").passed
    assert not only(verdicts, "websocket: messages/s of Podicorn ÷ GRANIAN").passed
    assert only(verdicts, "asgi-hello-1: p50 of Podicorn ÷ best peer (GRANIAN-ASGI)").passed


def test_the_time_from_fork_to_ready():
    log = "fork 1 1000000\nready 1 77 6000000\nfork 2 9000000\nfork 3 9500000\nready 3 80 10000000\n"
    assert memory.ready_times(log) == {1: 5.0, 3: 0.5}


def test_nobody_has_a_place_of_its_own():
    orders = [rotated("abc", turn) for turn in range(3)]
    assert [sorted(order) for order in orders] == [["a", "b", "c"]] * 3
    assert {order[0] for order in orders} == {"a", "b", "c"}


def sample(server: str, number: int, cpu: float, errors: int = 0) -> Sample:
    return Sample(
        scenario="hello", server=server, round=number, rate=1e6 / cpu, requests=1000, user_us=cpu / 4,
        system_us=cpu * 3 / 4, cpu_us=cpu, p50_us=320.4, p99_us=1234.0, pss_worker=5120, pss_tree=12288,
        server_busy=0.99, wrk_busy=0.8, errors=errors, log_lines=0.0,
    )  # fmt: skip


def test_the_table_of_a_scenario():
    samples = [sample("bjoern", 0, 12.0), sample("bjoern", 1, 14.0, errors=3), sample("podicorn", 0, 10.0)]
    samples += [sample("podicorn", 1, 10.0)]
    lines = report.scenario_table(scenarios.by_name()["hello"], samples, label).splitlines()
    assert lines[0] == "### Hello, 32 connections"
    assert lines[4] == (
        "| **PODICORN** | 100000 (100000–100000) | 10.0 (10.0–10.0) | 2.50 + 7.50 | 1.00 "
        "| 320 µs (320 µs–320 µs) | 1.23 ms (1.23 ms–1.23 ms) | 5.0 / 12.0 | 99% / 80% |"
    )
    assert lines[5].startswith("| BJOERN (3 errors!) |") and "| 13.0 (12.0–14.0) |" in lines[5]
    assert "| 1.30 |" in lines[5]


def test_the_table_of_what_it_costs_to_see():
    def seen(server: str, number: int, cpu: float, dropped: float = 0.0) -> Sample:
        made = sample(server, number, cpu)
        return replace(made, scenario="see-flask", spans=1 - dropped, spans_dropped=dropped)

    samples = [seen("podicorn", 0, 100.0), seen("podicorn", 1, 200.0)]
    samples += [seen("podicorn-traces", 0, 102.0, 0.25), seen("podicorn-traces", 1, 206.0, 0.25)]
    lines = report.seeing_table(scenarios.SEEING, samples, label).splitlines()
    assert lines[0] == "### What it costs to see"
    assert lines[4].startswith("| Flask hello | PODICORN |") and lines[4].endswith("|  |  |")
    # The ratios of the rounds are 1.02 and 1.03: their median is between.
    assert "| 1.025 (1.020–1.030) | 25.0% |" in lines[5]
    verdicts = {verdict.what: verdict for verdict in targets.judge(samples, label)}
    assert verdicts["see-flask: CPU with traces ÷ without"].passed
    assert "see-flask: CPU with metrics ÷ without" not in verdicts


def test_the_table_of_apps_without_a_server():
    samples = [sample("podicorn", number, cpu) for number, cpu in enumerate((10.0, 12.0, 14.0))]
    alone = [Alone("hello", number, user, 1.0) for number, user in enumerate((0.5, 1.0, 9.0))]
    lines = report.alone_table(scenarios.SCENARIOS, samples, alone).splitlines()
    # 12 µs, of which 9 in the kernel; of the app's own 2 one is in the kernel, too.
    assert lines[4:] == ["| Hello, 32 connections | 12.0 | 2.00 | 8.00 | 2.00 |"]


def a_plan(directory: Path) -> measure.Plan:
    core = str(min(os.sched_getaffinity(0)))
    return measure.Plan(
        scenarios=(), families=(), rounds=1, seconds=1, warm_up=0, programs=Path(sys.prefix) / "bin",
        directory=directory, server_cores=core, load_cores=core, all_cores=core, pace=paced(), say=print,
    )  # fmt: skip


@pytest.mark.parametrize("name", [scenario.name for scenario in scenarios.ALL if scenario.alone])
def test_an_app_is_called_without_a_server(tmp_path, name):
    plan = a_plan(tmp_path)
    prepare_database(plan.programs, tmp_path)
    caller = Caller(scenarios.by_name()[name], plan)
    try:
        found = [caller.measured(number, 0.05) for number in range(2)]
    finally:
        caller.close()
    assert [(one.scenario, one.round) for one in found] == [(name, 0), (name, 1)]
    assert all(one.user_us + one.system_us > 0.0 for one in found)


def test_an_app_that_gives_something_else_is_not_measured(tmp_path):
    wrong = replace(scenarios.by_name()["hello"], expected=b"Hello, Mars!")
    with pytest.raises(Failed, match="gave b'Hello, World!' instead of b'Hello, Mars!'"):
        Caller(wrong, a_plan(tmp_path))


def test_an_app_that_cannot_be_loaded_is_told_of(tmp_path):
    missing = replace(scenarios.by_name()["hello"], app="plain:missing")
    with pytest.raises(Failed, match="plain:missing without a server ended with 1"):
        Caller(missing, a_plan(tmp_path))


def test_the_sink_takes_bodies_of_every_size_on_one_connection():
    sink = seeing.Sink()
    try:
        with Connection(("127.0.0.1", sink.port)) as client:
            for size in (0, 1, 70_000, 3 << 20):
                client.send(head("POST", "/v1/traces", {"Content-Length": str(size)}) + b"x" * size)
                assert client.read_response().status == 200
    finally:
        sink.close()


def test_the_short_table_takes_the_plain_configuration():
    samples = [sample("podicorn", 0, 10.0), sample("podicorn-preload", 0, 7.0), sample("bjoern", 0, 12.0)]
    text = report.short_table(scenarios.SCENARIOS, samples, {"podicorn": "Podicorn", "bjoern": "bjoern"})
    assert text.splitlines()[2:] == ["| Hello, 32 connections | **10.0** | 12.0 |"]


def test_the_table_of_worker_types():
    samples = [sample("podicorn", 0, 10.0), sample("gunicorn", 0, 180.0)]
    types = (("gthread", "hello", "podicorn", "gunicorn"), ("asgi", "asgi-hello", "podicorn-asgi", "gunicorn-asgi"))
    text = report.types_table(samples, types, label)
    assert text.splitlines()[2:] == ["| gthread | 100000 | 10.0 | 18.0 × (GUNICORN) |"]


def test_what_stands_for_a_package():
    known = scenarios.by_name()
    assert known["hello"].plain("podicorn") == "podicorn"
    assert known["close"].plain("gunicorn") == "gunicorn-sync"
    assert known["log"].plain("granian") == "granian-log"
    assert known["threads"].plain("bjoern") is None


def test_verdicts_are_marked():
    verdicts = [
        targets.Verdict("a ratio", Spread(1.2, 1.1, 1.3), 1.15, True, 1.35),
        targets.Verdict("a time", Spread(30, 20, 40), 20, False, unit=" ms"),
    ]
    assert report.verdict_table(verdicts).splitlines()[2:] == [
        "| a ratio | 1.20 (1.10–1.30) | ≥ 1.15 | 1.35 | pass |",
        "| a time | 30.0 (20.0–40.0) ms | < 20 ms |  | **miss** |",
    ]


def test_only_what_is_between_the_markers_changes():
    page = "Before\n<!-- x:begin -->\nold\n<!-- x:end -->\nAfter <!-- y:begin --><!-- y:end -->\n"
    changed = report.between(page, "x", "new")
    assert changed == page.replace("\nold\n", "\n\nnew\n\n")
    assert report.between(changed, "x", "new") == changed
    with pytest.raises(ValueError, match="markers"):
        report.between("no markers", "x", "new")


def test_every_contender_of_every_scenario_is_known(tmp_path):
    launch = Launch(tmp_path, 8123, 9123, "plain:hello", 3, tmp_path / "log")
    for scenario in scenarios.ALL:
        for name in scenario.contenders:
            command = CONTENDERS[name].command(launch)
            assert any("8123" in word for word in command), command
            assert not any(re.search(r"\{\w+\}", word) for word in command), command
    for names in (memory.FOUR, memory.STARTERS):
        assert set(names) <= CONTENDERS.keys()


# ---- the machine's pace ----


def paced(*looks: float) -> pace.Pace:
    """On one core, whose looks take these times."""
    times = iter(looks)
    return pace.Pace([min(os.sched_getaffinity(0))], lambda: next(times))


def test_a_measurement_at_the_usual_pace_is_taken_once():
    taken = iter("ab")
    assert paced(10.0, 11.0).evenly(lambda: next(taken)) == ("a", 1.1)


@pytest.mark.parametrize("slow", [(15.0, 10.0), (10.0, 15.0)], ids=["before", "after"])
def test_an_uneven_measurement_is_repeated(slow):
    taken = iter("ab")
    assert paced(*slow, 10.0, 10.0).evenly(lambda: next(taken)) == ("b", 1.0)


def test_the_most_even_one_counts_where_none_is_even():
    taken = iter("abcd")
    run = paced(10.0, 30.0, 20.0, 10.0, 10.0, 40.0)
    assert run.evenly(lambda: next(taken)) == ("b", 2.0)
    assert next(taken) == "d"


def test_one_fast_moment_is_not_the_usual_pace():
    run = paced(1.0, 10.0, 10.0, 10.0, 10.0, 10.0)
    for _ in range(6):
        run.look()
    assert run.usual() == 10.0


def test_the_slowest_core_is_looked_at(monkeypatch):
    monkeypatch.setattr(pace, "on", lambda core, act: core * act())
    assert pace.Pace([1, 3, 2], lambda: 5.0).look() == 15.0


def test_the_fixed_work_is_done_on_the_core_and_the_thread_comes_home():
    home = os.sched_getaffinity(0)
    core = max(home)
    assert pace.on(core, lambda: float(os.sched_getaffinity(0) == {core})) == 1.0
    assert os.sched_getaffinity(0) == home
    assert pace.work() > 0
