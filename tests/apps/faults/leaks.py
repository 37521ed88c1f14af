"""Memory that is never given back.

``/leak?kib=128`` keeps so much more for each request, ``/grow?mib=500`` takes it in steps and never ends if that is
too much, ``/child?mib=500`` has another process do that.
"""

import os
import subprocess
import sys
import time
from urllib.parse import parse_qs

KEPT: list[bytes] = []
STEP = 1 << 20


def application(environ, start_response):
    """A WSGI app."""
    query = {name: int(values[0]) for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
    path = environ["PATH_INFO"]
    if path == "/leak":
        KEPT.append(b"x" * (query.get("kib", 128) << 10))
        time.sleep(query.get("ms", 0) / 1000)
    elif path == "/grow":
        # In steps, so that there is no single allocation that could be refused.
        for _ in range(query["mib"]):
            KEPT.append(b"x" * STEP)
    elif path == "/child":
        grow = f"kept = [b'x' * {STEP} for _ in range({query['mib']})]"
        subprocess.run([sys.executable, "-I", "-S", "-c", grow], check=False)
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Pid", str(os.getpid()))])
    return [str(os.getpid()).encode()]
