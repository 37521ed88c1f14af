"""The interpreter takes for ever to clear its memory. Exit handlers have run by then, what was printed is written."""

import atexit
import ctypes
import sys

import probe
import probe_asgi

LIBC = ctypes.CDLL(None)


class Slow:
    # By C: what eventlet has put in the place of these cannot run so late.
    def __del__(self, write=LIBC.write, sleep=LIBC.sleep):
        write(2, b"clears its memory\n", 18)
        sleep(600)


slow = Slow()


@atexit.register
def handler():
    # Written out by the interpreter, at its end.
    sys.stdout.write("the exit handler has run")


application = probe.application
asgi = probe_asgi.app
