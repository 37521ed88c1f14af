"""`python -m podicorn …` is the program `podicorn` of this installation, running the app in this very interpreter."""

from __future__ import annotations

import os
import sys
import sysconfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "podicorn"


def _candidates() -> Iterator[str]:
    """Where pip puts programs: in the environment's directory, the user's, beside the package or where it recorded."""
    for scheme in (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")):
        yield os.path.join(sysconfig.get_path("scripts", scheme), PROGRAM)
    # pip install --target
    yield os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin", PROGRAM)

    from importlib.metadata import PackageNotFoundError, files

    try:
        recorded = files(PROGRAM) or []
    except PackageNotFoundError:
        return
    for path in recorded:
        if path.name == PROGRAM and path.parent.name == "bin":
            # pip install --prefix
            yield os.path.normpath(path.locate())


def find_program() -> str | None:
    """The path of the arbiter's executable, or None."""
    for path in _candidates():
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def main() -> None:
    """Replaces this process by the arbiter."""
    program = find_program()
    if program is None:
        looked = ", ".join(dict.fromkeys(os.path.dirname(path) for path in _candidates()))
        sys.exit(f"podicorn: the program is missing (looked in {looked}); reinstall it with: pip install podicorn")
    arguments = sys.argv[1:]
    if not any(word == "--python" or word.startswith("--python=") for word in arguments):
        arguments = ["--python", sys.executable, *arguments]
    os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main()
