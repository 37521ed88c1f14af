"""Leaves double-forked orphans to PID 1."""

import os
import time

import probe


@probe.route("orphans")
def orphans(environ, start_response, rest, query):
    """``/orphans/COUNT?code=N&linger=SECONDS``: each orphan's parent is gone before it exits with the code."""
    code, linger = int(query.get("code", "0")), float(query.get("linger", "0"))
    for _ in range(int(rest)):
        middle = os.fork()
        if middle == 0:
            if os.fork() == 0:
                time.sleep(linger)
                os._exit(code)
            os._exit(0)
        os.waitpid(middle, 0)
    return probe.answer(start_response, rest)


application = probe.application
