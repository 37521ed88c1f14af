"""Runs a program as PID 1 of new PID and mount namespaces, with a /proc of its own.

    python launcher.py STATUS_FD [--keep-pids] [--read-only] [--uid N] [--confined] [--reach DIR]... -- PROGRAM [ARGS]

Writes two lines to STATUS_FD: ``pid N``, the program's pid as the outside sees it, and when it has ended
``status N``, its raw wait status. It forwards no signal and changes no exit code: util-linux's unshare does both.
If the launcher dies, the program dies with it. With --keep-pids the program is an ordinary process of its parent's
PID namespace, and only the mounts are its own.

Without root it asks for a user namespace as well. --read-only remounts everything read-only, /tmp and /dev/shm too.
--confined takes every capability from it, forbids new privileges and refuses system calls as container runtimes do.
--uid runs the program as a user that no passwd file knows; --reach names directories that this user must be able to
enter although a parent of theirs is closed (a checkout or a cache below /root).
"""

import argparse
import ctypes
import os
import signal
import stat
import sys

# -I leaves the script's directory out of the path.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from seccomp import confine

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
#: Mount flags that must be repeated in a remount, by their name in mountinfo.
KEPT_FLAGS = {"nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
#: NOROOT and KEEP_CAPS_LOCKED as well as their locks: not even a program of root gets any capability.
SECUREBITS = 0b101111

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise the OSError of a libc call that failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    check(libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]), f"mount {target}")


def enter_namespaces(keep_pids: bool) -> None:
    """New mount and PID namespaces; as an ordinary user inside a new user namespace."""
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | (0 if keep_pids else CLONE_NEWPID) | (CLONE_NEWUSER if uid else 0)
    check(libc.unshare(flags), "unshare")
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def closed_parent(path: str) -> str | None:
    """The topmost parent that others may not enter."""
    parts = path.strip("/").split("/")
    for count in range(1, len(parts) + 1):
        parent = "/" + "/".join(parts[:count])
        if not os.stat(parent).st_mode & stat.S_IXOTH:
            return parent
    return None


def make_reachable(directories: list[str]) -> None:
    """Covers each closed parent by an open empty one that holds only the wanted directories, bound into place."""
    by_parent: dict[str, list[str]] = {}
    for directory in dict.fromkeys(os.path.realpath(d) for d in directories):
        parent = closed_parent(directory)
        if parent:
            by_parent.setdefault(parent, []).append(directory)
    for parent, wanted in by_parent.items():
        held = [(path, os.open(path, os.O_PATH)) for path in wanted]
        mount("none", parent, "tmpfs", 0, "mode=755")
        for path, handle in held:
            os.makedirs(path, exist_ok=True)
            mount(f"/proc/self/fd/{handle}", path, None, MS_BIND | MS_REC)
            os.close(handle)


def make_read_only() -> None:
    """Remounts every mount read-only and proves it where programs like to write."""
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split() for line in file]
    for fields in mounts:
        target = fields[4].encode().decode("unicode_escape")
        kept = sum(KEPT_FLAGS.get(option, 0) for option in fields[5].split(","))
        try:
            mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)
        except OSError as error:
            if os.access(target, os.W_OK):  # a mount hidden by a later one has no path of its own
                print(f"launcher: {error}", file=sys.stderr)
    for directory in ("/", "/tmp", "/dev/shm", "/var/tmp", os.getcwd()):
        probe = os.path.join(directory, f".podtest-{os.getpid()}")
        try:
            os.close(os.open(probe, os.O_CREAT | os.O_WRONLY))
        except OSError:
            continue
        os.unlink(probe)
        raise SystemExit(f"launcher: {directory} is still writable")


def drop_capabilities() -> None:
    """All of them, for good. What this process still has goes with the change of user or the exec."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    check(libc.prctl(PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0), "securebits")
    for capability in range(last + 1):
        check(libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), f"capability {capability}")


def become_program(options: argparse.Namespace) -> None:
    """The first process of the namespace: prepares the mounts and turns into the program."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    make_reachable(options.reach)
    if not options.keep_pids:
        mount("proc", "/proc", "proc", 0)
    if options.read_only:
        make_read_only()
    if options.confined:
        drop_capabilities()
    if options.uid:
        os.setgroups([])
        os.setgid(options.uid)
        os.setuid(options.uid)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if options.confined:
        confine()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(options.program[0], options.program)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("status_fd", type=int)
    parser.add_argument("--keep-pids", action="store_true")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--uid", type=int, default=0)
    parser.add_argument("--confined", action="store_true")
    parser.add_argument("--reach", action="append", default=[])
    parser.add_argument("program", nargs="+")
    options = parser.parse_args()
    os.set_inheritable(options.status_fd, False)
    enter_namespaces(options.keep_pids)
    pid = os.fork()
    if pid == 0:
        try:
            become_program(options)
        except BaseException as error:
            print(f"launcher: {error}", file=sys.stderr, flush=True)
        os._exit(125)
    os.write(options.status_fd, f"pid {pid}\n".encode())
    # Hold no end of the program's pipes: their end of file must mean that the program's processes are gone.
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    _, status = os.waitpid(pid, 0)
    os.write(options.status_fd, f"status {status}\n".encode())


if __name__ == "__main__":
    main()
