"""The tests of a folder, as their files have them, for tables that name tests."""

import ast
from pathlib import Path


def suite_of(folder: Path) -> dict[str, ast.FunctionDef]:
    """By ``FILE::NAME``."""
    return {
        f"{path.name}::{node.name}": node
        for path in folder.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
