"""Finds the class that `-k` names where it is none of the server's own types."""

from __future__ import annotations

import importlib
import sys

from podicorn import entry_point
from podicorn.failure import Failure, first_line, traceback_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from typing import Any

#: Where packages announce worker classes, as Gunicorn has it.
GROUP = "gunicorn.workers"


def load(named: Any) -> type:
    """The class, by `package.module.Class`, `module:Class`, `egg:DIST#NAME` or an entry point's name; or itself."""
    if isinstance(named, type):
        _need_gunicorn(f"{named.__module__}.{named.__qualname__}")
        return _checked(named, f"{named.__module__}.{named.__qualname__}")
    name = str(named)
    found: Any
    if name.startswith(entry_point.EGG):
        found = _loaded(entry_point.of_package(name, GROUP, "worker class"), name)
    elif "." in name or ":" in name:
        _need_gunicorn(name)
        found = _by_path(name)
    else:
        found = _announced(name)
    return _checked(found, name)


def _need_gunicorn(name: str) -> None:
    try:
        importlib.import_module("gunicorn.workers.base")
    except ImportError as error:
        raise Failure.config(
            f"the worker class {name} is made for Gunicorn and needs that package as a library, which {sys.executable} "
            f"cannot import ({error}); install it with: pip install podicorn[gunicorn]"
        ) from error
    from podicorn import gunicorn_library

    # Before the class's module takes over names that this changes.
    gunicorn_library.install()


def _by_path(name: str) -> Any:
    module_name, colon, path = name.partition(":")
    if not colon:
        module_name, _, path = name.rpartition(".")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            # The module itself: where it was looked for says more than a stack.
            raise Failure.config(
                f"worker class {name}: there is no module {error.name!r} on sys.path; install it, or see --pythonpath"
            ) from error
        raise _failed(name, error) from error
    except BaseException as error:
        raise _failed(name, error) from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise Failure.config(f"worker class {name}: {module_name!r} has no {path!r}") from error
        except BaseException as error:
            raise _failed(name, error) from error
    return found


def _failed(name: str, error: BaseException) -> Failure:
    return Failure.config(f"worker class {name}: {first_line(error)}", traceback_text(error))


def _announced(name: str) -> Any:
    found = entry_point.of_any(name, GROUP)
    if found is None:
        raise Failure.config(
            f"there is no worker type {name!r}, nor an entry point of that name in the group {GROUP}; podicorn --help "
            "lists the types, and a class is named as package.module.Class"
        )
    return _loaded(found, name)


def _loaded(point: EntryPoint, name: str) -> Any:
    _need_gunicorn(name)
    try:
        return point.load()
    except BaseException as error:
        raise _failed(name, error) from error


def _checked(found: Any, name: str) -> type:
    from gunicorn.workers.base import Worker

    if isinstance(found, type) and issubclass(found, Worker):
        return found
    raise Failure.config(
        f"worker class {name}: {found!r} is no subclass of gunicorn.workers.base.Worker; name such a class"
    )
