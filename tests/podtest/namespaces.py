"""Whether this machine lets the launcher make its namespaces."""

import functools
import os
import subprocess
import sys

from podtest.server import LAUNCHER


@functools.cache
def why_not() -> str | None:
    """None if a program can run as PID 1 here, else the reason."""
    read, write = os.pipe()
    probe = "import os; raise SystemExit(0 if os.getpid() == 1 else 9)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(LAUNCHER), str(write), "--", sys.executable, "-I", "-S", "-c", probe],
        pass_fds=(write,),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(write)
    with os.fdopen(read) as lines:
        said = lines.read()
    if "status 0\n" in said:
        return None
    return (done.stderr.strip() or said.strip() or f"the launcher exited with {done.returncode}").splitlines()[-1]
