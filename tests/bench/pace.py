"""How fast the machine is just now: where it is shared, others slow a core down for seconds, and no counter says so."""

import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

#: Rounds of the fixed piece of work: some ten milliseconds.
WORK = 200_000
#: The usual pace is that which so large a part of all looks were faster than.
FAST = 0.2
#: A measurement counts as even if both its ends were at the usual pace, or slower by no more than this.
UNEVEN = 1.15
#: How often a measurement is taken in search of an even one.
TRIES = 3


def work() -> float:
    """CPU seconds that the fixed piece of work takes."""
    start = time.thread_time()
    total = 0
    for number in range(WORK):
        total += number
    return time.thread_time() - start


def on(core: int, act: Callable[[], float]) -> float:
    """What ``act`` says, done by this thread on that core."""
    home = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return act()
    finally:
        os.sched_setaffinity(0, home)


class Pace:
    """Looks at the slowest of some cores before and after each measurement, and has the uneven ones repeated."""

    def __init__(self, cores: Sequence[int], work: Callable[[], float] = work) -> None:
        self._cores = cores
        self._work = work
        self._looks: list[float] = []

    def look(self) -> float:
        """CPU seconds of the fixed piece of work."""
        slowest = max(on(core, self._work) for core in self._cores)
        self._looks.append(slowest)
        return slowest

    def usual(self) -> float:
        """The same, at the usual pace of this run so far."""
        return sorted(self._looks)[int(len(self._looks) * FAST)]

    def evenly(self, measure: Callable[[], T]) -> tuple[T, float]:
        """The most even of at most ``TRIES`` measurements, and how much slower than usual its worse end was."""
        best: tuple[T, float] | None = None
        for _ in range(TRIES):
            before = self.look()
            value = measure()
            slowness = max(before, self.look()) / self.usual()
            if best is None or slowness < best[1]:
                best = value, slowness
            if slowness <= UNEVEN:
                break
        assert best is not None
        return best
