"""The hooks of the config file: which there are, how they are checked, how they are called."""

from __future__ import annotations

from podicorn.failure import Failure, first_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Hook = Callable[..., Any]

#: Every hook with the parameters it is called with.
SIGNATURES: dict[str, tuple[str, ...]] = {
    "on_starting": ("server",),
    "on_reload": ("server",),
    "when_ready": ("server",),
    "pre_fork": ("server", "worker"),
    "post_fork": ("server", "worker"),
    "post_worker_init": ("worker",),
    "worker_int": ("worker",),
    "worker_abort": ("worker",),
    "pre_exec": ("server",),
    "pre_request": ("worker", "req"),
    "post_request": ("worker", "req", "environ", "resp"),
    "child_exit": ("server", "worker"),
    "worker_exit": ("server", "worker"),
    "nworkers_changed": ("server", "new_value", "old_value"),
    "on_exit": ("server",),
    "ssl_context": ("config", "default_ssl_context_factory"),
}

#: Older forms of post_request take fewer arguments; Gunicorn accepts them, so do we.
_FEWEST = {"post_request": 2}


def arity(function: Hook) -> int:
    """How many positional parameters a callable has, those with defaults included and `*args` not (Gunicorn's rule)."""
    code = getattr(function, "__code__", None)
    if code is not None and not hasattr(function, "__wrapped__") and not hasattr(function, "__signature__"):
        return int(code.co_argcount) - (1 if getattr(function, "__self__", None) is not None else 0)
    # A large module, so only for what is not a plain function.
    import inspect

    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in inspect.signature(function).parameters.values())


def _imported(value: str) -> Any:
    module, dot, name = value.rpartition(".")
    if not dot:
        raise ValueError(f"{value!r} is not a function, nor the name of one in the form module.function")
    import importlib

    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        raise ValueError(f"the module {module!r} has no {name!r}") from None


def checked(name: str, value: Any) -> Hook:
    """The hook as a callable that takes exactly the arguments of its signature. Raises ValueError."""
    parameters = SIGNATURES[name]
    signature = f"{name}({', '.join(parameters)})"
    if isinstance(value, str):
        try:
            value = _imported(value)
        except ImportError as error:
            raise ValueError(f"hook {name}: {first_line(error)}") from error
        except ValueError as error:
            raise ValueError(f"hook {name}: {error}") from error
    if not callable(value):
        raise ValueError(f"hook {name}: {value!r} is not callable; define it as a function {signature}")
    try:
        found = arity(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"hook {name}: the signature of {value!r} is unknown; define it as {signature}") from error
    if not _FEWEST.get(name, len(parameters)) <= found <= len(parameters):
        count = f"{found} parameter{'' if found == 1 else 's'}"
        raise ValueError(f"hook {name} has {count}; it is called as {signature}")
    if found < len(parameters):
        shorter: Hook = value
        return lambda *arguments: shorter(*arguments[:found])
    hook: Hook = value
    return hook


class Hooks:
    """The hooks that the config file defines."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._hooks: dict[str, Hook] = {name: value for name, value in values.items() if name in SIGNATURES}

    def get(self, name: str) -> Hook | None:
        """The hook, or None if the config file does not define it."""
        return self._hooks.get(name)

    def call(self, name: str, *arguments: Any) -> None:
        """Calls the hook if it is defined. What it raises is the caller's to handle."""
        hook = self._hooks.get(name)
        if hook is not None:
            hook(*arguments)

    def require(self, name: str, *arguments: Any) -> None:
        """Calls a hook without which the server does not start."""
        try:
            self.call(name, *arguments)
        except BaseException as error:
            from podicorn.failure import traceback_text

            raise Failure.config(f"hook {name} failed: {first_line(error)}", traceback_text(error)) from error
