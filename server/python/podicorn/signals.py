"""Signal dispositions of the fork server and of workers, and the dump of stacks on demand."""

from __future__ import annotations

import faulthandler
import os
import signal
from time import monotonic

from podicorn import stacks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], None]

#: Has a process write the stacks of its threads at once, in C, whoever runs and whatever holds it up. Other threads go
#: on meanwhile: what faulthandler then reads may be gone under its eyes, which is the end of the process. So this is
#: for those that do not answer otherwise.
STACK_SIGNAL = signal.SIGRTMIN + 6
#: Asks for the same as soon as Python can: with the GIL held nobody else runs Python.
ASK_SIGNAL = signal.SIGRTMIN + 7
#: A process that was sent both answers once: no more time than this, in seconds, is between the two handlers.
_SAME = 0.05

#: A terminal sends some of these to the whole process group; only the arbiter acts on them.
IGNORED_BY_FORK_SERVER = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
)

#: What a worker starts from: the fork server's dispositions are undone.
_RESET_IN_WORKER = (*IGNORED_BY_FORK_SERVER, signal.SIGABRT, signal.SIGCHLD)


def do_nothing(number: int, frame: FrameType | None) -> None:
    """Stands in for SIG_IGN, which programs that are started from here would inherit."""


def ignore_in_fork_server() -> None:
    """The fork server acts on no signal."""
    for number in IGNORED_BY_FORK_SERVER:
        signal.signal(number, signal.SIG_IGN)


def disregard_during_import() -> None:
    """As above for the time in which the app is imported: what it starts then must not be deaf to TERM for ever."""
    for number in IGNORED_BY_FORK_SERVER:
        signal.signal(number, do_nothing)
        signal.siginterrupt(number, False)


def dump_stacks_to(fd: int, then: Callable[[int], None] | None = None) -> None:
    """From now on both stack signals write what all threads are doing to the descriptor.

    `then` is called with the descriptor once Python runs signal handlers: never in a process that is stuck in C. The
    dump's last line says that it has.
    """
    faulthandler.unregister(STACK_SIGNAL)
    answered = 0.0

    def finish() -> None:
        try:
            if then is not None:
                then(fd)
        finally:
            stacks.dump_answered(fd)

    def answer(number: int, frame: FrameType | None) -> None:
        # Behind what faulthandler has written.
        nonlocal answered
        finish()
        answered = monotonic()

    def write(number: int, frame: FrameType | None) -> None:
        # Python runs the handler of the lower number first.
        if monotonic() - answered < _SAME:
            return
        try:
            stacks.dump_threads(fd, frame)
        finally:
            finish()

    for number, handler in ((STACK_SIGNAL, answer), (ASK_SIGNAL, write)):
        signal.signal(number, handler)
        signal.siginterrupt(number, False)
    faulthandler.register(STACK_SIGNAL, file=fd, all_threads=True, chain=True)


#: What `handle_here` has installed.
_installed: dict[int, Handler] = {}


def handle_here(number: int, handler: Handler) -> None:
    """Installs a handler for this process, but not for those that the app forks, by multiprocessing for instance."""
    if not _installed:
        os.register_at_fork(after_in_child=_forget_in_child)
    _installed[number] = handler
    signal.signal(number, handler)


def _forget_in_child() -> None:
    """A child of the app is no worker. A Python handler would not even run while the child waits in a system call."""
    for number, handler in _installed.items():
        if signal.getsignal(number) is handler:
            signal.signal(number, signal.SIG_DFL)


def serve() -> None:
    """TERM disturbs no request's system calls any more. Until then it ends what the worker waits for in its boot."""
    if signal.getsignal(signal.SIGTERM) is _installed[signal.SIGTERM]:
        signal.siginterrupt(signal.SIGTERM, False)


def install_in_worker(*, term: Handler, quick: Handler, abort: Handler, reopen: Handler) -> None:
    """Default dispositions, then the worker's own handlers; at last nothing is blocked any more."""
    for number in _RESET_IN_WORKER:
        signal.signal(number, signal.SIG_DFL)
    # Stopping a worker is nobody's wish; a resize of the terminal says nothing to it.
    for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH):
        signal.signal(number, do_nothing)
        signal.siginterrupt(number, False)
    handle_here(signal.SIGTERM, term)
    handle_here(signal.SIGINT, quick)
    handle_here(signal.SIGQUIT, quick)
    handle_here(signal.SIGABRT, abort)
    handle_here(signal.SIGUSR1, reopen)
    # No system call is to be disturbed by this one; for TERM see `serve`.
    signal.siginterrupt(signal.SIGUSR1, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
