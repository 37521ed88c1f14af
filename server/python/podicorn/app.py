"""Finds and loads the app: `MODULE`, `MODULE:NAME` or `MODULE:FACTORY(LITERALS)`, by the rules of Gunicorn."""

from __future__ import annotations

import importlib
import os

from podicorn.failure import APP_LOAD_ERROR, BOOT_ERROR, Failure, first_line, traceback_text
from podicorn.heap import keep_for_good

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEFAULT_NAME = "application"


class AppImportError(Exception):
    """The module is there, but what the spec names is not in it or is no app."""


class AppSpec:
    """A spec taken apart. `arguments` is None unless the app is made by a factory."""

    def __init__(self, module: str, name: str, arguments: tuple[list[Any], dict[str, Any]] | None) -> None:
        self.module = module
        self.name = name
        self.arguments = arguments

    @classmethod
    def parse(cls, spec: str) -> AppSpec:
        """Raises AppImportError for what follows the colon."""
        module, colon, expression = spec.partition(":")
        if not colon:
            return cls(module, DEFAULT_NAME, None)
        if expression.isidentifier():
            return cls(module, expression, None)
        name, arguments = _call(expression, spec)
        return cls(module, name, arguments)


def _call(expression: str, spec: str) -> tuple[str, tuple[list[Any], dict[str, Any]] | None]:
    import ast

    try:
        node = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        node = None
    if isinstance(node, ast.Name):
        return node.id, None
    if not isinstance(node, ast.Call):
        raise AppImportError(
            f"the app {spec!r}: {expression!r} is neither a name nor a call; write MODULE:NAME or MODULE:FACTORY(…)"
        )
    if not isinstance(node.func, ast.Name):
        raise AppImportError(f"the app {spec!r}: the factory must be a plain name, without dots")
    try:
        positional = [ast.literal_eval(argument) for argument in node.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg}
        if len(named) != len(node.keywords):
            raise ValueError("**")
    except (ValueError, TypeError, SyntaxError, RecursionError):
        raise AppImportError(
            f"the app {spec!r}: the factory's arguments must be literals, such as 1, 'text' or debug=True"
        ) from None
    return node.func.id, (positional, named)


def import_app(uri: str) -> Callable[..., Any]:
    """Imports the module and returns the app. Raises what the app's own code raises, or AppImportError."""
    module_name = uri.partition(":")[0]
    if not module_name or module_name.startswith("."):
        raise ImportError(f"the app {uri!r} names no module: write MODULE:NAME with the module's full name")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        if module_name.endswith(".py") and os.path.exists(module_name):
            name = uri.partition(":")[2] or DEFAULT_NAME
            meant = os.path.normpath(module_name[: -len(".py")]).replace(os.sep, ".")
            raise ImportError(
                f"{module_name!r} is a file; name the module instead: did you mean '{meant}:{name}'?"
            ) from error
        raise
    spec = AppSpec.parse(uri)
    try:
        app = getattr(module, spec.name)
    except AttributeError:
        raise AppImportError(
            f"the app's module {spec.module!r} ({getattr(module, '__file__', None) or 'no file'}) has no "
            f"{spec.name!r}; name the app as MODULE:NAME"
        ) from None
    if spec.arguments is not None:
        app = _made(app, spec)
    if app is None:
        raise AppImportError(f"the app {uri!r} is None")
    if not callable(app):
        raise AppImportError(f"the app {uri!r} is not callable: it is of type {type(app).__name__}")
    result: Callable[..., Any] = app
    return result


def _made(factory: Any, spec: AppSpec) -> Any:
    positional, named = spec.arguments or ([], {})
    try:
        return factory(*positional, **named)
    except TypeError as error:
        # A call that does not fit fails in our own frame; anything else is the factory's own fault.
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise AppImportError(f"the app's factory {spec.module}:{spec.name}: {first_line(error)}") from None
        raise


def _is_missing_itself(uri: str, error: BaseException) -> bool:
    """Whether it is the app's module that was not found, and not one that it imports."""
    module = uri.partition(":")[0]
    name = getattr(error, "name", None)
    return isinstance(error, ModuleNotFoundError) and bool(name) and f"{module}.".startswith(f"{name}.")


def failure(uri: str, error: BaseException) -> Failure:
    """The exception of an import as what the server says of it and exits with (Gunicorn's codes)."""
    if isinstance(error, AppImportError):
        return Failure("app_import", APP_LOAD_ERROR, str(error))
    if _is_missing_itself(uri, error):
        text = f"cannot find the app {uri!r}: {error} (in {os.getcwd()} or on sys.path; see --chdir and --pythonpath)"
        return Failure("app", BOOT_ERROR, text)
    if isinstance(error, ImportError) and getattr(error, "name", None) is None:
        return Failure("app", BOOT_ERROR, f"cannot find the app: {error}")
    if isinstance(error, SystemExit):
        text = f"the app {uri!r} called sys.exit({error.code!r}) while it was loaded"
        return Failure("app", BOOT_ERROR, text, traceback_text(error))
    return Failure("app", BOOT_ERROR, f"cannot load the app {uri!r}: {first_line(error)}", traceback_text(error))


class Application:
    """The app of this server, loaded once a process."""

    def __init__(self, uri: str, failing: Callable[[str], Callable[..., Any]] | None = None) -> None:
        """`failing`: makes what is served, from a text, where the app's own code raises while it is loaded."""
        self.uri = uri
        self.callable: Callable[..., Any] | None = None
        self._failing = failing
        #: Why another one is served.
        self.failure: Failure | None = None
        #: Where the cause may be mended.
        self.failed_files: list[str] = []

    def wsgi(self) -> Callable[..., Any]:
        """The app itself; loads it at the first call."""
        if self.callable is None:
            try:
                self.callable = import_app(self.uri)
            except Exception as error:
                found = failure(self.uri, error)
                if self._failing is None or found.traceback is None:
                    raise
                # Imported where it is used: under `reload`.
                from podicorn.failing_app import files_of

                self.failure, self.failed_files = found, files_of(error)
                self.callable = self._failing(found.traceback)
            keep_for_good()
        return self.callable
