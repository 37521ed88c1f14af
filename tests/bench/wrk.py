"""The load generators: run wrk, or for WebSockets our own, and read what they print."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.running import Failed
from bench.scenarios import Scenario

MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}


@dataclass(frozen=True)
class Load:
    """One run of a generator. For WebSockets a request is a message there and back."""

    requests: int
    seconds: float
    rate: float
    p50_us: float
    p99_us: float
    #: Socket errors and answers that are neither 2xx nor 3xx: an honest run has none.
    errors: int
    #: wrk's own CPU time as a part of the run: near 1 means that wrk was the limit.
    busy: float = 0.0


def duration_us(text: str) -> float:
    """wrk's durations: 343.50us, 4.35ms, 1.02s, 1.10m."""
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m|h)", text)
    if match is None:
        raise ValueError(f"no duration: {text!r}")
    return float(match[1]) * MICROSECONDS[match[2]]


def parse(output: str) -> Load:
    """The figures in wrk's output with --latency."""

    def find(pattern: str) -> re.Match[str]:
        match = re.search(pattern, output, re.MULTILINE)
        if match is None:
            raise ValueError(f"wrk said something unexpected:\n{output}")
        return match

    total = find(r"^\s*(\d+) requests in ([\d.]+(?:us|ms|s|m|h)),")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Load(
        requests=int(total[1]),
        seconds=duration_us(total[2]) / 1e6,
        rate=float(find(r"^Requests/sec:\s+([\d.]+)")[1]),
        p50_us=duration_us(find(r"^\s+50%\s+(\S+)")[1]),
        p99_us=duration_us(find(r"^\s+99%\s+(\S+)")[1]),
        errors=(sum(map(int, errors.groups())) if errors else 0) + (int(refused[1]) if refused else 0),
    )


def parse_websocket(output: str) -> Load:
    """The figures in what ``bench.websocket`` prints. It fails where wrk counts errors."""
    found = json.loads(output)
    return Load(
        requests=found["messages"],
        seconds=found["seconds"],
        rate=found["messages"] / found["seconds"],
        p50_us=found["p50_us"],
        p99_us=found["p99_us"],
        errors=0,
    )


def script(scenario: Scenario) -> str:
    """The Lua that makes wrk send the scenario's request; a body is one byte repeated."""
    lines = [f'wrk.method = "{scenario.method}"']
    if scenario.body_size:
        lines.append(f'wrk.body = string.rep("{scenario.body_byte}", {scenario.body_size})')
    if not scenario.keep_alive:
        lines.append('wrk.headers["Connection"] = "close"')
    return "\n".join(lines) + "\n"


class Generator:
    """wrk, or its like for WebSockets, on the given cores. It keeps wrk's scripts in ``directory``."""

    def __init__(self, directory: Path, cores: str) -> None:
        self._directory = directory
        self._cores = cores

    def _command(self, scenario: Scenario, port: int, seconds: int) -> list[str]:
        pinned = ["taskset", "--cpu-list", self._cores]
        if scenario.websocket:
            figures = map(str, (port, scenario.connections, seconds, scenario.body_size))
            return [*pinned, sys.executable, "-B", "-m", "bench.websocket", *figures]
        lua = self._directory / f"{scenario.name}.lua"
        if not lua.exists():
            lua.write_text(script(scenario))
        options = [f"-t{scenario.load_threads}", f"-c{scenario.connections}", f"-d{seconds}s", "--latency"]
        url = f"http://127.0.0.1:{port}{scenario.path}"
        return [*pinned, "wrk", *options, "-s", str(lua), url]

    def run(self, scenario: Scenario, port: int, seconds: int) -> Load:
        """One measured run."""
        command = self._command(scenario, port, seconds)
        begin = os.times()
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
        end = os.times()
        if done.returncode != 0:
            raise Failed(f"{command[3]} failed ({done.returncode}): {done.stdout}{done.stderr}")
        load = parse_websocket(done.stdout) if scenario.websocket else parse(done.stdout)
        spent = end.children_user + end.children_system - begin.children_user - begin.children_system
        return replace(load, busy=spent / load.seconds)

    def warm_up(self, scenario: Scenario, port: int, seconds: float) -> None:
        """A short run that nobody measures; both generators end early, and well, on SIGINT."""
        command = self._command(scenario, port, 60)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            process.wait(10)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
