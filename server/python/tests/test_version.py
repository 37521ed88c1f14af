"""One version in both languages."""

import re
from pathlib import Path

import podicorn


def test_the_cargo_workspace_has_the_same_version():
    cargo = (Path(__file__).resolve().parents[3] / "Cargo.toml").read_text()
    section = cargo.partition("[workspace.package]")[2].partition("\n[")[0]
    assert re.search(r'^version = "([^"]+)"$', section, re.MULTILINE).group(1) == podicorn.__version__
