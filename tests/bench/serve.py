"""Runs a peer whose command line does not know workers: ``serve.py bjoern|fastpysgi PORT WORKERS MODULE:APP``."""

import importlib
import inspect
import os
import signal
import sys


def run_bjoern(app, port: int, workers: int) -> None:
    """One process per worker, each with a listener of its own: bjoern's way to use several cores."""
    import bjoern

    for _ in range(workers - 1):
        if os.fork() == 0:
            break
    bjoern.run(app, "127.0.0.1", port, reuse_port=workers > 1, listen_backlog=2048)


def run_fastpysgi(app, port: int, workers: int) -> None:
    """fastpysgi forks by itself. To an ASGI app it gives the loop that it is given."""
    import fastpysgi

    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__):
        import uvloop

        fastpysgi.server.loop = uvloop.new_event_loop()
    fastpysgi.run(app, "127.0.0.1", port, workers=workers)


def load(target: str):
    """The app ``MODULE:APP`` of the current directory."""
    sys.path.insert(0, os.getcwd())
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def main() -> None:
    """See the module's text."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    name, port, workers, target = sys.argv[1:]
    {"bjoern": run_bjoern, "fastpysgi": run_fastpysgi}[name](load(target), int(port), int(workers))


if __name__ == "__main__":
    main()
