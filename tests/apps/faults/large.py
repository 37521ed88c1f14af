"""Holds much memory from import on, to see whether workers share it."""

import gc

import probe

#: Many small objects that the collector tracks: a collection writes into each that is not frozen.
BALLAST = [[number, [f"entry {number}"]] for number in range(100_000)]


@probe.route("collect")
def collect(environ, start_response, rest, query):
    """Runs the garbage collector; says how many objects are frozen."""
    gc.collect()
    return probe.answer(start_response, str(gc.get_freeze_count()))


application = probe.application
