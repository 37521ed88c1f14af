"""The admin API as a client sees it."""

import re
from collections.abc import Mapping
from typing import Any

from podtest import http
from podtest.waiting import DEADLINE, wait_until

#: States of a worker that serves.
READY = ("idle", "busy")


class Admin:
    """Calls one server's admin API, with a bearer token where one is given."""

    def __init__(self, address: http.Address, token: str | None = None) -> None:
        self.address = address
        self.token = token
        self._epoch = 0

    def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> http.Response:
        """One request. ``headers`` override the defaults."""
        host = "localhost" if isinstance(self.address, str) else f"{self.address[0]}:{self.address[1]}"
        all_headers = {"Host": host}
        if self.token is not None:
            all_headers["Authorization"] = f"Bearer {self.token}"
        if json is not None:
            body = http.json_module.dumps(json).encode()
            all_headers["Content-Type"] = "application/json"
        all_headers.update(headers or {})
        return http.request(self.address, path, method, all_headers, body)

    def get(self, path: str) -> http.Response:
        """GET."""
        return self.call("GET", path)

    def status(self, path: str) -> int | None:
        """The status of a GET; None where nothing answers."""
        try:
            return self.get(path).status
        except (OSError, http.ExchangeError):
            return None

    def ready(self) -> bool:
        """Whether /readyz says 200."""
        return self.status("/readyz") == 200

    def pool(self) -> dict[str, Any]:
        """The whole answer of /workers."""
        response = self.get("/workers")
        assert response.status == 200, f"/workers said {response.status}: {response.text}"
        return response.json()

    def workers(self) -> list[dict[str, Any]]:
        """One entry per worker."""
        return self.pool()["workers"]

    def ready_workers(self) -> list[dict[str, Any]]:
        """Those that can take a request now or after the present one."""
        return [worker for worker in self.workers() if worker["state"] in READY]

    def pids(self) -> list[int]:
        """Pids, as the server sees them, of the ready workers."""
        return [worker["pid"] for worker in self.ready_workers()]

    def scale(self, workers: int, ttl: int = 600) -> dict[str, Any]:
        """Ask for so many workers, with a new epoch."""
        self._epoch += 1
        order = {"workers": workers, "epoch": self._epoch, "ttlSeconds": ttl}
        response = self.call("PUT", "/scale", order)
        assert response.status == 200, f"PUT /scale said {response.status}: {response.text}"
        return response.json()

    def wait_workers(self, count: int, deadline: float = DEADLINE) -> list[int]:
        """Wait until exactly ``count`` workers exist and all are ready; returns their pids."""

        def settled() -> list[int] | None:
            workers = self.workers()
            ready = [worker["pid"] for worker in workers if worker["state"] in READY]
            return ready if len(ready) == count == len(workers) else None

        return wait_until(settled, lambda: f"{count} ready workers; there are {self.workers()}", deadline)

    def metrics(self) -> "Metrics":
        """/metrics, read."""
        response = self.get("/metrics")
        assert response.status == 200, f"/metrics said {response.status}: {response.text}"
        return Metrics(response.text)


SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)(?: \S+)?$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """OpenMetrics text. Knows which families are counters."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kinds: dict[str, str] = {}
        self.samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                self.kinds[name] = kind
            elif line and not line.startswith("#"):
                match = SAMPLE.match(line)
                assert match, f"that is no sample line: {line!r}"
                labels = tuple(sorted(LABEL.findall(match["labels"] or "")))
                self.samples[match["name"], labels] = float(match["value"])

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that carry these labels."""
        found = [
            value
            for (sample, have), value in self.samples.items()
            if sample == name and all((k, v) in have for k, v in labels.items())
        ]
        assert found, f"no sample {name} {labels} in:\n{self.text}"
        return sum(found)

    def counters(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Every sample that may never fall: counters, and the buckets, counts and sums of histograms."""
        rising = {}
        for (name, labels), value in self.samples.items():
            family = re.sub(r"_(total|bucket|count|sum)$", "", name)
            if self.kinds.get(family) in ("counter", "histogram") and not name.endswith("_created"):
                rising[name, labels] = value
        return rising

    def fallen_since(self, earlier: "Metrics") -> dict[Any, tuple[float, float]]:
        """Counters that fell or vanished: a Prometheus server would take that for a restart."""
        now = self.counters()
        return {
            key: (old, now.get(key, float("nan")))
            for key, old in earlier.counters().items()
            if not now.get(key, -1) >= old
        }
