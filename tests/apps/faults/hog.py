"""Holds the GIL for ever inside C, where no Python signal handler can run; and an app that does so on demand."""

import ctypes

import probe


def deadlock_in_c():
    """Locks a C mutex twice through PyDLL, which keeps the GIL."""
    library = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(64)
    library.pthread_mutex_init(mutex, None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


@probe.route("hog")
def hog(environ, start_response, rest, query):
    deadlock_in_c()


def application(*arguments):
    """The probe, and the hog, for both worlds."""
    if len(arguments) == 2:
        return probe.application(*arguments)
    import probe_asgi

    if arguments[0].get("path") == "/hog":
        deadlock_in_c()
    return probe_asgi.app(*arguments)
