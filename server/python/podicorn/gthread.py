"""The worker type gthread: the engine's loop in the main thread, and threads beside it."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How long a thread without a request may take to notice the end.
PATIENCE = 1.0


def serve(engine: Any) -> None:
    """Serves until the engine is stopped; what a signal handler raises comes out of it.

    One thread is the engine's own, so that a request changes no thread; beside it another one beats: the app may be in
    a request for as long as it likes. Only with HTTP/2 one thread is beside the engine's, too. Threads are daemons: one
    that does not come back must not keep the worker.
    """
    threads = engine.threads
    if threads == 0:
        beside = [threading.Thread(target=engine.beat_beside, name="podicorn-beat", daemon=True)]
    else:
        names = (f"podicorn-{number}" for number in range(1, threads + 1))
        beside = [threading.Thread(target=engine.work, name=name, daemon=True) for name in names]
    for thread in beside:
        thread.start()
    engine.run()
    for thread in beside:
        thread.join(PATIENCE / len(beside))
