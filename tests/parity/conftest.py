"""What the suites that compare share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from parity.project import PROGRAMS, Project


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Callable[..., dict[str, Project]]]:
    """Starts both servers, each with a directory of its own for sockets."""
    started: list[Project] = []

    def start(name: str, app: str, environment: Callable[[str], dict[str, str]]) -> dict[str, Project]:
        made = {}
        for program in PROGRAMS:
            made[program] = Project(program, name, app, tmp_path, environment(program))
            started.append(made[program])
        return made

    yield start
    for project in started:
        project.server.close()
        said = (project.server.err.text, project.server.out.text, project.record.read_text())
        print("\n".join((f"--- {project.server.program}", *said)))
