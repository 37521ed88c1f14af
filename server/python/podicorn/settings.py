"""The merged settings as hooks see them: `server.cfg` and `worker.cfg`, with Gunicorn's attributes."""

from __future__ import annotations

from podicorn.environment import parse_env

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class Setting:
    """One setting, as in Gunicorn's `cfg.settings[name]`."""

    __slots__ = ("_values", "name")

    def __init__(self, values: dict[str, Any], name: str) -> None:
        self._values = values
        self.name = name

    @property
    def value(self) -> Any:
        """The merged value."""
        return self._values[self.name]

    def get(self) -> Any:
        """The merged value."""
        return self.value

    def set(self, value: Any) -> None:
        """Changes what the hooks and workers that come after see; the server itself is already configured."""
        self._values[self.name] = value


class Settings:
    """Every merged setting as an attribute. Hooks and classes are the Python objects of the config file."""

    def __init__(
        self, values: Mapping[str, Any], python: Mapping[str, Any], listeners: Sequence[Mapping[str, Any]]
    ) -> None:
        self._values: dict[str, Any] = dict(values)
        for name, value in python.items():
            # A class of the config file, unless the command line has named another one.
            if not isinstance(value, type) or values.get(name) == class_name(value):
                self._values[name] = value
        self._listeners = listeners

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"No configuration setting for: {name}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name in self._values:
            raise AttributeError(f"{name} is a setting: change it with cfg.set({name!r}, …)")
        super().__setattr__(name, value)

    def __str__(self) -> str:
        width = max(map(len, self._values), default=0)
        return "\n".join(f"{name:{width}} = {value}" for name, value in sorted(self._values.items()))

    def set(self, name: str, value: Any) -> None:
        """Changes what the hooks and workers that come after see; the server itself is already configured."""
        if name not in self._values:
            raise AttributeError(f"No configuration setting for: {name}")
        self._values[name] = value

    @property
    def settings(self) -> dict[str, Setting]:
        """All settings by name."""
        return {name: Setting(self._values, name) for name in self._values}

    def to_dict(self) -> dict[str, Any]:
        """A copy of all values by name."""
        return dict(self._values)

    @property
    def address(self) -> list[tuple[str, int] | str]:
        """Where the server listens: `(host, port)` or the path of a unix socket."""
        return [listener_address(listener) for listener in self._listeners]

    @property
    def uid(self) -> int:
        """The user id of the workers."""
        return int(self._values["user"])

    @property
    def gid(self) -> int:
        """The group id of the workers."""
        return int(self._values["group"])

    @property
    def env(self) -> dict[str, str]:
        """The variables of `raw_env`."""
        return parse_env(self._values.get("raw_env") or [])

    @property
    def proc_name(self) -> str:
        """The name in process lists."""
        return str(self._values.get("proc_name") or self._values.get("default_proc_name") or "podicorn")

    @property
    def worker_class_str(self) -> str:
        """The worker type by name."""
        name = self._values.get("worker_class", "sync")
        return name if isinstance(name, str) else str(name.__name__)

    @property
    def is_ssl(self) -> bool:
        """Whether the server itself speaks TLS."""
        return bool(self._values.get("certfile") or self._values.get("keyfile"))


def class_name(value: type) -> str:
    """How a class of the config file is named outside Python."""
    return f"{value.__module__}:{value.__qualname__}"


def listener_address(listener: Mapping[str, Any]) -> tuple[str, int] | str:
    """A listener's address as Gunicorn has it in `cfg.address`."""
    if listener["family"] == "unix":
        return str(listener["path"])
    return (str(listener["host"]), int(listener["port"]))
