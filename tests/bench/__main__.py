"""The command line of the benchmark: ``make bench``, or ``python -m bench`` in tests/."""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from bench import measure, results, scenarios
from bench.pace import Pace
from bench.running import Failed, prepare_database
from bench.servers import FAMILIES

#: What can be chosen beside the scenarios; "scaling" stands for all of its scenarios.
SECTIONS = ("memory", "scaling")
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CACHE = Path(os.environ.get("PODICORN_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def names(allowed: tuple[str, ...]):
    """A comma-separated choice."""

    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        unknown = [name for name in chosen if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(allowed)}")
        return chosen

    return parse


def options() -> argparse.Namespace:
    """The flags."""
    known = (*scenarios.by_name(), *SECTIONS)
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about three minutes: fewer scenarios, short rounds")
    parser.add_argument("--only", type=names(known), metavar="SCENARIO,…", help=", ".join(known))
    parser.add_argument(
        "--servers", type=names(tuple(FAMILIES)), default=tuple(FAMILIES), metavar="NAME,…", help=", ".join(FAMILIES)
    )
    parser.add_argument("--rounds", type=int, help="rounds of each scenario [5; quick: 3]")
    parser.add_argument("--seconds", type=int, help="length of one measurement [2; quick: 1]")
    parser.add_argument(
        "--output",
        type=Path,
        default=CACHE / "podicorn-bench-results",
        metavar="DIR",
        help="where result.json, result.md and the plots go [%(default)s]",
    )
    parser.add_argument("--write", action="store_true", help="put the result into the READMEs of the checkout, too")
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> tuple[str, ...]:
    """The scenarios and sections to run."""
    known = scenarios.by_name()
    if arguments.only:
        whole = tuple(scenario.name for scenario in scenarios.SCALING) if "scaling" in arguments.only else ()
        return arguments.only + whole
    if arguments.quick:
        return tuple(name for name, scenario in known.items() if scenario.quick)
    return (*known, *SECTIONS)


def stop(number: int, frame: FrameType | None) -> None:
    """The run ends through every ``finally``, which nothing may interrupt."""
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """The exit code: 0 if the run is whole, whatever it says."""
    arguments = options()
    for number in STOPPING:
        signal.signal(number, stop)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("The benchmark needs two cores: one for the server, one for wrk.", file=sys.stderr)
        return 1
    wanted = chosen(arguments)
    # The access logs lie in memory, where the system has such a place.
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="podicorn-bench-", dir=shared if os.access(shared, os.W_OK) else None) as d:
        plan = measure.Plan(
            scenarios=tuple(s for s in scenarios.ALL if s.name in wanted),
            families=arguments.servers,
            rounds=arguments.rounds or (3 if arguments.quick else 5),
            seconds=arguments.seconds or (1 if arguments.quick else 2),
            warm_up=0.2 if arguments.quick else 0.4,
            programs=Path(sys.prefix) / "bin",
            directory=Path(d),
            server_cores=str(cores[0]),
            load_cores=str(cores[1]),
            all_cores=",".join(map(str, cores)),
            pace=Pace(cores[:2]),
            say=lambda line: print(line, flush=True),
        )
        # This process must not disturb the server.
        os.sched_setaffinity(0, {cores[1]})
        try:
            prepare_database(plan.programs, plan.directory)
            result = results.collect(plan, with_memory="memory" in wanted)
        except Failed as failure:
            print(f"bench: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("bench: interrupted", file=sys.stderr)
            return 130
    results.write(result, arguments.output, into_checkout=arguments.write)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
