"""Many clients at once, each request's outcome kept."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from podtest import http


@dataclass(frozen=True)
class Outcome:
    """What became of one request. ``kind``: ok, status, refused, reset, eof, timeout, wrong."""

    kind: str
    detail: str
    began: float
    ended: float
    target: str

    @property
    def closed(self) -> bool:
        """The connection was accepted and ended without a whole response: what a killed worker's client sees."""
        return self.kind in ("reset", "eof")


class Load:
    """``clients`` threads that send requests one after the other until ``stop``.

    ``target(n)`` gives the n-th target; ``check(response)`` says whether a 200 is the right one.
    """

    def __init__(
        self,
        address: http.Address,
        clients: int = 8,
        target: Callable[[int], str] = lambda _: "/",
        check: Callable[[http.Response], bool] = lambda _: True,
        headers: dict[str, str] | None = None,
        limit: int | None = None,
    ) -> None:
        self.address = address
        self.outcomes: list[Outcome] = []
        self._target = target
        self._check = check
        self._headers = headers
        self._limit = limit
        self._lock = threading.Lock()
        self._count = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> list[Outcome]:
        """Let each client finish its request; returns all outcomes."""
        self._stop.set()
        return self.join()

    def join(self) -> list[Outcome]:
        """Wait for the clients (those with a limit end by themselves)."""
        for thread in self._threads:
            thread.join()
        return self.outcomes

    def _next(self) -> int | None:
        with self._lock:
            if self._limit is not None and self._count >= self._limit:
                return None
            self._count += 1
            return self._count - 1

    def _client(self) -> None:
        while not self._stop.is_set():
            number = self._next()
            if number is None:
                return
            outcome = self._one(self._target(number))
            with self._lock:
                self.outcomes.append(outcome)
            if outcome.kind == "refused":
                time.sleep(0.01)

    def _one(self, target: str) -> Outcome:
        began = time.monotonic()
        kind, detail = "ok", ""
        try:
            response = http.request(self.address, target, headers=self._headers)
            if response.status != 200:
                kind, detail = "status", f"{response.status} {response.text[:100]}"
            elif response.end is http.End.RESET:
                kind, detail = "wrong", "a whole response, then RST"
            elif not self._check(response):
                kind, detail = "wrong", response.text[:100]
        except http.ExchangeError as error:
            kind = "reset" if error.end is http.End.RESET else "eof"
            detail = str(error)
        except ConnectionRefusedError as error:
            kind, detail = "refused", str(error)
        except (ConnectionResetError, BrokenPipeError) as error:
            kind, detail = "reset", str(error)
        except TimeoutError as error:
            kind, detail = "timeout", str(error)
        return Outcome(kind, detail, began, time.monotonic(), target)

    # ---- results ----

    def done(self) -> int:
        """Requests that have ended."""
        with self._lock:
            return len(self.outcomes)

    def failures(self) -> list[Outcome]:
        """All that were not ok."""
        with self._lock:
            return [outcome for outcome in self.outcomes if outcome.kind != "ok"]

    def summary(self) -> dict[str, int]:
        """How many of each kind."""
        with self._lock:
            return dict(Counter(outcome.kind for outcome in self.outcomes))
