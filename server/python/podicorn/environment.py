"""What of the process the app finds set up: environment variables, working directory, `sys.path`, `sys.argv`."""

from __future__ import annotations

import os
import sys

from podicorn.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def logical_cwd() -> str:
    """The working directory by the name that the user knows it by (`$PWD`), so that a symlink `current` stays one."""
    actual = os.getcwd()
    named = os.environ.get("PWD", "")
    try:
        if os.path.isabs(named) and os.path.samefile(named, actual):
            return named
    except OSError:
        pass
    return actual


def parse_env(pairs: Iterable[str]) -> dict[str, str]:
    """The variables of `raw_env`, a list of `KEY=VALUE`."""
    variables = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise Failure.config(f"raw_env: {pair!r} is not of the form KEY=VALUE")
        variables[key] = value
    return variables


def set_env(pairs: Iterable[str]) -> None:
    """Sets the variables of `raw_env`."""
    try:
        os.environ.update(parse_env(pairs))
    except ValueError as error:
        raise Failure.config(f"raw_env: {error}") from error


def put_first(directory: str) -> None:
    """Makes a directory the first of `sys.path`, unless it is already there."""
    if directory not in sys.path:
        sys.path.insert(0, directory)


def enter(directory: str) -> None:
    """Changes to the app's directory and lets Python import from it."""
    try:
        os.chdir(directory)
    except OSError as error:
        raise Failure.config(
            f"cannot change to the directory {directory!r}: {error.strerror}; check the setting chdir"
        ) from error
    put_first(directory)


def add_python_path(pythonpath: str | None, base: str) -> None:
    """Puts the comma-separated directories of `pythonpath`, relative ones from `base`, in front of `sys.path`."""
    for path in (pythonpath or "").split(","):
        if path.strip():
            put_first(os.path.normpath(os.path.join(base, path.strip())))


def arbiter_argv(arbiter_pid: int) -> list[str]:
    """The command line of the arbiter, which apps expect in `sys.argv`; just the program's name where it is hidden."""
    try:
        with open(f"/proc/{arbiter_pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")[:-1]
    except OSError:
        words = []
    return [os.fsdecode(word) for word in words] or ["podicorn"]
