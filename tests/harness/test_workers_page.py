"""docs/workers.md names tests that exist, and the matrix has a cell for every type."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "workers.md").read_text()


def test_the_tests_that_it_names_exist():
    named = set(re.findall(r"`(test_\w+)::(test_\w+)`", PAGE))
    assert len(named) > 30
    known = set()
    for file in (ROOT / "tests" / "blackbox").glob("test_*.py"):
        known |= {
            (file.stem, node.name) for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)
        }
    assert named <= known, f"no such tests: {sorted(named - known)}"


def test_the_matrix_has_a_cell_for_every_type():
    matrix = PAGE.split("## Support matrix")[1].split("### Shown by")[0]
    rows = [line.strip("|").split("|") for line in matrix.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in rows[0][1:]] == [
        "sync", "gthread", "asgi", "gevent", "eventlet", "tornado", "third-party",
    ]  # fmt: skip
    assert {len(row) for row in rows} == {8}
