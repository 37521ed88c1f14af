"""A stand-in for `podicorn._engine`, so that the Python side can be tested before, and without, a build of the engine.

`Engine.run` serves nothing: it waits until it is stopped, and says on stderr what it is told.
"""

import contextlib
import ctypes
import os
import select
import signal as signals
import sys
import time

BOOTING, READY, DRAINING, EXITING = 1, 2, 3, 4

_libc = ctypes.CDLL(None, use_errno=True)


def say(text):
    # Nobody reads any more where the arbiter has died.
    with contextlib.suppress(BrokenPipeError):
        os.write(2, f"engine: {text}\n".encode())


class SlotLost(Exception):  # noqa: N818
    pass


def set_parent_death_signal(signal):
    if _libc.prctl(1, int(signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def fork_worker(arbiter_pid):
    if os.environ.get("FAKE_FORK_FAILS"):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    read, write = os.pipe()
    before = signals.pthread_sigmask(signals.SIG_SETMASK, signals.valid_signals())
    middle = os.fork()
    if middle == 0:
        worker = os.fork()
        if worker:
            os.write(write, str(worker).encode())
            os._exit(0)
        os.close(read)
        os.close(write)
        while os.getppid() != arbiter_pid:
            time.sleep(0.001)
        return 0
    os.close(write)
    pid = int(os.read(read, 20))
    os.close(read)
    os.waitpid(middle, 0)
    signals.pthread_sigmask(signals.SIG_SETMASK, before)
    return pid


def exit_at(moment, code):
    """Nothing here is slow at its end."""


class Slot:
    draining = False
    drain_end = None

    def __init__(self, memfd, slot, epoch, doorbell, nudge, tracing=None):
        os.close(memfd)
        os.close(nudge)
        self._doorbell = doorbell
        if epoch == 0:
            raise SlotLost

    def set_state(self, state):
        say(f"state {state}")
        os.write(self._doorbell, (1).to_bytes(8, sys.byteorder))

    def beat(self):
        pass

    def logged(self, kind):
        pass

    def collections(self):
        return lambda phase, info: None


class Engine:
    requests = 0

    def __init__(self, slot, listeners, options, app, error_log):
        self.app = app
        self.options = options
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        addresses = [description["address"] for _, description in listeners]
        say(f"listeners {addresses} max_requests {options['max_requests']}+{options['max_requests_jitter']}")

    def run(self):
        say("runs")
        # An app in these tests does in `run` what it would do in a request.
        run = getattr(self.app, "run", None)
        if run is not None:
            run()
        select.select([self._read], [], [])
        say("run returns")

    def stop(self):
        say("stop")
        os.write(self._write, b"s")

    def quit(self):
        say("quit")
        os.write(self._write, b"q")

    def reopen_logs(self):
        say("reopen_logs")
