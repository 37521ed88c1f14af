"""Requests at random moments (Poisson), whether or not earlier ones have been answered, at a rate that changes."""

import queue
import random
import threading
import time
from collections.abc import Callable

from podtest import http


class Traffic:
    """``rate(seconds since the start)`` requests a second, ``path(chance)`` for each, until ``stop``."""

    def __init__(
        self,
        address: http.Address,
        rate: Callable[[float], float],
        path: Callable[[random.Random], str],
        clients: int = 64,
        seed: int = 1,
    ) -> None:
        self.answered = 0
        self.failed = 0
        self._address = address
        self._rate = rate
        self._path = path
        self._chance = random.Random(seed)
        self._due: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._clients = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]
        self._clock = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Traffic":
        for thread in (*self._clients, self._clock):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """No more requests; those that run are waited for."""
        self._stop.set()
        self._clock.join()
        for _ in self._clients:
            self._due.put(None)
        for thread in self._clients:
            thread.join()

    def _run(self) -> None:
        began = due = time.monotonic()
        while not self._stop.is_set():
            due += self._chance.expovariate(max(0.1, self._rate(due - began)))
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            self._due.put(self._path(self._chance))

    def _client(self) -> None:
        while (path := self._due.get()) is not None:
            try:
                ok = http.request(self._address, path).status == 200
            except (OSError, http.ExchangeError):
                ok = False
            with self._lock:
                self.answered += ok
                self.failed += not ok
