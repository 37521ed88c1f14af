"""TLS: what clients of all kinds see, and what the app does."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess

import httpx
import pytest
import websockets.sync.client
from podtest import http
from podtest.certificates import Authority, key_pem
from podtest.server import APPS, run, settle
from podtest.types import every_type, keeping_types, params, wsgi_types
from podtest.waiting import wait_until

every_green_or_threads = pytest.mark.parametrize("kind", params("gthread-4", "gevent", "eventlet"))


def resumable(context):
    """Whether sessions of TLS 1.2 only, which Python can ask for tickets before it reads."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


# ---- requests ----


@pytest.mark.parity
@every_type
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_are_answered(serve, kind, files, authority, version):
    server = serve("secure:app", *kind, *files)
    context = authority.trusting()
    context.minimum_version = context.maximum_version = version
    with server.connect(context) as client:
        assert client.socket.version() == version.name.replace("_", ".")
        client.send(http.head("GET", "/", {"Connection": "close"}))
        response = client.read_response()
        assert (response.status, response.body) == (200, b"probe\n")
        assert client.finish() in (http.End.FIN, http.End.RAGGED)


@every_type
def test_the_end_is_told(serve, kind, files, authority):
    """close_notify, then FIN (RFC 8446 §6.1); Gunicorn leaves it out on its sync and gthread workers."""
    server = serve("secure:app", *kind, *files)
    assert server.get("/", context=authority.trusting()).end is http.End.FIN


@keeping_types
def test_connections_are_kept_and_pipelined(serve, kind, files, authority):
    server = serve("secure:app", *kind, *files)
    with server.connect(authority.trusting()) as client:
        client.send(b"".join(http.head("GET", f"/bytes/{size}") for size in range(1, 40)))
        assert [len(client.read_response().body) for _ in range(39)] == list(range(1, 40))
        client.send(http.head("GET", "/", {"Connection": "close"}))
        assert client.read_response().body == b"probe\n"
        assert client.finish() is http.End.FIN


@pytest.mark.parity
@every_type
def test_large_bodies_go_both_ways(serve, kind, files, authority):
    """More than any buffer holds: in chunks and of a known length, up and down."""
    server = serve("secure:app", *kind, *files)
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
def test_a_client_that_reads_slowly_gets_all_of_it(serve, kind, files, authority):
    """The socket is full in the midst of a record, many times."""
    server = serve("secure:app", *kind, *files)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(60)
    plain.connect(server.address)
    with authority.trusting().wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as client:
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
def test_a_file_is_sent_without_the_kernel(serve, kind, files, authority):
    """There is no sendfile where bytes have to be encrypted."""
    server = serve("secure:app", *kind, *files)
    assert server.get("/file", context=authority.trusting()).body == (APPS / "probe.py").read_bytes()


@pytest.mark.parity
@every_type
def test_the_scheme_is_https(serve, kind, files, authority):
    server = serve("secure:app", *kind, *files, "--forwarded-allow-ips", "127.0.0.1")
    seen = server.get("/seen", context=authority.trusting()).json()
    assert seen.get("scheme", seen.get("wsgi.url_scheme")) == "https"
    # A trusted proxy in between knows better.
    told = server.get("/seen", headers={"X-Forwarded-Proto": "http"}, context=authority.trusting()).json()
    assert told.get("scheme", told.get("wsgi.url_scheme")) == "http"


@every_type
def test_https_targets_are_for_everybody(serve, kind, files, authority):
    """RFC 9110 §7.4: without TLS they are refused (`test_rfc.py`)."""
    server = serve("secure:app", *kind, *files, "--forwarded-allow-ips", "")
    with server.connect(authority.trusting()) as client:
        client.send(b"GET https://localhost/seen HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.read_response().status == 200


@every_type
def test_expect_continue(serve, kind, files, authority):
    server = serve("secure:app", *kind, *files)
    with server.connect(authority.trusting()) as client:
        fields = {"Content-Length": "5", "Expect": "100-continue", "Connection": "close"}
        client.send(http.head("POST", "/echo", fields))
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.read_response().body == b"hello"


@every_type
def test_curl(serve, kind, files, authority, tmp_path):
    curl = shutil.which("curl")
    assert curl, "curl is missing: apt-get install curl"
    (tmp_path / "root.pem").write_bytes(authority.pem)
    server = serve("secure:app", *kind, *files)
    url = f"https://localhost:{server.port}/"
    command = [curl, "-sS", "--cacert", str(tmp_path / "root.pem"), "-d", "x" * 1000, f"{url}echo", "--next", "-sS"]
    command += ["--cacert", str(tmp_path / "root.pem"), f"{url}bytes/100000"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, len(done.stdout)) == (0, 101_000), done.stderr


@every_type
def test_httpx(serve, kind, files, authority):
    server = serve("secure:app", *kind, *files)
    with httpx.Client(verify=authority.trusting(), base_url=f"https://localhost:{server.port}") as client:
        for _ in range(3):
            assert client.get("/").text == "probe\n"
            assert client.post("/echo", content=b"y" * 300_000).content == b"y" * 300_000


def test_websockets(serve, files, authority):
    server = serve("secure:app", "-k", "asgi", *files)
    url = f"wss://localhost:{server.port}/"
    with websockets.sync.client.connect(url, ssl=authority.trusting(), max_size=None) as client:
        assert json.loads(client.recv()) == ["wss", 0x0304]
        for size in (1, 70_000, 3_000_000):
            data = os.urandom(size)
            client.send(data)
            assert client.recv() == data


@keeping_types
def test_alpn_names_what_is_spoken(serve, kind, files, authority):
    server = serve("secure:app", *kind, *files)
    context = authority.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with server.connect(context) as client:
        assert client.socket.selected_alpn_protocol() == "http/1.1"


# ---- what apps see ----


def test_the_extension_of_asgi(serve, files, authority, tmp_path):
    """ASGI, "TLS Extension"."""
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = serve("secure:app", "-k", "asgi", *files, "--ca-certs", str(tmp_path / "ca.pem"), "--cert-reqs", "1")
    shown = authority.issue('Ann, "the" client', client=True, organisation="A+B")
    tls = server.get("/tls", context=authority.trusting(shown, tmp_path / "client")).json()
    assert ssl.PEM_cert_to_DER_cert(tls["client_cert_chain"][0]) == shown.der
    assert tls["client_cert_name"] == 'CN=Ann\\, \\"the\\" client,O=A\\+B'
    assert tls["client_cert_error"] is None
    assert tls["tls_version"] == 0x0304
    assert tls["cipher_suite"] in (0x1301, 0x1302, 0x1303)
    with server.connect(authority.trusting()) as client:
        certificate = client.socket.getpeercert(binary_form=True)
    bare = server.get("/tls", context=authority.trusting()).json()
    assert ssl.PEM_cert_to_DER_cert(bare["server_cert"]) == certificate
    assert (bare["client_cert_chain"], bare["client_cert_name"]) == ([], None)


def test_plain_http_has_no_such_extension(serve):
    assert serve("secure:app", "-k", "asgi").get("/tls").json() is None


@pytest.mark.parity
@pytest.mark.parametrize("kind", params("sync", "gthread-4", "gevent"))
def test_wsgi_apps_ask_the_socket(serve, kind, files, authority, tmp_path):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = serve("secure:app", *kind, *files, "--ca-certs", str(tmp_path / "ca.pem"), "--cert-reqs", "1")
    shown = authority.issue("bob", client=True)
    peer = server.get("/peer", context=authority.trusting(shown, tmp_path / "client")).json()
    assert peer["subject"] == [[["commonName", "bob"]]]
    assert (peer["der"], peer["version"]) == (shown.der.hex(), "TLSv1.3")
    assert peer["cipher"][0].startswith("TLS_")
    assert server.get("/peer", context=authority.trusting()).json()["der"] is None


@wsgi_types
def test_the_socket_itself_stays_the_engines(serve, kind, files, authority):
    server = serve("secure:app", *kind, *files)
    said = server.get("/read-socket", context=authority.trusting()).json()["error"]
    assert "gunicorn.socket.recv: over TLS the connection stays the engine's" in said


# ---- certificates of clients ----


@pytest.mark.parity
@pytest.mark.parametrize("kind", params("gthread-4", "gevent", "asgi"))
def test_clients_need_a_certificate_of_ours(serve, kind, files, authority, tmp_path):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = serve("secure:app", *kind, *files, "--ca-certs", str(tmp_path / "ca.pem"), "--cert-reqs", "2")
    good = authority.issue("good", client=True)
    assert server.get("/", context=authority.trusting(good, tmp_path / "good")).status == 200
    stranger = Authority("stranger").issue("bad", client=True)
    for context in (authority.trusting(), authority.trusting(stranger, tmp_path / "bad")):
        with pytest.raises((OSError, http.ExchangeError)):
            server.get("/", context=context)
    assert server.get("/", context=authority.trusting(good, tmp_path / "good")).status == 200


@keeping_types
def test_a_wrong_certificate_is_worse_than_none(serve, kind, files, authority, tmp_path):
    """cert_reqs 1."""
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = serve("secure:app", *kind, *files, "--ca-certs", str(tmp_path / "ca.pem"), "--cert-reqs", "1")
    assert server.get("/", context=authority.trusting()).status == 200
    stranger = Authority("stranger").issue("bad", client=True)
    with pytest.raises((OSError, http.ExchangeError)):
        server.get("/", context=authority.trusting(stranger, tmp_path / "bad"))


# ---- handshakes that come to nothing ----


def failures(server):
    return server.admin.metrics().value("podicorn_tls_failures_total")


@every_type
def test_plain_http_is_told_so(serve, kind, files):
    server = serve("secure:app", *kind, *files)
    response = server.get("/")
    assert response.status == 400
    assert "This port speaks HTTPS" in response.text
    server.err.wait_for("Invalid request from ip=127.0.0.1: plain HTTP on a port that speaks TLS")
    wait_until(lambda: failures(server) == 1, "the count")


@every_type
@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x00\x05hello", b"\x00" * 300, b"\x80\x2e\x01\x00\x02" * 9])
def test_garbage_ends_the_connection(serve, kind, files, authority, garbage):
    server = serve("secure:app", *kind, *files, "--log-level", "debug")
    with server.connect() as client:
        client.send(garbage)
        client.read_to_end()
        assert client.end in (http.End.FIN, http.End.RESET)
    server.err.wait_for("No TLS session from ip=127.0.0.1: TLS: ")
    assert server.get("/", context=authority.trusting()).status == 200
    wait_until(lambda: failures(server) == 1, "the count")


def hello():
    """The first flight of a real client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@every_type
@pytest.mark.parametrize("part", ["half", "whole"])
def test_an_unfinished_handshake_harms_nobody(serve, kind, files, authority, part):
    server = serve("secure:app", *kind, *files, "--log-level", "debug")
    first = hello()
    with server.connect() as client:
        client.send(first[: len(first) // 2] if part == "half" else first)
        if part == "whole":
            assert client.socket.recv(1) == b"\x16"
    server.err.wait_for("the TLS handshake did not come to its end")
    assert server.get("/", context=authority.trusting()).status == 200
    wait_until(lambda: failures(server) == 1, "the count")


def test_a_connection_without_a_byte_is_no_failure(serve, files, authority):
    """Load balancers look whether the port is open."""
    server = serve("secure:app", "-k", "gthread", *files, "--log-level", "debug")
    for _ in range(5):
        server.connect().close()
    assert server.get("/", context=authority.trusting()).status == 200
    wait_until(lambda: server.admin.metrics().value("podicorn_connections") == 0, "the end of the connections")
    assert failures(server) == 0
    assert "No TLS session" not in server.err.text


@every_type
def test_slow_handshakes_hold_no_worker_and_end_with_the_head_timeout(serve, kind, files, authority):
    """One byte at a time, on more connections than there are threads: others are served meanwhile."""
    server = serve("secure:app", *kind, *files, "--head-timeout", "3", "--log-level", "debug")
    first = hello()
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
    wait_until(lambda: failures(server) == 20, "the count")


@every_type
def test_one_byte_at_a_time_is_enough(serve, kind, files, authority):
    """Handshake and request, through a socket that is given single bytes."""
    server = serve("secure:app", *kind, *files)
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


def openssl(*arguments, send=b""):
    program = shutil.which("openssl")
    assert program, "openssl is missing: apt-get install openssl"
    return subprocess.run([program, *arguments], input=send, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused(serve, files, version):
    server = serve("secure:app", "-k", "gthread", *files)
    done = openssl("s_client", "-connect", f"127.0.0.1:{server.port}", version, "-cipher", "ALL:@SECLEVEL=0")
    assert done.returncode != 0
    # The second one where the client names no signature algorithms, as old ones do.
    assert re.search(rb"alert (protocol version|handshake failure)", done.stderr), done.stderr


@pytest.mark.parametrize("cipher", ["AES256-SHA", "ECDHE-ECDSA-AES256-SHA", "AES128-GCM-SHA256", "NULL"])
def test_weak_ciphers_are_refused(serve, files, cipher):
    """No static RSA, no CBC, no encryption by nothing."""
    server = serve("secure:app", "-k", "gthread", *files)
    done = openssl("s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
    assert done.returncode != 0
    assert b"handshake failure" in done.stderr, done.stderr


def test_renegotiation_is_refused(serve, files):
    server = serve("secure:app", "-k", "gthread", *files)
    program = shutil.which("openssl")
    assert program, "openssl is missing: apt-get install openssl"
    command = [program, "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        for line in client.stdout:
            if b"Verify return code" in line:
                break
        client.stdin.write(b"R\n")
        client.stdin.flush()
        said = client.stdout.read()
    assert b"no renegotiation" in said, said


@pytest.mark.parametrize("kind", params("gthread-1", "gthread-4", "asgi"))
def test_sessions_are_resumed_by_all_workers(serve, kind, files, authority):
    """By tickets, whose keys all workers have."""
    server = serve("secure:app", *kind, *files, "--workers", "3")
    wait_until(lambda: len(server.worker_pids()) == 3, "three workers")
    context = resumable(authority.trusting())
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


def cut_short(server, context, head, body):
    """A request whose client leaves by FIN, without close_notify, in the midst of the body."""
    with server.connect(context) as client:
        client.send(head + body)
        socket.socket.shutdown(client.socket, socket.SHUT_WR)
        return client.read_to_end()


@keeping_types
def test_a_truncated_request_is_not_run(serve, kind, files, authority, config):
    """An attacker can end a connection, but cannot say that the body was complete."""
    server = serve("secure:app", *kind, *files)
    head = http.head("POST", "/echo", {"Content-Length": "10"})
    assert b"200 OK" not in cut_short(server, authority.trusting(), head, b"hello")
    strict = serve("secure:app", *kind, *files, "-c", config("suppress_ragged_eofs = False\n"))
    assert cut_short(strict, authority.trusting(), head, b"hello") == b""


@keeping_types
def test_a_client_that_says_goodbye_is_let_go(serve, kind, files, authority):
    """close_notify without FIN, as `SSLSocket.unwrap` does it: the server answers it and closes."""
    server = serve("secure:app", *kind, *files, "--keep-alive", "60")
    with server.connect(authority.trusting()) as client:
        client.send(http.head("GET", "/"))
        assert client.read_response().status == 200
        plain = client.socket.unwrap()
        assert plain.recv(100) == b""
    wait_until(lambda: server.admin.metrics().value("podicorn_connections") == 0, "the end of the connection")


@every_type
def test_a_stop_finishes_what_has_begun(serve, kind, files, authority, gate):
    server = serve("secure:app", *kind, *files, environment=gate.environment)
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
def test_a_request_that_takes_too_long_is_answered(serve, kind, files, authority, gate):
    """By the watchdog's thread, on the app's session."""
    server = serve("secure:app", *kind, *files, "--request-timeout", "1", environment=gate.environment)
    response = server.get("/hold/long", context=authority.trusting())
    assert (response.status, response.end) == (504, http.End.FIN)
    gate.release_all()


# ---- files ----


@pytest.mark.parity
@pytest.mark.parametrize("key", ["ec", "rsa", "ed25519"])
def test_keys_of_all_kinds(serve, authority, tmp_path, key):
    certificate, path = authority.issue(key=key).write(tmp_path)
    server = serve("secure:app", "-k", "gthread", "--certfile", certificate, "--keyfile", path)
    assert server.get("/", context=authority.trusting()).status == 200


@pytest.mark.parity
def test_one_file_may_hold_both(serve, authority, tmp_path):
    issued = authority.issue()
    (tmp_path / "both.pem").write_bytes(key_pem(issued.key) + issued.pem)
    server = serve("secure:app", "-k", "gthread", "--certfile", str(tmp_path / "both.pem"))
    assert server.get("/", context=authority.trusting()).status == 200


@pytest.mark.parity
def test_the_chain_is_sent(serve, authority, tmp_path):
    between = Authority("between", parent=authority)
    certificate, key = between.issue().write(tmp_path)
    server = serve("secure:app", "-k", "gthread", "--certfile", certificate, "--keyfile", key)
    assert server.get("/", context=authority.trusting()).status == 200


@pytest.mark.parity
def test_paths_count_from_chdir(serve, authority, tmp_path):
    authority.issue().write(tmp_path / "tls")
    server = serve(
        "secure:app",
        "-k",
        "gthread",
        "--chdir",
        str(tmp_path),
        "--certfile",
        "tls/server.crt",
        "--keyfile",
        "tls/server.key",
    )
    assert server.get("/", context=authority.trusting()).status == 200


def test_a_certificate_of_version_1(serve, authority, tmp_path):
    """As `openssl x509 -req` makes it, without extensions."""
    key, request, certificate = (str(tmp_path / name) for name in ("v1.key", "v1.csr", "v1.crt"))
    new = ["req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", "/CN=localhost", "-out", request]
    assert openssl(*new).returncode == 0
    signed = openssl("x509", "-req", "-in", request, "-signkey", key, "-days", "2", "-out", certificate)
    assert signed.returncode == 0, signed.stderr
    server = serve("secure:app", "-k", "gthread", "--certfile", certificate, "--keyfile", key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    assert server.get("/", context=context).status == 200


FAULTS = {
    "no such file": ("--certfile", "none.crt"),
    "No such file": ("--certfile", "server.crt", "--keyfile", "none.key"),
    "has no certificate in it": ("--certfile", "server.key"),
    "has no private key in it": ("--certfile", "server.crt"),
    "is not that of the first certificate": ("--certfile", "server.crt", "--keyfile", "other.key"),
    "is encrypted": ("--certfile", "server.crt", "--keyfile", "encrypted.key"),
    "use RSA of 2048 bits or more": ("--certfile", "weak.crt", "--keyfile", "weak.key"),
    "is set without certfile": ("--keyfile", "server.key"),
    "so ca_certs has to name": ("--certfile", "server.crt", "--keyfile", "server.key", "--cert-reqs", "2"),
    "ca_certs": ("--certfile", "server.crt", "--keyfile", "server.key", "--ca-certs", "none.pem"),
    "is no cipher string": ("--certfile", "server.crt", "--keyfile", "server.key", "--ciphers", "NOSUCH"),
}


@pytest.mark.parametrize("check", [False, True], ids=["start", "check-config"])
@pytest.mark.parametrize("says", FAULTS)
def test_what_cannot_be_used_ends_the_start(authority, tmp_path, says, check):
    issued = authority.issue()
    issued.write(tmp_path)
    authority.issue().write(tmp_path, "other")
    authority.issue(key="weak").write(tmp_path, "weak")
    (tmp_path / "encrypted.key").write_bytes(key_pem(issued.key, b"secret"))
    more = ["--check-config"] if check else ["--bind", "127.0.0.1:0"]
    done = run("secure:app", "--chdir", str(tmp_path), *FAULTS[says], *more)
    assert done.returncode == 1, done.stderr
    assert says.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_a_good_configuration_passes_the_check(files):
    assert run("secure:app", *files, "--check-config").returncode == 0


def test_the_log_says_https(serve, files):
    server = serve("secure:app", *files)
    server.err.wait_for(f"Listening at: https://127.0.0.1:{server.port}")


# ---- ciphers ----


def test_ciphers_choose(serve, authority, tmp_path):
    certificate, key = authority.issue().write(tmp_path)
    line = ("--certfile", certificate, "--keyfile", key, "--ciphers", "ECDHE+CHACHA20:AES256-SHA")
    server = serve("secure:app", "-k", "gthread", *line)
    with server.connect(resumable(authority.trusting())) as client:
        assert client.socket.cipher()[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"
    only = resumable(authority.trusting())
    only.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    with pytest.raises(OSError):
        server.connect(only)
    with server.connect(authority.trusting()) as client:
        assert client.socket.version() == "TLSv1.3"


# ---- change ----


def fingerprint(server, authority):
    with server.connect(authority.trusting()) as client:
        return client.socket.getpeercert(binary_form=True)


@every_type
def test_a_changed_certificate_is_used_without_a_reload(serve, kind, authority, tmp_path):
    """As the kubelet changes it: files are links into `..data`, which is a link to a directory that is replaced."""
    first, second = authority.issue(), authority.issue()
    first.write(tmp_path / "..1")
    (tmp_path / "..data").symlink_to("..1")
    for name in ("server.crt", "server.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    line = ("--certfile", str(tmp_path / "server.crt"), "--keyfile", str(tmp_path / "server.key"))
    server = serve("secure:app", *kind, *line, "--keep-alive", "60")
    pids = server.worker_pids()
    with server.connect(authority.trusting()) as kept:
        assert kept.socket.getpeercert(binary_form=True) == first.der
        second.write(tmp_path / "..2")
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        wait_until(lambda: fingerprint(server, authority) == second.der, "the new certificate")
        # Who is connected stays so.
        kept.send(http.head("GET", "/", {"Connection": "close"}))
        assert kept.read_response().status == 200
    assert server.worker_pids() == pids
    server.err.wait_for("TLS: the certificate's files have changed and are in use")


def test_a_bad_change_is_told_and_not_used(serve, authority, tmp_path):
    first, second = authority.issue(), authority.issue()
    certificate, key = first.write(tmp_path)
    server = serve("secure:app", "-k", "gthread", "--certfile", certificate, "--keyfile", key)
    # The certificate before its key, as tools write them one by one.
    (tmp_path / "server.crt").write_bytes(second.pem)
    server.err.wait_for("what was read before stays in use: the private key in keyfile")
    assert fingerprint(server, authority) == first.der
    (tmp_path / "server.key").write_bytes(key_pem(second.key))
    wait_until(lambda: fingerprint(server, authority) == second.der, "the new certificate")


def test_a_reload_reads_the_files_anew(serve, authority, tmp_path):
    first, second = authority.issue(), authority.issue()
    certificate, key = first.write(tmp_path)
    server = serve("secure:app", "-k", "gthread", "--certfile", certificate, "--keyfile", key)
    second.write(tmp_path)
    before = server.worker_pids()
    server.send(signal.SIGHUP)
    wait_until(lambda: len(server.worker_pids()) == 1 and server.worker_pids() != before, "the new worker")
    wait_until(lambda: fingerprint(server, authority) == second.der, "the new certificate")


def test_a_worker_that_may_not_read_the_key_serves_all_the_same(serve, authority, tmp_path):
    """It was read before the user was changed."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to change the user")
    certificate, key = authority.issue().write(tmp_path)
    os.chmod(key, 0o600)
    line = ("--certfile", certificate, "--keyfile", key, "--user", "65534", "--group", "65534")
    server = serve("secure:app", "-k", "gthread", *line, for_others=True)
    assert server.get("/", context=authority.trusting()).status == 200


# ---- the hook ----


def hooked(config, files, body):
    return config(
        "import ssl\n"
        f"certfile, keyfile = {files[1]!r}, {files[3]!r}\n"
        f"def ssl_context(conf, default_ssl_context_factory):\n    {body}\n"
    )


@pytest.mark.parity
@pytest.mark.parametrize("kind", params("sync", "gthread-4", "gevent", "eventlet", "asgi"))
def test_the_hook_changes_the_context(serve, kind, files, authority, config):
    """The example of Gunicorn's documentation."""
    body = (
        "context = default_ssl_context_factory()\n"
        "    context.minimum_version = ssl.TLSVersion.TLSv1_3\n"
        "    return context"
    )
    server = serve("secure:app", *kind, "-c", hooked(config, files, body))
    assert server.get("/", context=authority.trusting()).status == 200
    with pytest.raises(OSError):
        server.connect(resumable(authority.trusting()))


@pytest.mark.parity
def test_the_hook_asks_for_client_certificates(serve, files, authority, config, tmp_path):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    body = (
        "context = default_ssl_context_factory()\n"
        f"    context.load_verify_locations({str(tmp_path / 'ca.pem')!r})\n"
        "    context.verify_mode = ssl.CERT_REQUIRED\n"
        "    context.set_ciphers('ECDHE+AESGCM')\n"
        "    return context"
    )
    server = serve("secure:app", "-k", "gthread", "-c", hooked(config, files, body))
    good = authority.issue("good", client=True)
    assert server.get("/", context=authority.trusting(good, tmp_path / "good")).status == 200
    with pytest.raises((OSError, http.ExchangeError)):
        server.get("/", context=authority.trusting())
