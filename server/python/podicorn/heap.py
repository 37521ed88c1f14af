"""What is alive once the modules and the app are loaded, and stays alive."""

from __future__ import annotations

import contextlib
import gc
import io
import weakref

#: Files that were open then.
_files: list[weakref.ref[io.IOBase]] = []


def keep_for_good() -> None:
    """No collection looks at it again.

    The collector writes into each object that it passes: a full one copied all pages that a worker shares with the fork
    server, and took a Django worker a tenth of a second.
    """
    # What is garbage now would stay, too.
    gc.collect()
    # By the type: to ask an object for its class may wake it up.
    _files.extend(weakref.ref(thing) for thing in gc.get_objects() if issubclass(type(thing), io.IOBase))
    gc.freeze()


def give_up(*, shared: bool) -> None:
    """Python is about to clear a worker's memory, which writes out what files have buffered that nobody has closed.

    What is shared is not cleared, since each worker would need a copy of it: files are written out, no more.
    """
    if not shared:
        gc.unfreeze()
    for file in _files:
        # It may be closed, or the disk may be full.
        with contextlib.suppress(Exception):
            if (open_file := file()) is not None:
                open_file.flush()
