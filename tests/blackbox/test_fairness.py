"""Each worker gets its share of the connections."""

import socket
from collections import Counter

import pytest
from podtest import http
from podtest.load import Load
from podtest.types import GREEN, params
from podtest.waiting import wait_until

#: The busiest worker may have so many times the requests of the idlest.
SPREAD = 1.3
#: In a loop of others, where every worker wakes for each connection and decides by what the others have.
FOREIGN_SPREAD = 2.5


def connections(server) -> list[int]:
    """How many each worker has, the least first."""
    return sorted(worker["connections"] for worker in server.admin.workers())


@pytest.mark.parametrize("kind", params())
def test_a_connection_per_request_is_spread_evenly(serve, kind):
    # Greenlets wait side by side: with short requests all workers were idle, and it would not matter who takes one.
    foreign = bool(kind) and kind[-1] in (*GREEN, "asgi")
    # All are busy all the time: what a loaded machine adds to a request must be little beside what the app takes.
    pace = "0.03" if foreign and kind[-1] in GREEN else "0.005" if foreign else "0.02"
    server = serve("pace:application", *kind, "--workers", "8", environment={"PACE": pace})
    server.admin.wait_workers(8)
    seen: Counter[str] = Counter()
    with Load(server.address, clients=64, limit=5000, check=lambda r: seen.update([r.text]) is None) as load:
        load.join()
    assert load.summary() == {"ok": 5000}
    assert len(seen) == 8
    assert max(seen.values()) / min(seen.values()) < (FOREIGN_SPREAD if foreign else SPREAD), seen


def test_a_burst_of_kept_connections_is_spread(serve):
    """The kernel wakes them in turn, but those that run already would take it all before the others have a CPU."""
    server = serve("probe:app", "-k", "gthread", "--workers", "4", "--keep-alive", "60")
    server.admin.wait_workers(4)
    request = http.head("GET", "/")
    bursts = []
    for _ in range(5):
        clients = []
        try:
            # As fast as can be: no reader, no object more than needed.
            for _ in range(64):
                clients.append(socket.create_connection(server.address))
                clients[-1].send(request)
            for client in clients:
                assert client.recv(4096).startswith(b"HTTP/1.1 200 ")
            bursts.append(connections(server))
            assert sum(bursts[-1]) == 64
        finally:
            for client in clients:
                client.close()
        wait_until(lambda: connections(server) == [0] * 4, lambda: f"closed connections: {connections(server)}")
    assert sorted(counts[-1] for counts in bursts)[2] <= 28, bursts


@pytest.mark.parametrize("kind", params("sync", "gthread-1"))
def test_two_that_come_at_once_go_to_two_workers(serve, kind):
    """Their requests come later: if both were one worker's, one would wait behind the other beside an idle worker."""
    server = serve("probe:app", *kind, "--workers", "2")
    server.admin.wait_workers(2)
    doubled = 0
    for _ in range(40):
        clients = []
        try:
            for _ in range(2):
                clients.append(socket.create_connection(server.address))
            wait_until(lambda: sum(connections(server)) == 2, lambda: f"both: {connections(server)}")
            doubled += connections(server) != [1, 1]
        finally:
            for client in clients:
                client.close()
        wait_until(lambda: connections(server) == [0, 0], lambda: f"closed connections: {connections(server)}")
    # Where the machine has too much to do, a worker may not have had a CPU for longer than the other waits for it.
    assert doubled <= 6


@pytest.mark.parametrize("kind", params("gthread-1", "gthread-4", "asgi", "gevent"))
def test_silent_connections_take_no_share_of_the_work(serve, kind):
    """As after a worker was replaced: one has all the connections that say nothing, and both the same to do."""
    server = serve(
        "pace:application", *kind, "--workers", "2", "--keep-alive", "75", environment={"PACE": "0.001", "SPIN": "1"}
    )
    server.admin.wait_workers(2)
    silent: dict[str, list[http.Connection]] = {}
    try:
        while max(map(len, silent.values()), default=0) < 40:
            client = server.connect()
            client.send(http.head("GET", "/"))
            silent.setdefault(client.read_response().text, []).append(client)
        most = max(silent, key=lambda pid: len(silent[pid]))
        for client in [client for pid, clients in silent.items() if pid != most for client in clients]:
            client.close()
        wait_until(lambda: connections(server) == [0, 40], lambda: f"40 of one worker: {connections(server)}")
        seen: Counter[str] = Counter()
        with Load(server.address, clients=16, limit=3000, check=lambda r: seen.update([r.text]) is None) as load:
            load.join()
        assert load.summary() == {"ok": 3000}
        assert 0.3 < seen[most] / 3000 < 0.7, (most, seen)
    finally:
        for client in [client for clients in silent.values() for client in clients]:
            client.close()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_kept_connections_are_spread_evenly_in_foreign_loops(serve, loop):
    """All workers hear of each connection there: whoever has more to do steps back for the others."""
    server = serve("probe:app", "-k", "asgi", "--asgi-loop", loop, "--workers", "8", "--keep-alive", "60")
    server.admin.wait_workers(8)
    clients = []
    try:
        for _ in range(240):
            client = server.connect()
            client.send(http.head("GET", "/"))
            assert client.read_response().status == 200
            clients.append(client)
        counts = connections(server)
        assert sum(counts) == 240
        assert counts[0] >= 10 and counts[-1] <= 60, counts
    finally:
        for client in clients:
            client.close()


def test_a_blocked_loop_keeps_no_connection_waiting(serve, gate):
    """It has the fewest connections and is asleep in the app: the others take what it does not."""
    server = serve("probe:app", "-k", "asgi", "--workers", "2", "--keep-alive", "60", environment=gate.environment)
    server.admin.wait_workers(2)
    held = server.connect()
    held.send(http.head("GET", "/block/asleep"))
    (visitor,) = gate.wait(1, "asleep")
    clients = []
    try:
        for _ in range(30):
            client = server.connect()
            client.send(http.head("GET", "/pid"))
            assert int(client.read_response().body) != visitor.pid
            clients.append(client)
        gate.open()
        assert held.read_response().body == b"released\n"
    finally:
        for client in [held, *clients]:
            client.close()
