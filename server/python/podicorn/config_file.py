"""Reads the config file, a Python file or module, and divides plain values from those that stay in Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, ItemsView, KeysView, Mapping, ValuesView
from importlib.machinery import SourceFileLoader, SourcelessFileLoader

from podicorn import hooks
from podicorn.failure import Failure, first_line, traceback_text
from podicorn.settings import class_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from types import CodeType
    from typing import Any

DEFAULT_FILE = "gunicorn.conf.py"
#: The name under which Gunicorn runs the file, too: classes defined in it are found by it.
MODULE_NAME = "__config__"
#: Settings that may be given as a class, or as a function that returns one.
CLASSES = ("worker_class", "logger_class")


#: Gunicorn iterates over whatever it is given for a list.
_LISTS = (list, tuple, KeysView, ValuesView, ItemsView, Generator, map, filter)


class NotPlain(Exception):  # noqa: N818
    """A value that has no form outside Python."""


class ConfigFile:
    """What a config file has set: `values` in plain form, `python` as they are, `others` are names of no setting."""

    def __init__(
        self, path: str | None, values: dict[str, Any], python: dict[str, Any], others: Collection[str] = ()
    ) -> None:
        self.path = path
        self.values = values
        self.python = python
        self.others = list(others)


def load(path: str | None, explicit: bool, known: Collection[str]) -> ConfigFile:
    """Reads the file at `path` (`PATH`, `file:PATH` or `python:MODULE`), else `gunicorn.conf.py` if there is one."""
    location = path or DEFAULT_FILE
    if location.startswith("python:"):
        name = location[len("python:") :]
        return _divided(location, _run_module(name), known)
    location = os.path.abspath(location[len("file:") :] if location.startswith("file:") else location)
    if not os.path.exists(location):
        if not explicit:
            return ConfigFile(None, {}, {})
        raise Failure.config(
            f"the config file {location} does not exist; check --config (-c), "
            "relative paths count from the directory that the server is started in"
        )
    return _divided(location, _run_file(location), known)


class _Uncached(SourceFileLoader):
    """Neither writes nor believes a bytecode file: the config may change twice within the second that its time has."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _run_file(path: str) -> dict[str, Any]:
    from importlib.util import module_from_spec, spec_from_file_location

    loader = SourcelessFileLoader(MODULE_NAME, path) if path.endswith(".pyc") else _Uncached(MODULE_NAME, path)
    spec = spec_from_file_location(MODULE_NAME, path, loader=loader)
    if spec is None or spec.loader is None:
        raise Failure.config(f"cannot read config file {path}: it is no Python file")
    module = module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise _unreadable(f"config file {path}", error) from error
    return vars(module)


def _run_module(name: str) -> dict[str, Any]:
    import importlib

    try:
        return vars(importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            # The module itself: where it was looked for says more than a stack.
            raise Failure.config(f"there is no config module {name!r} on sys.path; see --pythonpath") from error
        raise _unreadable(f"config module {name!r}", error) from error
    except BaseException as error:
        raise _unreadable(f"config module {name!r}", error) from error


def _unreadable(what: str, error: BaseException) -> Failure:
    if isinstance(error, OSError) and error.filename and what.endswith(str(error.filename)):
        return Failure.config(f"cannot read {what}: {error.strerror}")
    return Failure.config(f"cannot read {what}: {first_line(error)}", traceback_text(error))


def _divided(where: str, names: Mapping[str, Any], known: Collection[str]) -> ConfigFile:
    values: dict[str, Any] = {}
    python: dict[str, Any] = {}
    for name in sorted(set(known).intersection(names)):
        value = names[name]
        if name in hooks.SIGNATURES:
            try:
                python[name] = hooks.checked(name, value)
            except ValueError as error:
                raise Failure.config(f"config file {where}: {error}") from error
            continue
        if name in CLASSES:
            value = _class_name(where, name, value, python)
        try:
            values[name] = plain(value)
        except NotPlain:
            python[name] = value
        except ValueError as error:
            raise Failure.config(f"config file {where}: {name}: {error}") from error
    return ConfigFile(where, values, python, _others(names, known))


def _others(names: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """What may be a misspelt setting; what is imported or private is none."""
    from types import ModuleType

    imported = (ModuleType, type)
    return sorted(
        name
        for name, value in names.items()
        if name not in known and not name.startswith("_") and not isinstance(value, imported)
    )


def _class_name(where: str, name: str, value: Any, python: dict[str, Any]) -> Any:
    """A class is told by its name, and kept; a function that is given instead returns the class (Gunicorn's rule)."""
    if callable(value) and not isinstance(value, type):
        try:
            value = value()
        except Exception as error:
            message = f"config file {where}: {name}: {first_line(error)}"
            raise Failure.config(message, traceback_text(error)) from error
    if not isinstance(value, type):
        return value
    python[name] = value
    return class_name(value)


def plain(value: Any) -> Any:  # noqa: PLR0911
    """The value in the types of JSON. Raises NotPlain, or ValueError for what cannot be passed on."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if value - value != 0.0:
            raise ValueError(f"{value!r} is not a number that a setting can have")
        return float(value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{value!r} is not valid UTF-8") from None
        return str.__str__(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise NotPlain
        return {str.__str__(key): plain(item) for key, item in value.items()}
    if isinstance(value, _LISTS):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value, key=str)]
    raise NotPlain
