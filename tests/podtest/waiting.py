"""Waiting for a condition, with a deadline that is generous on a loaded machine."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds that any single wait may take. Tests never assert how long something took; a deadline only ends a
#: wait for what will not come.
DEADLINE = float(os.environ.get("PODTEST_DEADLINE", "60"))


def wait_until(
    predicate: Callable[[], T], what: str | Callable[[], str], deadline: float = DEADLINE, every: float = 0.02
) -> T:
    """Return the first true value of ``predicate``; after ``deadline`` seconds fail, saying ``what`` never came."""
    end = time.monotonic() + deadline
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {deadline:g} s in vain: {said}")
        time.sleep(every)
