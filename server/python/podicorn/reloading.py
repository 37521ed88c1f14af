"""The fork server's part in `reload`: workers tell it which files have changed, and it asks the arbiter for a reload.

Workers may have changed their user by then and could not send the signal themselves.
"""

from __future__ import annotations

import os
import signal

from podicorn import watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from podicorn.settings import Settings

#: As much as a pipe holds.
READ_BYTES = 64 * 1024


class Changes:
    """The pipe from the workers' watchers."""

    def __init__(self, cfg: Settings, directory: str, arbiter_pid: int, log: Any) -> None:
        self._engine = watcher.engine_of(cfg)
        self._patterns = watcher.extra_files(cfg, directory)
        self._arbiter_pid = arbiter_pid
        self._log = log
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._told: dict[bytes, tuple[int, int]] = {}
        log.warning("Reloader is on. Use in development only!")

    def fileno(self) -> int:
        """Readable when a worker has something to tell."""
        return self._reader

    def make_watcher(self) -> watcher.Watcher:
        """In a worker."""
        os.close(self._reader)
        return watcher.Watcher(self._engine, self._patterns, self._writer)

    def pass_on(self) -> None:
        """One signal for all that has changed; what another worker has told already is nothing new."""
        try:
            names = os.read(self._reader, READ_BYTES).split(b"\n")
        except BlockingIOError:
            return
        fresh = [name for name in names if name and self._is_new(name)]
        for name in fresh:
            self._log.info("Worker reloading: %s modified", os.fsdecode(name))
        if fresh:
            os.kill(self._arbiter_pid, signal.SIGHUP)

    def _is_new(self, name: bytes) -> bool:
        try:
            found = os.stat(name)
        except OSError:
            return False
        state = (found.st_mtime_ns, found.st_size)
        if self._told.get(name) == state:
            return False
        self._told[name] = state
        return True
