"""TLS, by rustls and by Python's ssl alike: what clients of all kinds see."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess

import httpx
import pytest
from podtest import http
from podtest.server import APPS, settle
from podtest.tls_clients import first_flight, only, slow_client
from podtest.tls_hooks import config_of
from podtest.types import every_type, keeping_types, params, wsgi_types
from podtest.waiting import wait_until
from websockets.asyncio.client import connect


@pytest.fixture(params=["rustls", "python"])
def secured(request, files, config):
    """The command line's part of TLS; with a context of the hook's own it is by Python's ssl."""
    return files if request.param == "rustls" else (*files, "-c", config(config_of()))


# ---- requests ----


@pytest.mark.parity
@every_type
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_are_answered(serve, kind, secured, authority, version):
    server = serve("secure:app", *kind, *secured)
    context = authority.trusting()
    context.minimum_version = context.maximum_version = version
    with server.connect(context) as client:
        assert client.socket.version() == version.name.replace("_", ".")
        client.send(http.head("GET", "/", {"Connection": "close"}))
        response = client.read_response()
        assert (response.status, response.body) == (200, b"probe\n")
        assert client.finish() in (http.End.FIN, http.End.RAGGED)


@every_type
def test_the_end_is_told(serve, kind, secured, authority):
    """close_notify, then FIN (RFC 8446 §6.1); Gunicorn leaves it out on its sync and gthread workers."""
    server = serve("secure:app", *kind, *secured)
    assert server.get("/", context=authority.trusting()).end is http.End.FIN


@keeping_types
def test_connections_are_kept_and_pipelined(serve, kind, secured, authority):
    server = serve("secure:app", *kind, *secured)
    with server.connect(authority.trusting()) as client:
        client.send(b"".join(http.head("GET", f"/bytes/{size}") for size in range(1, 40)))
        assert [len(client.read_response().body) for _ in range(39)] == list(range(1, 40))
        client.send(http.head("GET", "/", {"Connection": "close"}))
        assert client.read_response().body == b"probe\n"
        assert client.finish() is http.End.FIN


@pytest.mark.parity
@every_type
def test_large_bodies_go_both_ways(serve, kind, secured, authority):
    """More than any buffer holds: in chunks and of a known length, up and down."""
    server = serve("secure:app", *kind, *secured)
    body = os.urandom(1 << 20) * 6
    known = server.post("/digest", body, context=authority.trusting())
    assert hashlib.sha256(body).hexdigest() in known.text
    chunks = b"".join(b"10000\r\n%b\r\n" % body[at : at + 65536] for at in range(0, len(body), 65536)) + b"0\r\n\r\n"
    with server.connect(authority.trusting()) as client:
        client.send(http.head("POST", "/digest", {"Transfer-Encoding": "chunked", "Connection": "close"}) + chunks)
        assert hashlib.sha256(body).hexdigest() in client.read_response().text
    down = server.get("/bytes/8000000", context=authority.trusting())
    assert len(down.body) == 8_000_000


@every_type
def test_a_client_that_reads_slowly_gets_all_of_it(serve, kind, secured, authority):
    """The socket is full in the midst of a record, many times."""
    server = serve("secure:app", *kind, *secured)
    with slow_client(server.address, authority.trusting()) as client:
        client.sendall(http.head("GET", "/bytes/3000000", {"Connection": "close"}))
        received, pauses = b"", 0
        while piece := client.recv(16384):
            received += piece
            if pauses < 20:
                settle(0.01)
                pauses += 1
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert body == server.get("/bytes/3000000", context=authority.trusting()).body


@pytest.mark.parity
@wsgi_types
def test_a_file_is_sent_without_the_kernel(serve, kind, secured, authority):
    """There is no sendfile where bytes have to be encrypted."""
    server = serve("secure:app", *kind, *secured)
    assert server.get("/file", context=authority.trusting()).body == (APPS / "probe.py").read_bytes()


@pytest.mark.parity
@every_type
def test_the_scheme_is_https(serve, kind, secured, authority):
    server = serve("secure:app", *kind, *secured, "--forwarded-allow-ips", "127.0.0.1")
    seen = server.get("/seen", context=authority.trusting()).json()
    assert seen.get("scheme", seen.get("wsgi.url_scheme")) == "https"
    # A trusted proxy in between knows better.
    told = server.get("/seen", headers={"X-Forwarded-Proto": "http"}, context=authority.trusting()).json()
    assert told.get("scheme", told.get("wsgi.url_scheme")) == "http"


@every_type
def test_https_targets_are_for_everybody(serve, kind, secured, authority):
    """RFC 9110 §7.4: without TLS they are refused (`test_rfc.py`)."""
    server = serve("secure:app", *kind, *secured, "--forwarded-allow-ips", "")
    with server.connect(authority.trusting()) as client:
        client.send(b"GET https://localhost/seen HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.read_response().status == 200


@every_type
def test_expect_continue(serve, kind, secured, authority):
    server = serve("secure:app", *kind, *secured)
    with server.connect(authority.trusting()) as client:
        fields = {"Content-Length": "5", "Expect": "100-continue", "Connection": "close"}
        client.send(http.head("POST", "/echo", fields))
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.read_response().body == b"hello"


@every_type
def test_curl(serve, kind, secured, authority, tmp_path):
    curl = shutil.which("curl")
    assert curl, "curl is missing: apt-get install curl"
    (tmp_path / "root.pem").write_bytes(authority.pem)
    server = serve("secure:app", *kind, *secured)
    url = f"https://localhost:{server.port}/"
    command = [curl, "-sS", "--cacert", str(tmp_path / "root.pem"), "-d", "x" * 1000, f"{url}echo", "--next", "-sS"]
    command += ["--cacert", str(tmp_path / "root.pem"), f"{url}bytes/100000"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, len(done.stdout)) == (0, 101_000), done.stderr


@every_type
def test_httpx(serve, kind, secured, authority):
    server = serve("secure:app", *kind, *secured)
    with httpx.Client(verify=authority.trusting(), base_url=f"https://localhost:{server.port}") as client:
        for _ in range(3):
            assert client.get("/").text == "probe\n"
            assert client.post("/echo", content=b"y" * 300_000).content == b"y" * 300_000


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_websockets(serve, secured, authority, loop):
    server = serve("secure:app", "-k", "asgi", "--asgi-loop", loop, *secured)

    # Not the library's client with threads: two of them would use one ssl.SSLSocket at a time, for which it has no lock
    # before CPython 3.13, so that one handshake in a hundred is lost, whatever the server is.
    async def talk() -> None:
        url = f"wss://localhost:{server.port}/"
        async with connect(url, ssl=authority.trusting(), max_size=None) as client:
            assert json.loads(await client.recv()) == ["wss", 0x0304]
            for size in (1, 70_000, 3_000_000):
                data = os.urandom(size)
                await client.send(data)
                assert await client.recv() == data

    asyncio.run(talk())


# ---- what apps see ----


def test_plain_http_has_no_such_extension(serve):
    assert serve("secure:app", "-k", "asgi").get("/tls").json() is None


@wsgi_types
def test_the_socket_itself_stays_the_engines(serve, kind, secured, authority):
    server = serve("secure:app", *kind, *secured)
    said = server.get("/read-socket", context=authority.trusting()).json()["error"]
    assert "gunicorn.socket.recv: over TLS the connection stays the engine's" in said


# ---- handshakes that come to nothing ----


def failures(server):
    return server.admin.metrics().value("podicorn_tls_failures_total")


@every_type
def test_plain_http_is_told_so(serve, kind, secured):
    server = serve("secure:app", *kind, *secured)
    response = server.get("/")
    assert response.status == 400
    assert "This port speaks HTTPS" in response.text
    server.err.wait_for("Invalid request from ip=127.0.0.1: plain HTTP on a port that speaks TLS")
    wait_until(lambda: failures(server) == 1, "the count")


@every_type
@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x00\x05hello", b"\x00" * 300, b"\x16\x03\x01\xff\xff" * 9])
def test_garbage_ends_the_connection(serve, kind, secured, authority, garbage):
    server = serve("secure:app", *kind, *secured, "--log-level", "debug")
    with server.connect() as client:
        client.send(garbage)
        client.read_to_end()
        assert client.end in (http.End.FIN, http.End.RESET)
    server.err.wait_for("No TLS session from ip=127.0.0.1: TLS: ")
    assert server.get("/", context=authority.trusting()).status == 200
    wait_until(lambda: failures(server) == 1, "the count")


@every_type
@pytest.mark.parametrize("part", ["half", "whole"])
def test_an_unfinished_handshake_harms_nobody(serve, kind, secured, authority, part):
    server = serve("secure:app", *kind, *secured, "--log-level", "debug")
    first = first_flight()
    with server.connect() as client:
        client.send(first[: len(first) // 2] if part == "half" else first)
        if part == "whole":
            assert client.socket.recv(1) == b"\x16"
    server.err.wait_for("the TLS handshake did not come to its end")
    assert server.get("/", context=authority.trusting()).status == 200
    wait_until(lambda: failures(server) == 1, "the count")


def test_a_connection_without_a_byte_is_no_failure(serve, secured, authority):
    """Load balancers look whether the port is open."""
    server = serve("secure:app", "-k", "gthread", *secured, "--log-level", "debug")
    for _ in range(5):
        server.connect().close()
    assert server.get("/", context=authority.trusting()).status == 200
    wait_until(lambda: server.admin.metrics().value("podicorn_connections") == 0, "the end of the connections")
    assert failures(server) == 0
    assert "No TLS session" not in server.err.text


@every_type
def test_slow_handshakes_hold_no_worker_and_end_with_the_head_timeout(serve, kind, secured, authority):
    """One byte at a time, on more connections than there are threads: others are served meanwhile."""
    server = serve("secure:app", *kind, *secured, "--head-timeout", "3", "--log-level", "debug")
    first = first_flight()
    slow = [server.connect() for _ in range(20)]
    for at in range(10):
        for client in slow:
            # On a slow machine its time may be up already.
            with contextlib.suppress(OSError):
                client.send(first[at : at + 1])
        assert server.get("/", context=authority.trusting()).status == 200
    for client in slow:
        client.read_to_end()
        assert client.end in (http.End.FIN, http.End.RESET)
        client.close()
    server.err.wait_for("No TLS session from ip=127.0.0.1: the TLS handshake did not come to its end")
    wait_until(lambda: failures(server) == 20, "the count")


@every_type
def test_one_byte_at_a_time_is_enough(serve, kind, secured, authority):
    """Handshake and request, through a socket that is given single bytes."""
    server = serve("secure:app", *kind, *secured)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")

    def pump(step):
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                done = None
            for byte in outgoing.read():
                wire.send(bytes([byte]))
            if done is not None:
                return done
            incoming.write(wire.socket.recv(65536))

    with server.connect() as wire:
        pump(lambda: client.do_handshake() or True)
        pump(lambda: client.write(http.head("GET", "/", {"Connection": "close"})))
        assert pump(lambda: client.read(65536)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("kind", params("gthread-1", "gthread-4", "asgi"))
def test_sessions_are_resumed_by_all_workers(serve, kind, secured, authority):
    """By tickets, whose keys all workers have."""
    server = serve("secure:app", *kind, *secured, "--workers", "3")
    wait_until(lambda: len(server.worker_pids()) == 3, "three workers")
    context = only(authority.trusting(), ssl.TLSVersion.TLSv1_2)
    session, pids = None, set()
    for _ in range(60):
        plain = socket.create_connection(server.address, timeout=60)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as client:
            assert client.session_reused == (session is not None)
            session = session or client.session
            client.sendall(http.head("GET", "/seen", {"Connection": "close"}))
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            pids.add(json.loads(answer.partition(b"\r\n\r\n")[2])["pid"])
        if len(pids) == 3:
            break
    assert len(pids) == 3


# ---- ends ----


@keeping_types
def test_a_client_that_says_goodbye_is_let_go(serve, kind, secured, authority):
    """close_notify without FIN, as `SSLSocket.unwrap` does it: the server answers it and closes."""
    server = serve("secure:app", *kind, *secured, "--keep-alive", "60")
    with server.connect(authority.trusting()) as client:
        client.send(http.head("GET", "/"))
        assert client.read_response().status == 200
        plain = client.socket.unwrap()
        assert plain.recv(100) == b""
    wait_until(lambda: server.admin.metrics().value("podicorn_connections") == 0, "the end of the connection")


@every_type
def test_a_stop_finishes_what_has_begun(serve, kind, secured, authority, gate):
    server = serve("secure:app", *kind, *secured, environment=gate.environment)
    with server.connect(authority.trusting()) as client:
        client.send(http.head("GET", "/hold/last"))
        gate.wait(1, "last")
        server.send(signal.SIGTERM)
        server.err.wait_for("Handling signal: term")
        gate.release_all()
        assert client.read_response().body == b"released\n"
        assert client.finish() is http.End.FIN
    assert server.wait_exit() == 0


@every_type
def test_a_request_that_takes_too_long_is_answered(serve, kind, secured, authority, gate):
    """By the watchdog's thread, on the app's session."""
    server = serve("secure:app", *kind, *secured, "--request-timeout", "1", environment=gate.environment)
    response = server.get("/hold/long", context=authority.trusting())
    assert (response.status, response.end) == (504, http.End.FIN)
    gate.release_all()
