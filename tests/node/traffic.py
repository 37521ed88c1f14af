"""Clients that go where a Service would lead: to the ready endpoints of its EndpointSlices, one after the other."""

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from charts.cluster import Cluster


@dataclass
class Endpoints(threading.Thread):
    """Follows the EndpointSlices of a Service, as late as the real ones do: it looks five times a second."""

    cluster: Cluster
    namespace: str
    service: str
    ready: list[str] = field(default_factory=list)
    #: When the list became another, and what it then was.
    history: list[tuple[float, list[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.ending = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def look(self) -> None:
        """Asks once."""
        selector = f"kubernetes.io%2Fservice-name%3D{self.service}"
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices?labelSelector={selector}"
        found = sorted(
            address
            for one in self.cluster.call("GET", path)["items"]
            for endpoint in one.get("endpoints") or []
            if endpoint["conditions"].get("ready")
            for address in endpoint["addresses"]
        )
        if found != self.ready:
            self.ready = found
            self.history.append((time.time(), found))

    def run(self) -> None:
        """Until it is told to end."""
        while not self.ending.wait(0.2):
            with contextlib.suppress(OSError):
                self.look()


@dataclass(frozen=True)
class Answer:
    """A request's end: a status, or 0 and what went wrong."""

    began: float
    status: int
    detail: str
    address: str
    body: dict


class Traffic:
    """``clients`` threads; half of them keep their connections, the others connect for every request.

    A request on a kept connection that the server has ended meanwhile is sent once more on a new one, if not a byte
    of an answer has come (RFC 9112 §9.3.1); those are counted.
    """

    def __init__(self, endpoints: Endpoints, path: str, clients: int = 8) -> None:
        self.endpoints, self.path = endpoints, path
        self.answers: list[Answer] = []
        self.sent_again = 0
        self._turn = itertools.count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(number % 2 == 0,)) for number in range(clients)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def counts(self) -> Counter:
        """How often each end came."""
        return Counter(answer.status or answer.detail for answer in list(self.answers))

    def failed(self) -> list[Answer]:
        """Everything but 200."""
        return [answer for answer in list(self.answers) if answer.status != 200]

    def _client(self, keep: bool) -> None:
        kept: dict[str, http.client.HTTPConnection] = {}
        while not self._stop.is_set():
            ready = self.endpoints.ready
            if not ready:
                self.answers.append(Answer(time.time(), 0, "no endpoint is ready", "", {}))
                time.sleep(0.2)
                continue
            address = ready[next(self._turn) % len(ready)]
            self.answers.append(self._request(address, kept, keep))
        for connection in kept.values():
            connection.close()

    def _request(self, address: str, kept: dict[str, http.client.HTTPConnection], keep: bool) -> Answer:
        began = time.time()
        connection = kept.pop(address, None)
        if connection is not None:
            try:
                return self._exchange(connection, address, kept, keep, began)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                connection.close()
                self.sent_again += 1
        connection = http.client.HTTPConnection(address, 8000, timeout=30)
        try:
            return self._exchange(connection, address, kept, keep, began)
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            return Answer(began, 0, f"{type(error).__name__}: {error}", address, {})

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        address: str,
        kept: dict[str, http.client.HTTPConnection],
        keep: bool,
        began: float,
    ) -> Answer:
        connection.request("GET", self.path, headers={} if keep else {"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
        if keep and not response.will_close:
            kept[address] = connection
        else:
            connection.close()
        return Answer(began, response.status, "", address, json.loads(body) if response.status == 200 else {})
