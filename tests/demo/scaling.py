"""`make scale-demo`: five times the load at once, on a server that has room for it. When has it been absorbed?

Requests come at random moments (Poisson), whether or not earlier ones have been answered. Each takes the app 0.1 s of
waiting, as for a database, so that this machine's cores do not matter. A request's wait is its whole time less that.
"""

import os
import queue
import random
import sys
import threading
import time

from podtest import http
from podtest.server import Server

SERVICE = 0.1
#: Busy workers before the step and after it.
BEFORE, AFTER = 1.4, 7.0
QUIET, STEP = 12.0, 15.0
#: A request that waits longer is late.
OBJECTIVE = 0.1
CLIENTS = 300


class Traffic:
    """An open loop: one thread says when, others send."""

    def __init__(self, address: http.Address) -> None:
        self.address = address
        self.sent: list[tuple[float, float]] = []
        self.failed = 0
        self._due: queue.Queue[float | None] = queue.Queue()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def run(self, seconds: float, load: float, random_numbers: random.Random) -> None:
        end = time.monotonic() + seconds
        due = time.monotonic()
        while True:
            due += random_numbers.expovariate(load / SERVICE)
            if due >= end:
                break
            time.sleep(max(0.0, due - time.monotonic()))
            self._due.put(due)
        time.sleep(max(0.0, end - time.monotonic()))

    def stop(self) -> None:
        for _ in self._threads:
            self._due.put(None)
        for thread in self._threads:
            thread.join()

    def _client(self) -> None:
        while (due := self._due.get()) is not None:
            try:
                ok = http.request(self.address).status == 200
            except (OSError, http.ExchangeError):
                ok = False
            wait = time.monotonic() - due - SERVICE
            with self._lock:
                self.failed += not ok
                self.sent.append((due, wait))


class Watch(threading.Thread):
    """Prints every change of the number of workers."""

    def __init__(self, server: Server, began: float) -> None:
        super().__init__(daemon=True)
        self.server, self.began = server, began
        self.done = threading.Event()

    def run(self) -> None:
        last = (0, 0)
        while not self.done.wait(0.1):
            view = self.server.admin.get("/scale").json()
            ready = len(self.server.admin.ready_workers())
            now = (view["target"], ready)
            if now != last:
                why = (view["decision"] or {}).get("message", "")
                seconds = time.monotonic() - self.began
                print(f"  {seconds:+6.1f} s  wanted {now[0]:2}, ready {now[1]:2}  {why}", flush=True)
                last = now


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def absorbed(sent: list[tuple[float, float]], step: float) -> float | None:
    """Seconds from the step until 19 of 20 requests are in time, those of the next 2 s and all that follow."""
    after = sorted((due - step, wait) for due, wait in sent if due >= step)
    for start, _ in after:
        rest = [wait for due, wait in after if due >= start]
        following = [wait for due, wait in after if start <= due < start + 2]
        if percentile(following, 0.95) <= OBJECTIVE and percentile(rest, 0.95) <= OBJECTIVE:
            return start
    return None


def main() -> int:
    seed = int(os.environ.get("SEED", "1"))
    random_numbers = random.Random(seed)
    arguments = ("pace:application", "--workers", "2..16", "--preload", "--log-level", "warning")
    print(f"podicorn {' '.join(arguments)}, requests of {SERVICE} s")
    with Server(*arguments, environment={"PACE": str(SERVICE)}) as server:
        server.wait_ready()
        traffic = Traffic(server.address)
        step = time.monotonic() + QUIET
        watch = Watch(server, step)
        watch.start()
        before, after_it = BEFORE / SERVICE, AFTER / SERVICE
        print(f"{before:.0f} requests a second for {QUIET:.0f} s, then {after_it:.0f}; time 0 is the step")
        traffic.run(QUIET, BEFORE, random_numbers)
        traffic.run(STEP, AFTER, random_numbers)
        traffic.stop()
        watch.done.set()
        watch.join()
        server.stop()
    after = [wait for due, wait in traffic.sent if due >= step]
    print(
        f"{len(after)} requests after the step: mean wait {sum(after) / len(after) * 1000:.0f} ms, "
        f"95 % within {percentile(after, 0.95) * 1000:.0f} ms, longest {max(after) * 1000:.0f} ms; "
        f"{traffic.failed} failed"
    )
    when = absorbed(traffic.sent, step)
    if when is None:
        print("The step was not absorbed.")
        return 1
    print(f"Absorbed after {when:.1f} s: from then on 95 % of the requests wait less than {OBJECTIVE * 1000:.0f} ms.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
