"""Fixtures: a fork server with a fake engine, in a directory of its own."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from arbiter import Arbiter, become_subreaper


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory for an app and its config file; `project(name=text)` writes `name.py`."""

    def write(**files):
        for name, text in files.items():
            target = "gunicorn.conf.py" if name == "config" else f"{name}.py"
            (tmp_path / target).write_text(text)
        return tmp_path

    return write


@pytest.fixture
def serve(tmp_path):
    """Starts fork servers in the project's directory."""
    become_subreaper(True)
    started = []

    def start(**options):
        arbiter = Arbiter(**{"cwd": tmp_path, **options})
        started.append(arbiter)
        return arbiter

    yield start
    for arbiter in started:
        arbiter.close()
    become_subreaper(False)
