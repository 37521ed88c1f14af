"""What pyproject.toml cannot say: the Cargo workspace has the same version, and a build leaves nothing behind."""

import re
import tempfile
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent


def version_in(path: Path, pattern: str) -> str:
    """The version that the file states."""
    found = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{path} states no version")
    return found.group(1)


def check_version() -> None:
    """Refuses to build a package whose parts would name different versions."""
    workspace = HERE.parent / "Cargo.toml"
    package = HERE / "python" / "podicorn" / "__init__.py"
    cargo = version_in(workspace, r'^\[workspace\.package\]\n(?:[^\[].*\n)*?version = "([^"]+)"')
    python = version_in(package, r'^__version__ = "([^"]+)"')
    if cargo != python:
        raise SystemExit(f"{workspace} says version {cargo} and {package} says {python}: make them the same")


check_version()
with tempfile.TemporaryDirectory(prefix="podicorn-build-") as build_base:
    # A build directory that stays would put modules into the next wheel that are long gone from the sources.
    setup(options={"build": {"build_base": build_base}})
