"""Slow attacks by slowhttptest, and by readers of our own: ordinary requests and probes go on beside them."""

import re
import subprocess
import time

import pytest
from podtest import http
from podtest.clients import PATIENCE, tool
from podtest.types import every_type, params
from podtest.waiting import wait_until

MIB = 1 << 20


@pytest.fixture
def big(tmp_path):
    """More than the kernel keeps for a client that takes nothing."""
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(20 * MIB)
    return path


class Attack:
    """slowhttptest at work. It ends by itself after ``seconds``."""

    def __init__(self, url: str, *options: str, connections: int, seconds: int = 8) -> None:
        counts = ["-c", str(connections), "-r", "500", "-l", str(seconds)]
        self.process = subprocess.Popen(
            [tool("slowhttptest"), *options, *counts, "-u", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> "Attack":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def runs(self) -> bool:
        return self.process.poll() is None

    def report(self) -> str:
        """What it says in the end, without colours."""
        out, _ = self.process.communicate(timeout=PATIENCE)
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", out.decode(errors="replace"))
        print(text[-3000:])
        return text


ATTACKED = [*params("sync", "gevent"), pytest.param(("-k", "gthread", "--threads", "2"), id="gthread-2")]


def serve_beside(server, attack: Attack, filled: int) -> None:
    """Ordinary requests and probes as long as the attack runs; that it has filled the worker is waited for first."""
    (pid,) = server.admin.pids()
    wait_until(lambda: server.admin.workers()[0]["connections"] >= filled, f"{filled} connections of the attack")
    rounds = 0
    while attack.runs():
        response = server.get("/pid")
        assert (response.status, int(response.text)) == (200, pid)
        assert server.admin.status("/readyz") == 200
        assert server.admin.status("/livez") == 200
        rounds += 1
        time.sleep(0.05)
    assert rounds >= 10, "the attack was over too soon to tell"
    assert "Hit test time limit" in attack.report()
    # Unharmed: the same worker, all places free again.
    wait_until(lambda: server.admin.workers()[0]["connections"] == 0, "the end of the attack's connections")
    assert server.admin.pids() == [pid]
    for _ in range(20):
        assert int(server.get("/pid").text) == pid


@pytest.mark.slow
@pytest.mark.parametrize("kind", ATTACKED)
def test_slow_heads(serve, open_files, kind):
    open_files(4500)
    server = serve("probe:app", *kind)
    with Attack(f"http://127.0.0.1:{server.port}/", "-H", "-i", "2", connections=1500) as attack:
        serve_beside(server, attack, 990)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ATTACKED)
def test_slow_bodies(serve, open_files, kind):
    open_files(4500)
    server = serve("probe:app", *kind)
    options = ("-B", "-i", "2", "-s", "100000")
    with Attack(f"http://127.0.0.1:{server.port}/echo", *options, connections=1500) as attack:
        serve_beside(server, attack, 990)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ATTACKED)
def test_slow_reads_of_what_the_kernel_holds(serve, open_files, kind):
    """The responses are out as far as the worker is concerned."""
    open_files(4500)
    server = serve("probe:app", *kind)
    options = ("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5")
    with Attack(f"http://127.0.0.1:{server.port}/bytes/100000", *options, connections=1000) as attack:
        serve_beside(server, attack, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ATTACKED)
def test_slow_reads_of_more_than_that(serve, big, open_files, kind):
    """More of them than there are places. Fewer than elsewhere: each costs the kernel some megabytes."""
    open_files(4500)
    server = serve("plumbing:application", *kind, "--worker-connections", "100")
    options = ("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5")
    url = f"http://127.0.0.1:{server.port}/file?path={big}"
    with Attack(url, *options, connections=250, seconds=15) as attack:
        serve_beside(server, attack, 100)


# ---- slow readers and the places of a worker ----


def ask_for(server, big) -> http.Connection:
    client = server.connect()
    client.socket.setsockopt(http.socket.SOL_SOCKET, http.socket.SO_RCVBUF, 32768)
    client.send(http.head("GET", f"/file?path={big}"))
    return client


@every_type
def test_readers_that_stall_make_room(serve, big, kind):
    server = serve("plumbing:application", *kind, "--worker-connections", "10")
    stalled = [ask_for(server, big) for _ in range(10)]
    try:
        for client in stalled:
            assert client.read_head().status == 200
        wait_until(lambda: server.admin.workers()[0]["connections"] == 10, "a worker full of them")
        for _ in range(5):
            assert server.get("/pid").status == 200
        # One for each newcomer: those that were not in the way are left alone.
        assert server.admin.workers()[0]["connections"] >= 5
        assert any(len(client.read_to_end()) < 20 * MIB for client in stalled)
    finally:
        for client in stalled:
            client.close()


@every_type
def test_who_has_just_come_is_not_given_up_for_the_next(serve, kind):
    """Bodies that are stuck are older than a head that has not begun."""
    server = serve("probe:app", *kind, "--worker-connections", "10")
    stuck = []
    try:
        for _ in range(9):
            stuck.append(server.connect())
            stuck[-1].send(http.head("POST", "/echo", {"Content-Length": "100000"}) + b"x")
        wait_until(lambda: server.admin.workers()[0]["connections"] == 9, "the connections")
        for _ in range(3):
            server.get("/")  # whatever came before it is read by then
        fresh = server.connect()
        stuck.append(fresh)
        wait_until(lambda: server.admin.workers()[0]["connections"] == 10, "a worker full of them")
        for _ in range(5):
            assert server.get("/").status == 200
        fresh.send(http.head("GET", "/", {"Connection": "close"}))
        assert fresh.read_response().status == 200
        assert stuck[0].read_response().status == 408
    finally:
        for client in stuck:
            client.close()


@every_type
def test_readers_that_keep_up_keep_their_place(serve, big, kind):
    """A newcomer waits for them, however long they take."""
    server = serve(
        "plumbing:application", *kind, "--worker-connections", "4", "--stall-timeout", "20", "--min-body-rate", "10"
    )
    steady = {ask_for(server, big): 0 for _ in range(4)}
    newcomer = server.connect()
    try:
        for client in steady:
            assert client.read_head().header("Content-Length") == str(20 * MIB)
            steady[client] = len(client.buffer)
        newcomer.send(http.head("GET", "/pid", {"Connection": "close"}))
        slow_until = time.monotonic() + 5
        while any(got < 20 * MIB for got in steady.values()):
            slow = time.monotonic() < slow_until
            for client, got in steady.items():
                if got < 20 * MIB:
                    piece = len(client.socket.recv(16_384 if slow else 1 << 20))
                    assert piece, f"given up after {got} bytes"
                    steady[client] += piece
            time.sleep(0.05 if slow else 0)
        for client in steady:
            client.close()
        assert newcomer.read_response().status == 200
    finally:
        for client in [*steady, newcomer]:
            client.close()
