"""``make recycle``: 100,000 requests to workers that are replaced after 50 each, on every type; 0 may be lost."""

import argparse
import sys
import tempfile
from pathlib import Path

from podtest import crowd


def main() -> int:
    """The exit code: 1 if a request was lost."""
    parser = argparse.ArgumentParser(prog="python -m drain.recycle", description=__doc__)
    parser.add_argument("types", nargs="*", choices=[*crowd.OURS, []], help="all of ours by default")
    parser.add_argument("--requests", type=int, default=100_000)
    options = parser.parse_args()
    bad = False
    with tempfile.TemporaryDirectory() as directory:
        program = crowd.build(Path(directory))
        print("| type | requests | replaced workers | lost | retried | seconds |", "|---" * 6 + "|", sep="\n")
        for name in options.types or crowd.OURS:
            report, replaced = crowd.recycle(program, crowd.LINES[name], requests=options.requests)
            cells = (name, report.responses, replaced, report.lost, report.retries, round(report.seconds))
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            for detail in report.details[:5]:
                print("   ", detail, file=sys.stderr, flush=True)
            bad |= report.lost > 0 or report.early > 0 or report.retries * 100 > report.responses
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
