"""``make drain``: terminates servers of every type under load, many times, and prints what became of the requests.

The short version of it is ``blackbox/test_termination.py``.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from podtest import crowd

COLUMNS = ("type", "terminations", "requests", "after TERM", "lost", "refused too early", "retried", "seconds each")


def row(name: str, total: crowd.Report) -> str:
    """A line of the table."""
    cells = (
        name,
        total.terminations,
        total.responses,
        total.after_term,
        total.lost,
        total.early,
        total.retries,
        f"{total.seconds / max(total.terminations, 1):.1f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> int:
    """The exit code: 1 if a type that is ours has lost a request."""
    parser = argparse.ArgumentParser(prog="python -m drain", description=__doc__)
    parser.add_argument("types", nargs="*", choices=[*crowd.LINES, []], help="all by default")
    parser.add_argument("--times", type=int, default=50, help="terminations of each type")
    options = parser.parse_args()
    bad = False
    with tempfile.TemporaryDirectory() as directory:
        program = crowd.build(Path(directory))
        print("| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|", sep="\n", flush=True)
        for name in options.types or crowd.LINES:
            total = crowd.Report()
            for number in range(options.times):
                total.add(crowd.terminate(program, crowd.LINES[name], chunked=number % 2 == 1))
            print(row(name, total), flush=True)
            for detail in total.details[:5]:
                print("   ", detail, file=sys.stderr, flush=True)
            bad |= name in crowd.OURS and (total.lost > 0 or total.early > 0 or not total.rare())
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
