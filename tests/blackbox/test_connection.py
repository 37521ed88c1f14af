"""What an app can do with its connection beyond giving bytes: files, the socket itself, forks; and how it ends."""

import gzip
import os
import signal
import socket
import struct
import time

import pytest
from podtest import http, processes
from podtest.server import settle
from podtest.types import GREEN, every_type, keeping_types, params, wsgi_types
from podtest.waiting import wait_until

MIB = 1 << 20


@pytest.fixture
def big(tmp_path):
    """A file of a few megabytes, no two pages alike."""
    path = tmp_path / "big"
    path.write_bytes(b"".join(b"%07d\n" % number for number in range(MIB // 2)))
    return path


# ---- files ----


@pytest.mark.parity
@wsgi_types
@pytest.mark.parametrize("option", ["", "--no-sendfile"])
@pytest.mark.parametrize("how", ["buffered", "raw", "bytesio"])
def test_a_file_is_sent_whole(serve, big, kind, option, how):
    server = serve("plumbing:application", *kind, *option.split())
    response = server.get(f"/file?path={big}&how={how}")
    assert response.body == big.read_bytes()
    # Gunicorn sends what has no length in chunks.
    if how != "bytesio" and not option and server.program == "podicorn":
        assert response.header("Content-Length") == str(big.stat().st_size)
    assert server.get(f"/file?path={big}&how={how}", method="HEAD").body == b""


@wsgi_types
def test_a_file_is_sent_from_where_it_was_read_to(serve, big, kind):
    """The position is that of Python's buffer, not of the descriptor, which is further on."""
    server = serve("plumbing:application", *kind)
    assert server.get(f"/file?path={big}&at=10").body == big.read_bytes()[10:]


@wsgi_types
def test_a_file_goes_no_further_than_its_content_length(serve, big, kind):
    server = serve("plumbing:application", *kind)
    assert server.get(f"/file?path={big}&said=1000").body == big.read_bytes()[:1000]
    with server.connect() as client:
        client.send(http.head("GET", f"/file?path={big}&said=99999999"))
        with pytest.raises(http.ExchangeError):
            client.read_response()


@wsgi_types
def test_what_has_a_descriptor_but_other_bytes_is_read(serve, tmp_path, kind):
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"unpacked" * 1000))
    server = serve("plumbing:application", *kind)
    assert server.get(f"/file?path={path}&how=gzip").body == b"unpacked" * 1000


@wsgi_types
def test_what_is_written_and_not_flushed_is_sent(serve, tmp_path, kind):
    path = tmp_path / "file"
    path.write_bytes(b"written ")
    server = serve("plumbing:application", *kind)
    assert server.get(f"/file?path={path}&how=unflushed").body == b"written unflushed"


@wsgi_types
def test_an_empty_file(serve, tmp_path, kind):
    path = tmp_path / "empty"
    path.write_bytes(b"")
    response = serve("plumbing:application", *kind).get(f"/file?path={path}")
    assert (response.status, response.header("Content-Length"), response.body) == (200, "0", b"")


@wsgi_types
def test_a_file_that_becomes_shorter_breaks_the_response_off(serve, big, kind):
    server = serve("plumbing:application", *kind)
    with server.connect() as client:
        client.send(http.head("GET", f"/truncated?path={big}"))
        with pytest.raises(http.ExchangeError):
            client.read_response()
    assert server.get("/pid").status == 200


@wsgi_types
def test_a_slow_download_of_a_file_holds_no_worker_and_no_memory(serve, tmp_path, kind):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(512 * MIB)
    server = serve("plumbing:application", *kind)
    (pid,) = server.admin.pids()
    server.get("/pid")
    before = processes.resident(pid)
    slow = [server.connect() for _ in range(8)]
    for client in slow:
        client.send(http.head("GET", f"/file?path={path}"))
        assert client.read_head().header("Content-Length") == str(512 * MIB)
    for _ in range(20):
        assert int(server.get("/pid").text) == pid
    assert processes.resident(pid) - before < 16 * 1024
    for client in slow:
        client.close()


@pytest.mark.parametrize("kind", params("gthread-1", "gthread-4", *GREEN))
def test_a_file_leaves_the_connection_open(serve, big, kind):
    server = serve("plumbing:application", *kind)
    with server.connect() as client:
        for _ in range(3):
            client.send(http.head("GET", f"/file?path={big}"))
            response = client.read_response()
            assert response.header("Connection") == "keep-alive"
            assert len(response.body) == big.stat().st_size


# ---- gunicorn.socket ----


@wsgi_types
def test_the_socket_is_there_and_costs_nothing(serve, kind):
    server = serve("plumbing:application", *kind)
    assert server.get("/look").text == "True"


@pytest.mark.parity
@wsgi_types
@pytest.mark.parametrize("end", ["stop", "return"])
def test_an_app_can_speak_its_own_protocol(serve, kind, end):
    if end == "return" and kind != ():
        pytest.skip("one way to end is enough there")
    server = serve("plumbing:application", *kind)
    with server.connect() as client:
        client.send(http.head("GET", f"/take?end={end}", {"Connection": "upgrade", "Upgrade": "echo"}))
        assert client.read_head().status == 101
        client.send(b"one\n")
        assert client._exactly(9, "an echo") == b"echo one\n"
        client.send(b"bye\n")
        assert client.read_to_end() == b"echo bye\n"
        assert client.end is http.End.FIN
    assert server.get("/pid").status == 200


@wsgi_types
def test_what_came_with_the_request_is_given_to_who_takes_the_socket(serve, kind):
    server = serve("plumbing:application", *kind)
    with server.connect() as client:
        client.send(http.head("GET", "/take") + b"early\nbye\n")
        assert client.read_head().status == 101
        assert client.read_to_end() == b"echo early\necho bye\n"


@wsgi_types
def test_a_socket_that_was_taken_has_no_request_timeout(serve, kind):
    server = serve("plumbing:application", *kind, "--request-timeout", "1")
    with server.connect() as client:
        client.send(http.head("GET", "/take"))
        assert client.read_head().status == 101
        settle(2)
        client.send(b"still here\nbye\n")
        assert client.read_to_end() == b"echo still here\necho bye\n"
    assert "Request timeout" not in server.err.text


# ---- forks ----


@every_type
def test_a_child_may_collect_garbage_before_it_is_known_as_one(serve, kind, config):
    """What was registered before the engine runs first in the child, which has no scoreboard to count in."""
    path = config("import gc, os\nos.register_at_fork(after_in_child=gc.collect)\n")
    server = serve("plumbing:application", *kind, "--config", path)
    child = int(server.get("/fork").text)
    try:
        settle(0.3)
        assert processes.alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


@every_type
def test_a_child_that_lives_on_keeps_no_connection_open(serve, kind):
    """A copy of the descriptor in the child must not keep the client waiting for the end."""
    server = serve("plumbing:application", *kind)
    children = []
    try:
        for _ in range(4):
            response = server.get("/fork")  # read to its end
            assert response.end is http.End.FIN
            children.append(int(response.text))
        assert all(processes.alive(child) for child in children)
        assert server.get("/pid").status == 200
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)


@every_type
def test_a_child_that_comes_back_from_the_app_does_not_answer(serve, kind):
    server = serve("plumbing:application", *kind)
    (pid,) = server.admin.pids()
    for _ in range(5):
        response = server.get("/forked-return")
        assert (int(response.text), response.end) == (pid, http.End.FIN)
    wait_until(lambda: not [c for c in processes.children(pid) if not c.zombie], "the children's end")
    assert server.admin.pids() == [pid]


@keeping_types
def test_a_child_that_lives_on_does_not_hurt_kept_connections(serve, kind):
    server = serve("plumbing:application", *kind)
    with server.connect() as client:
        client.send(http.head("GET", "/fork"))
        child = int(client.read_response().body)
        try:
            for _ in range(20):
                client.send(http.head("GET", "/pid"))
                assert client.read_response().header("Connection") == "keep-alive"
            client.send(http.head("GET", "/pid", {"Connection": "close"}))
            client.read_response()
            assert client.finish() is http.End.FIN
            time.sleep(0.1)
            assert processes.alive(child)
        finally:
            os.kill(child, signal.SIGKILL)


# ---- the end ----


def segments(client):
    """How many segments have come on a connection (``tcpi_segs_in``)."""
    info = client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("=I", info, 140)[0]


@every_type
@pytest.mark.parametrize("size", [5, 10_000])
def test_the_end_comes_in_one_segment_with_the_last_bytes(serve, kind, size):
    """A segment for FIN alone would cost both kernels a good part of what the response costs."""
    server = serve("probe:app", *kind)
    for _ in range(100):
        with server.connect() as client:
            client.send(http.head("GET", f"/bytes/{size}", {"Connection": "close"}))
            client.socket.recv(1, socket.MSG_PEEK)
            before = segments(client)
            assert len(client.read_response().body) == size
            assert client.finish() is http.End.FIN
            assert segments(client) == before


@wsgi_types
@pytest.mark.parametrize("size", [5, 10_000])
@pytest.mark.parametrize("said", ["", "&said=1"])
def test_the_end_does_not_wait_for_the_apps_close(serve, gate, kind, size, said):
    server = serve("plumbing:application", *kind, environment=gate.environment)
    (pid,) = server.admin.pids()
    with server.connect() as client:
        client.send(http.head("GET", f"/held?size={size}{said}", {"Connection": "close"}))
        assert len(client.read_response().body) == size
        assert client.finish() is http.End.FIN
        gate.wait(1, "close")
        # What the app has to do for a request is work in flight, whoever still waits for it.
        (worker,) = server.admin.workers()
        assert (worker["state"], worker["inFlight"]) == ("busy", 1)
        gate.open()
    # It was not the end of the worker.
    assert int(server.get("/pid").text) == pid


@wsgi_types
def test_a_worker_whose_client_has_seen_the_end_is_idle(serve, gate, kind):
    """Whoever scales or chooses the idlest worker by these numbers must not see work that is done: not even while the
    worker still puts away what it took, which this app makes long."""
    server = serve("plumbing:application", *kind, environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/lingering", {"Connection": "close"}))
        assert client.read_response().body == b"lingering"
        assert client.finish() is http.End.FIN
        gate.wait(1, "freed")
        (worker,) = server.admin.workers()
        gate.open()
    assert (worker["state"], worker["inFlight"], worker["queued"]) == ("idle", 0, 0)


@every_type
def test_a_worker_that_has_answered_is_idle_at_once(serve, kind):
    server = serve("probe:app", *kind)
    for _ in range(20):
        server.get("/")
        (worker,) = server.admin.workers()
        assert (worker["state"], worker["inFlight"], worker["queued"]) == ("idle", 0, 0)
