"""`worker.tmp` without a file."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Heartbeat:
    """`worker.tmp`: in Gunicorn a file whose time of change is the heartbeat; here that is in the scoreboard."""

    def __init__(self, cfg: Any) -> None:
        self._beat: Callable[[], None] | None = None
        self._last = time.monotonic()
        self._fd = -1

    def bind(self, beat: Callable[[], None]) -> None:
        """From now on, in the worker, `notify` calls this."""
        self._beat = beat

    def notify(self) -> None:
        """The worker is alive."""
        self._last = time.monotonic()
        if self._beat is not None:
            self._beat()

    def last_update(self) -> float:
        """When `notify` was last called in this process, by the monotonic clock."""
        return self._last

    def fileno(self) -> int:
        """A descriptor, for classes that want one: of memory, not of a file on a disk."""
        if self._fd < 0:
            self._fd = os.memfd_create("podicorn-heartbeat")
        return self._fd

    def close(self) -> None:
        """Gives the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
