"""Reports every run of an ``os.register_at_fork`` hook, one line each on stderr."""

import os

import probe


def report(which):
    os.write(2, f"fork hook {which} in {os.getpid()}\n".encode())


os.register_at_fork(
    before=lambda: report("before"),
    after_in_parent=lambda: report("parent"),
    after_in_child=lambda: report("child"),
)

application = probe.application
