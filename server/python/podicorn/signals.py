"""Signal dispositions of the fork server and of workers, and the dump of stacks on demand."""

from __future__ import annotations

import faulthandler
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], None]

#: Asks a process for the stacks of its threads.
STACK_SIGNAL = signal.SIGRTMIN + 6

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
    """From now on the stack signal writes what all threads are doing to the descriptor.

    `then` is called with the descriptor once Python runs signal handlers: never in a process that is stuck in C.
    """
    faulthandler.unregister(STACK_SIGNAL)
    if then is not None:
        signal.signal(STACK_SIGNAL, lambda number, frame: then(fd))
        signal.siginterrupt(STACK_SIGNAL, False)
    faulthandler.register(STACK_SIGNAL, file=fd, all_threads=True, chain=then is not None)


def install_in_worker(*, term: Handler, quick: Handler, abort: Handler, reopen: Handler) -> None:
    """Default dispositions, then the worker's own handlers; at last nothing is blocked any more."""
    own_pid = os.getpid()

    def only_here(handler: Handler) -> Handler:
        def guarded(number: int, frame: FrameType | None) -> None:
            if os.getpid() == own_pid:
                handler(number, frame)
                return
            # A process that the app forked, by multiprocessing for instance: it is not a worker.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        return guarded

    for number in _RESET_IN_WORKER:
        signal.signal(number, signal.SIG_DFL)
    # Stopping a worker is nobody's wish; a resize of the terminal says nothing to it.
    for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH):
        signal.signal(number, do_nothing)
        signal.siginterrupt(number, False)
    signal.signal(signal.SIGTERM, only_here(term))
    signal.signal(signal.SIGINT, only_here(quick))
    signal.signal(signal.SIGQUIT, only_here(quick))
    signal.signal(signal.SIGABRT, only_here(abort))
    signal.signal(signal.SIGUSR1, only_here(reopen))
    # A request's system calls are not to be disturbed by these two.
    signal.siginterrupt(signal.SIGTERM, False)
    signal.siginterrupt(signal.SIGUSR1, False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
