"""What the app counts with `prometheus_client` becomes part of the server's own `/metrics`.

The library's multiprocess mode keeps each process's values in files of a directory. Two things are different here. The
directory is the arbiter's own, in memory, and gone when the server is. And a worker's files carry the name of its slot
instead of its pid: the next worker of the slot goes on where the last one has stopped, so counters never fall, and
there are never more files than there have been slots.

The library is not imported here. If the app imports it, it finds itself in that mode.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: The module that chooses where values live, at the moment of its import.
_VALUES = "prometheus_client.values"

#: Whose values a process counts, by the pid for which that was said.
_owner: dict[int, str] = {}


def share(directory: str | None) -> bool:
    """Before the app is imported: its values go to the directory. False where the user has one of their own."""
    if directory is None or VARIABLE in os.environ or VARIABLE.lower() in os.environ:
        return False
    os.environ[VARIABLE] = directory
    module = sys.modules.get(_VALUES)
    if module is not None:
        # The config file has imported it, for a hook.
        _adopt(module)
    else:
        sys.meta_path.insert(0, _Finder())
    return True


def belong_to(name: str) -> None:
    """What this process counts is filed under the name; what its children count, under their pids."""
    _owner.clear()
    _owner[os.getpid()] = name


def _identity() -> str:
    """The library asks at each use, and begins new files when the answer has changed: so it notices forks."""
    pid = os.getpid()
    return _owner.get(pid, str(pid))


def _adopt(values: ModuleType) -> None:
    make = getattr(values, "MultiProcessValue", None)
    if make is not None:
        values.ValueClass = make(_identity)  # type: ignore[attr-defined]


class _Finder:
    """Waits for the import of one module and steps aside for all others."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """As `importlib` asks."""
        if name != _VALUES:
            return None
        import importlib.util

        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """The module's own loader, and then our word on it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module, then puts our values in the place of the library's."""
        self._loader.exec_module(module)
        _adopt(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
