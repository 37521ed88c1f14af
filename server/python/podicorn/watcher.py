"""`reload`: a worker watches the files of the modules that it has loaded, and tells the fork server what has changed.

It does not leave, as in Gunicorn: the fork server asks the arbiter for a reload, which replaces the workers when the
new code serves, and not before.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import os
import sys

# As they are before anything is patched: this thread is no greenlet.
from _thread import start_new_thread
from os import stat, write
from time import sleep

from podicorn.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from podicorn.settings import Settings

#: Seconds between two looks.
INTERVAL = 1.0
#: A pipe takes so much in one piece (POSIX: PIPE_BUF).
LONGEST = 4096


def engine_of(cfg: Settings) -> str:
    """`poll` or `inotify`. Raises Failure where the latter is asked for and not there."""
    # A hub's select is not what that package expects.
    green = cfg.worker_type in ("gevent", "eventlet")
    if cfg.reload_engine == "poll" or (green and cfg.reload_engine == "auto"):
        return "poll"
    try:
        importlib.import_module("inotify.adapters")
    except ImportError as error:
        if cfg.reload_engine == "inotify":
            raise Failure.config(
                f"reload_engine inotify needs the package inotify, which {sys.executable} cannot import ({error}); "
                "install it there with pip, or take --reload-engine poll"
            ) from error
        return "poll"
    return "inotify"


def extra_files(cfg: Settings, directory: str) -> list[str]:
    """The patterns of `reload_extra_files`, which count from where the server was started, and not from `chdir`."""
    entries = [os.path.join(directory, entry) for entry in cfg.reload_extra_files or ()]
    for entry in entries:
        if not glob.has_magic(entry) and not os.path.exists(entry):
            raise Failure.config(f"reload_extra_files: {entry!r} does not exist")
    return entries


class Watcher:
    """Looks at files in a thread of its own, and writes the names of those that have changed to a pipe."""

    def __init__(self, engine: str, patterns: Iterable[str], pipe: int) -> None:
        self._engine = engine
        self._patterns = list(patterns)
        self._pipe = pipe
        self._seen: dict[str, tuple[int, int]] = {}

    def start(self, more: Iterable[str] = ()) -> None:
        """Begins; `more` are files beside those of modules, such as those of a traceback."""
        self._patterns += [glob.escape(name) for name in more]
        # What is there now is what was loaded.
        self._look()
        start_new_thread(self._watch_by_events if self._engine == "inotify" else self._watch, ())

    def add_extra_file(self, filename: str) -> None:
        """One more file, as in Gunicorn."""
        self._patterns.append(glob.escape(filename))

    def _files(self) -> Iterator[str]:
        for module in tuple(sys.modules.values()):
            name = getattr(module, "__file__", None)
            if isinstance(name, str):
                yield name[:-1] if name.endswith((".pyc", ".pyo")) else name
        for pattern in self._patterns:
            # Each time anew: files may be new.
            yield from glob.glob(pattern, recursive=True)

    def _look(self) -> list[str]:
        """Those that are not as they were when they were first seen, or seen last."""
        changed = []
        for name in set(self._files()):
            try:
                found = stat(name)
            except OSError:
                continue
            state = (found.st_mtime_ns, found.st_size)
            if self._seen.setdefault(name, state) != state:
                self._seen[name] = state
                changed.append(name)
        return changed

    def _tell(self, changed: Iterable[str]) -> None:
        for name in changed:
            with contextlib.suppress(OSError):
                write(self._pipe, os.fsencode(name)[: LONGEST - 1] + b"\n")

    def _watch(self) -> None:
        while True:
            sleep(INTERVAL)
            self._tell(self._look())

    def _watch_by_events(self) -> None:
        adapters: Any = importlib.import_module("inotify.adapters")
        notifier = adapters.Inotify()
        watched: set[str] = set()
        self._add_directories(notifier, watched)
        # What has changed before it was watched.
        self._tell(self._look())
        # An event is only the occasion for a look: editors write by way of other files, and links point elsewhere.
        for event in notifier.event_gen():
            if event is None:
                self._add_directories(notifier, watched)
            self._tell(self._look() if event is not None else ())

    def _add_directories(self, notifier: Any, watched: set[str]) -> None:
        names = set(self._files())
        directories = {os.path.dirname(os.path.abspath(name)) for name in names}
        directories |= {os.path.dirname(os.path.realpath(name)) for name in names}
        for directory in directories - watched:
            watched.add(directory)
            # The limit of watches, or a directory that has gone: the others are still watched.
            with contextlib.suppress(Exception):
                notifier.add_watch(directory)
