"""What the apps of this directory do, whatever they are written in."""

import multiprocessing
import os
import signal

import gate_client

#: Children that `/fork` has started, by pid.
children = {}


def wait_for_a_signal_nobody_sends() -> str:
    """Blocks the thread, and with it the loop, for ever; no library makes this call cooperative."""
    while True:
        signal.pause()


def identity() -> dict[str, object]:
    """Who the worker is."""
    return {"pid": os.getpid(), "ppid": os.getppid(), "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups()}


def fork() -> str:
    """A child of the app, as multiprocessing makes it on Linux; it waits at the gate. Its pid."""
    child = multiprocessing.get_context("fork").Process(target=gate_client.pause, args=("child",))
    child.start()
    children[child.pid] = child
    return str(child.pid)


def end_child() -> str:
    """Ends the last child by TERM; how it ended."""
    _, child = children.popitem()
    child.terminate()
    child.join(60)
    return str(child.exitcode)


def maps() -> str:
    """Whether a child of the app sees the scoreboard."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open("/proc/self/maps") as file:
            os.write(write, b"scoreboard" if "podicorn-scoreboard" in file.read() else b"none")
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as file:
        return file.read()


#: Paths that answer a text at once.
TEXTS = {
    "/": lambda: str(os.getpid()),
    "/hang": wait_for_a_signal_nobody_sends,
    "/fork": fork,
    "/end-child": end_child,
    "/maps": maps,
}
