"""Overwrites the whole scoreboard, found as hostile or broken native code would find it."""

import ctypes
import os
import random

import probe


def scoreboard():
    """Address and size of the scoreboard's mapping in this process."""
    with open("/proc/self/maps") as lines:
        for line in lines:
            if "podicorn-scoreboard" in line:
                first, last = (int(part, 16) for part in line.split()[0].split("-"))
                return first, last - first
    raise LookupError("no scoreboard is mapped here")


@probe.route("scribble")
def scribble(environ, start_response, rest, query):
    """``/scribble/HEX`` fills it with that byte, ``/scribble/random?seed=N`` with noise."""
    address, size = scoreboard()
    if rest == "random":
        noise = random.Random(int(query["seed"])).randbytes(1 << 20)
        for offset in range(0, size, len(noise)):
            ctypes.memmove(address + offset, noise, min(len(noise), size - offset))
    else:
        ctypes.memset(address, int(rest, 16), size)
    return probe.answer(start_response, str(size))


@probe.route("truncate")
def truncate(environ, start_response, rest, query):
    """Tries to change the size of the memory file through every way that a worker has to it."""
    results = {}
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        try:
            if "podicorn-scoreboard" not in os.readlink(path):
                continue
        except FileNotFoundError:  # the listing's own descriptor
            continue
        try:
            os.ftruncate(int(name), 0)
            results[path] = "truncated"
        except OSError as error:
            results[path] = error.strerror
    address, size = scoreboard()
    path = f"/proc/self/map_files/{address:x}-{address + size:x}"
    try:
        handle = os.open(path, os.O_RDWR)
        for length in (0, size * 2):
            try:
                os.ftruncate(handle, length)
                results[f"{path} to {length}"] = "truncated"
            except OSError as error:
                results[f"{path} to {length}"] = error.strerror
        os.close(handle)
    except OSError as error:
        results[path] = f"cannot be opened: {error.strerror}"
    return probe.as_json(start_response, results)


@probe.route("child-maps")
def child_maps(environ, start_response, rest, query):
    """Whether a forked child of the app has the scoreboard mapped."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open("/proc/self/maps") as lines:
            mapped = any("podicorn-scoreboard" in line for line in lines)
        os.write(write, b"mapped\n" if mapped else b"no scoreboard\n")
        os._exit(0)
    os.waitpid(pid, 0)
    return probe.answer(start_response, os.read(read, 100))


application = probe.application
