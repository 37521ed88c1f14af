"""What an app takes without a server, measured in the same rounds: the least, which no server can save."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.running import APPS, Failed, environment, pinned
from bench.scenarios import Scenario

if TYPE_CHECKING:
    from bench.measure import Plan

CALLS = Path(__file__).with_name("calls.py")


@dataclass(frozen=True)
class Alone:
    """One measurement of an app: the mean over all calls."""

    scenario: str
    round: int
    user_us: float
    system_us: float


class Caller:
    """A process on the server's core that calls the app when it is told to, and waits otherwise."""

    def __init__(self, scenario: Scenario, plan: "Plan") -> None:
        self._scenario = scenario
        python = [str(plan.programs / "python"), "-B", str(CALLS)]
        self._process = subprocess.Popen(
            [
                *pinned(plan.server_cores),
                *python,
                scenario.interface,
                scenario.app,
                scenario.method,
                str(scenario.body_size),
            ],
            cwd=APPS,
            env=environment(plan.directory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        answer = bytes.fromhex(self._hear())
        if answer != scenario.expected:
            self.close()
            raise Failed(f"{scenario.app} without a server gave {answer[:80]!r} instead of {scenario.expected[:80]!r}")

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise Failed(f"{self._scenario.app} without a server ended with {self._process.returncode} (see above)")
        return line

    def measured(self, number: int, seconds: float) -> Alone:
        """Calls for so many seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        user, system = map(float, self._hear().split())
        return Alone(self._scenario.name, number, user, system)

    def close(self) -> None:
        """Its input ends, and so does it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
