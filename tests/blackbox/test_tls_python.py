"""TLS by Python's ssl on the engine types: what rustls cannot take, and that everything else is as over rustls."""

import hashlib
import os
import resource
import signal
import socket
import ssl

import pytest
from podtest import http
from podtest.certificates import Authority, key_pem
from podtest.http2 import Client
from podtest.server import run
from podtest.tls_clients import first_flight, only, serves_only_clients_of, slow_client
from podtest.tls_hooks import MADE_BY_ITSELF, OWN, config_of
from podtest.types import every_type, keeping_types, params, wsgi_types
from podtest.waiting import wait_until

SAID = "TLS by Python's ssl, because "


@pytest.fixture
def hook(config):
    """The command line's part: a config file whose hook `ssl_context` does this."""

    return lambda *body, **more: ("-c", config(config_of(*body, **more)))


@pytest.fixture
def own(files, hook):
    """TLS by a context of the hook's own."""
    return (*files, *hook())


def certificate_of(server, context, name="localhost"):
    with http.Connection(server.address, context=context, name=name) as client:
        return client.socket.getpeercert(binary_form=True)


# ---- as the settings want it ----


@every_type
def test_it_is_said_once(serve, kind, own, authority):
    server = serve("secure:app", *kind, *own, "--workers", "2")
    wait_until(lambda: len(server.worker_pids()) == 2, "two workers")
    for _ in range(3):
        assert server.get("/", context=authority.trusting()).end is http.End.FIN
    assert server.err.text.count(SAID) == 1
    assert f"[WARNING] {SAID}hook ssl_context gives a context that it has made by itself: slower" in server.err.text


@keeping_types
def test_http2(serve, kind, files, hook, authority):
    """By the protocols that the hook sets."""
    line = hook(OWN.format("context.set_alpn_protocols(['h2', 'http/1.1'])"))
    server = serve("secure:app", *kind, *files, *line, "--http-protocols", "h2,h1")
    with Client(server.address, authority.trusting()) as client:
        assert client.wire.socket.selected_alpn_protocol() == "h2"
        body = os.urandom(1 << 20) * 2
        held = client.ask("/digest", "POST", body=body)
        assert len(client.get("/bytes/2000000").body) == 2_000_000
        assert hashlib.sha256(body).hexdigest() in client.answer(held).body.decode()


@keeping_types
@pytest.mark.parametrize("two", [False, True], ids=["h1", "h2"])
def test_the_protocols_of_the_settings(serve, kind, files, hook, authority, two):
    """On the context of the factory."""
    line = hook("c = default_ssl_context_factory(); c.sni_callback = lambda *_: None; return c")
    server = serve("secure:app", *kind, *files, *line, *(["--http-protocols", "h2,h1"] if two else []))
    context = authority.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with server.connect(context) as client:
        assert client.socket.selected_alpn_protocol() == ("h2" if two else "http/1.1")
    assert f"{SAID}hook ssl_context sets sni_callback" in server.err.text


# ---- certificates of clients ----


@pytest.mark.parity
@every_type
def test_clients_need_a_certificate_of_ours(serve, kind, files, hook, authority, tmp_path):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    more = f"context.load_verify_locations({str(tmp_path / 'ca.pem')!r}); context.verify_mode = ssl.CERT_REQUIRED"
    server = serve("secure:app", *kind, *files, *hook(OWN.format(more)))
    serves_only_clients_of(authority, server, tmp_path)


@pytest.mark.parity
@wsgi_types
def test_wsgi_apps_ask_the_socket(serve, kind, files, hook, authority, tmp_path):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    more = f"context.load_verify_locations({str(tmp_path / 'ca.pem')!r}); context.verify_mode = ssl.CERT_OPTIONAL"
    server = serve("secure:app", *kind, *files, *hook(OWN.format(more)))
    shown = authority.issue("bob", client=True)
    context = authority.trusting(shown, tmp_path / "client")
    with server.connect(context) as client:
        client.send(http.head("GET", "/peer", {"Connection": "close"}))
        peer = client.read_response().json()
        assert peer["cipher"] == list(client.socket.cipher())
    assert peer["subject"] == [[["commonName", "bob"]]]
    assert (peer["der"], peer["version"]) == (shown.der.hex(), "TLSv1.3")
    assert server.get("/peer", context=authority.trusting()).json()["der"] is None


def test_the_extension_of_asgi(serve, authority, tmp_path):
    """The server's certificate, too, where the server knows it."""
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    between = Authority("between", parent=authority)
    issued = between.issue(key="rsa")
    certificate, key = issued.write(tmp_path)
    line = ("--certfile", certificate, "--keyfile", key, "--ciphers", "ECDHE-RSA-AES256-SHA384")
    server = serve("secure:app", "-k", "asgi", *line, "--ca-certs", str(tmp_path / "ca.pem"), "--cert-reqs", "1")
    assert f"{SAID}rustls has none of the cipher suites that are asked for" in server.err.text
    shown = between.issue("ann", client=True)
    context = only(authority.trusting(shown, tmp_path / "client"), ssl.TLSVersion.TLSv1_2)
    tls = server.get("/tls", context=context).json()
    chain = [ssl.PEM_cert_to_DER_cert(each) for each in tls["client_cert_chain"]]
    assert chain == [shown.der, ssl.PEM_cert_to_DER_cert(between.pem.decode())]
    assert tls["client_cert_name"] == "CN=ann"
    assert ssl.PEM_cert_to_DER_cert(tls["server_cert"]) == issued.der
    assert (tls["tls_version"], tls["cipher_suite"], tls["client_cert_error"]) == (0x0303, 0xC028, None)


def test_what_is_not_known_of_a_context_is_none(serve, own, authority):
    tls = serve("secure:app", "-k", "asgi", *own).get("/tls", context=authority.trusting()).json()
    assert (tls["server_cert"], tls["client_cert_chain"], tls["tls_version"]) == (None, [], 0x0304)


# ---- what only Python's ssl can do ----


@pytest.mark.parity
@every_type
def test_the_name_chooses_the_certificate(serve, kind, files, hook, authority, tmp_path):
    other = authority.issue("other")
    certificate, key = other.write(tmp_path / "other")
    body = (
        "other = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)\n"
        f"    other.load_cert_chain({certificate!r}, {key!r})\n"
        "    def choose(tls, name, context):\n"
        "        if name == 'other.example':\n"
        "            tls.context = other\n"
        "        if name == 'fault.example':\n"
        "            raise KeyError(name)\n"
        "    context = default_ssl_context_factory()\n"
        "    context.sni_callback = choose\n"
        "    return context"
    )
    server = serve("secure:app", *kind, *files, *hook(body))
    context = authority.trusting()
    context.check_hostname = False
    assert certificate_of(server, context, "other.example") == other.der
    assert certificate_of(server, context, "elsewhere.example") != other.der
    # A callback that fails costs its client the session, and nobody else.
    with pytest.raises(OSError):
        certificate_of(server, context, "fault.example")
    assert server.get("/", context=authority.trusting()).status == 200


@pytest.mark.parity
@every_type
def test_a_cipher_that_only_openssl_has(serve, kind, authority, hook, tmp_path):
    certificate, key = authority.issue(key="rsa").write(tmp_path)
    more = "context.maximum_version = ssl.TLSVersion.TLSv1_2; context.set_ciphers('ECDHE-RSA-AES128-SHA')"
    server = serve("secure:app", *kind, "--certfile", certificate, "--keyfile", key, *hook(OWN.format(more)))
    context = authority.trusting()
    context.set_ciphers("ECDHE-RSA-AES128-SHA")
    with server.connect(context) as client:
        assert client.socket.cipher()[0] == "ECDHE-RSA-AES128-SHA"
        client.send(http.head("GET", "/bytes/100000", {"Connection": "close"}))
        assert len(client.read_response().body) == 100_000


@pytest.mark.parity
@every_type
def test_a_cipher_string_that_only_openssl_has(serve, kind, authority, tmp_path):
    certificate, key = authority.issue(key="rsa").write(tmp_path)
    server = serve("secure:app", *kind, "--certfile", certificate, "--keyfile", key, "--ciphers", "AES256-SHA256")
    context = only(authority.trusting(), ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("AES256-SHA256")
    with server.connect(context) as client:
        assert client.socket.cipher()[0] == "AES256-SHA256"
        client.send(http.head("GET", "/", {"Connection": "close"}))
        assert client.read_response().body == b"probe\n"


@pytest.mark.parity
@pytest.mark.parametrize("kind", params("sync", "gthread-4", "gevent", "eventlet", "asgi"))
def test_a_key_on_another_curve(serve, kind, authority, tmp_path):
    certificate, key = authority.issue(key="p521").write(tmp_path)
    server = serve("secure:app", *kind, "--certfile", certificate, "--keyfile", key)
    assert server.get("/", context=authority.trusting()).status == 200


def with_passphrase(authority, tmp_path):
    issued = authority.issue()
    certificate, key = issued.write(tmp_path)
    (tmp_path / "server.key").write_bytes(key_pem(issued.key, b"secret"))
    return ("--certfile", certificate, "--keyfile", key)


@pytest.mark.parity
@every_type
def test_a_key_with_a_passphrase(serve, kind, authority, hook, tmp_path):
    """In a context of the hook's own; Gunicorn's factory would ask for it on the terminal."""
    line = with_passphrase(authority, tmp_path)
    body = MADE_BY_ITSELF.replace("conf.keyfile", "conf.keyfile, password='secret'")
    server = serve("secure:app", *kind, *line, *hook(body))
    assert server.get("/", context=authority.trusting()).status == 200


def test_the_factory_leaves_out_a_key_with_a_passphrase(serve, authority, hook, tmp_path):
    line = with_passphrase(authority, tmp_path)
    load = "c.load_cert_chain(conf.certfile, conf.keyfile, password=lambda: 'secret')"
    server = serve("secure:app", "-k", "gthread", *line, *hook(f"c = default_ssl_context_factory(); {load}; return c"))
    assert server.get("/", context=authority.trusting()).status == 200
    assert f"{SAID}hook ssl_context loads a key with a passphrase" in server.err.text


@pytest.mark.parametrize("load", ["", "c.load_cert_chain(conf.certfile, conf.keyfile);"], ids=["not", "without"])
def test_nobody_is_asked_for_a_passphrase(authority, hook, tmp_path, load):
    line = with_passphrase(authority, tmp_path)
    done = run("secure:app", *line, *hook(f"c = default_ssl_context_factory(); {load} return c"), "--check-config")
    assert done.returncode == 1
    assert "is encrypted, and there is nobody to ask for its passphrase" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("c = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)", "gives a context that it has made by itself"),
        ("c.sni_callback = print", "sets sni_callback"),
        ("c.load_verify_locations(capath='/')", "loads authorities from a directory"),
        ("c.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF", "asks for revocation lists"),
        ("c.keylog_filename = '/dev/null'", "sets keylog_filename"),
        ("c.set_alpn_protocols(['x'])", "sets protocols of ALPN"),
        ("c.set_ecdh_curve('prime256v1')", "sets the curve of the key exchange"),
        ("c.post_handshake_auth = True", "asks for certificates after the handshake"),
        ("c.set_ciphers('AES256-SHA256')", "rustls has none of the cipher suites"),
        ("c.maximum_version = ssl.TLSVersion.TLSv1_1", "rustls has none of the versions"),
    ],
)
def test_the_check_says_why(files, hook, change, says):
    done = run("secure:app", *files, *hook(f"c = default_ssl_context_factory(); {change}; return c"), "--check-config")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if SAID in line]
    assert len(said) == 1, done.stderr
    assert says in said[0]


def test_more_than_one_certificate(serve, files, hook, authority, tmp_path):
    """One for each kind of key, as OpenSSL chooses them."""
    rsa = authority.issue(key="rsa")
    certificate, key = rsa.write(tmp_path / "rsa")
    body = f"c = default_ssl_context_factory(); c.load_cert_chain({certificate!r}, {key!r}); return c"
    server = serve("secure:app", "-k", "gthread", *files, *hook(body))
    context = only(authority.trusting(), ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("aRSA")
    assert certificate_of(server, context) == rsa.der
    context.set_ciphers("aECDSA")
    assert certificate_of(server, context) != rsa.der
    assert f"{SAID}hook ssl_context loads more than one certificate" in server.err.text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return ssl.create_default_context()", "gave a context that is for no server"),
        ("return None", "it must return an ssl.SSLContext"),
        ("raise KeyError('x')", "hook ssl_context failed: KeyError"),
    ],
)
def test_a_hook_that_gives_nothing_ends_the_start(files, hook, body, says):
    done = run("secure:app", *files, *hook(body), "--check-config")
    assert done.returncode == 1
    assert says in done.stderr


FAULTS = {
    "so ca_certs has to name": ("--keyfile", "server.key", "--cert-reqs", "2"),
    "is not that of the first certificate": ("--keyfile", "other.key"),
    "No such file": ("--keyfile", "none.key"),
    "is encrypted": ("--keyfile", "encrypted.key"),
}


@pytest.mark.parametrize("says", FAULTS)
def test_what_nobody_can_use_ends_the_start(authority, tmp_path, says):
    """In the words that it has over rustls."""
    issued = authority.issue(key="rsa")
    issued.write(tmp_path)
    authority.issue(key="rsa").write(tmp_path, "other")
    (tmp_path / "encrypted.key").write_bytes(key_pem(issued.key, b"secret"))
    line = ("--chdir", str(tmp_path), "--certfile", "server.crt", *FAULTS[says], "--ciphers", "AES256-SHA")
    done = run("secure:app", *line, "--check-config")
    assert done.returncode == 1, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


# ---- handshakes that come to nothing ----


def test_no_client_holds_another(serve, own, authority):
    """One that takes nothing of a long answer, one in its handshake, one that sends half a request."""
    server = serve("secure:app", "-k", "gthread", "--threads", "4", *own)
    with slow_client(server.address, authority.trusting()) as lazy, server.connect() as mute:
        lazy.sendall(http.head("GET", "/bytes/30000000"))
        mute.send(first_flight())
        with server.connect(authority.trusting()) as half:
            half.send(b"GET / HT")
            for _ in range(20):
                assert len(server.get("/bytes/200000", context=authority.trusting()).body) == 200_000


def test_without_descriptors_nobody_is_lost(serve, own, authority):
    """Each takes three; whoever cannot have them stays in the kernel's queue."""
    server = serve("secure:app", "-k", "gthread", *own, "--keep-alive", "60")
    (pid,) = server.worker_pids()

    def ask(client):
        client.send(http.head("GET", "/"))
        assert client.read_response().status == 200

    with server.connect(authority.trusting()) as first:
        ask(first)
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 2, hard))
        waiting = [server.connect() for _ in range(4)]
        for client in waiting:
            client.send(first_flight())
        server.err.wait_for("cannot accept connections: EMFILE")
        ask(first)
    for client in waiting:
        assert client.socket.recv(1) == b"\x16"
        client.close()


# ---- ends ----


@keeping_types
def test_a_truncated_request_is_not_run(serve, kind, files, authority, hook):
    def cut_short(server):
        with server.connect(authority.trusting()) as client:
            client.send(http.head("POST", "/echo", {"Content-Length": "10"}) + b"hello")
            socket.socket.shutdown(client.socket, socket.SHUT_WR)
            return client.read_to_end()

    assert b"200 OK" not in cut_short(serve("secure:app", *kind, *files, *hook()))
    strict = serve("secure:app", *kind, *files, *hook(more="suppress_ragged_eofs = False"))
    assert cut_short(strict) == b""


@keeping_types
def test_a_client_that_only_stops_sending_is_answered(serve, kind, own, authority):
    """FIN behind the request, without close_notify."""
    server = serve("secure:app", *kind, *own)
    with server.connect(authority.trusting()) as client:
        client.send(http.head("GET", "/bytes/500000"))
        socket.socket.shutdown(client.socket, socket.SHUT_WR)
        assert len(client.read_response().body) == 500_000
        assert client.finish() is http.End.FIN


@every_type
def test_clients_that_break_off_leave_nothing_behind(serve, kind, own, authority):
    """By RST, in the midst of everything."""
    server = serve("secure:app", *kind, *own)
    sent = [b"", b"GET / HT", http.head("GET", "/bytes/9000000"), http.head("POST", "/echo", {"Content-Length": "99"})]
    for part in sent * 3:
        client = server.connect(authority.trusting())
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.send(part)
        client.close()
    assert server.get("/", context=authority.trusting()).status == 200
    wait_until(lambda: server.admin.metrics().value("podicorn_connections") == 0, "the end of the connections")
    (pid,) = server.worker_pids()
    before = len(os.listdir(f"/proc/{pid}/fd"))
    for _ in range(5):
        assert server.get("/", context=authority.trusting()).status == 200
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, "the end of the descriptors")


@every_type
def test_a_stop_waits_for_what_a_slow_client_has_not_taken(serve, kind, own, authority):
    """The app is done, and the last bytes are between the reactor and the client."""
    server = serve("secure:app", *kind, *own)
    expected = server.get("/bytes/1000000", context=authority.trusting()).body
    with slow_client(server.address, authority.trusting()) as client:
        client.sendall(http.head("GET", "/bytes/1000000", {"Connection": "close"}))
        first = client.recv(1000)
        server.send(signal.SIGTERM)
        server.err.wait_for("Handling signal: term")
        body = first.partition(b"\r\n\r\n")[2] + b"".join(iter(lambda: client.recv(16384), b""))
    assert body == expected
    assert server.wait_exit() == 0


@every_type
def test_a_response_that_has_begun_is_cut_off(serve, kind, own, authority, gate):
    server = serve("plumbing:application", *kind, *own, "--request-timeout", "1", environment=gate.environment)
    with server.connect(authority.trusting()) as client:
        client.send(http.head("GET", "/pieces?n=3&size=10&hold=late"))
        gate.wait(1, "late")
        with pytest.raises(http.ExchangeError) as failed:
            client.read_response()
        assert b"504" not in failed.value.got
        gate.open()
    assert server.get("/pid", context=authority.trusting()).status == 200


@every_type
def test_a_client_that_takes_nothing_is_given_up(serve, kind, own, authority):
    """By the reactor, and then by the thread that still has some of it."""
    server = serve("secure:app", *kind, *own, "--stall-timeout", "1")
    assert server.get("/", context=authority.trusting()).status == 200
    (pid,) = server.worker_pids()
    before = len(os.listdir(f"/proc/{pid}/fd"))
    with slow_client(server.address, authority.trusting()) as client:
        client.sendall(http.head("GET", "/bytes/50000000", {"Connection": "close"}))
        assert client.recv(1)
        assert len(os.listdir(f"/proc/{pid}/fd")) > before
        wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, "the end of the descriptors")
    assert server.get("/", context=authority.trusting()).status == 200


@every_type
def test_a_child_of_the_app_keeps_no_connection(serve, kind, own, authority, gate):
    """It has copies of the descriptors, and not the thread of the sessions."""
    app = "socket_types.fastapi_app:app" if "asgi" in kind else "socket_types.wsgi_app"
    server = serve(app, *kind, *own, environment=gate.environment)
    forked = server.get("/fork", context=authority.trusting())
    gate.wait(1, "child")
    assert (forked.status, forked.end) == (200, http.End.FIN)
    ended = server.get("/end-child", context=authority.trusting())
    assert (ended.text, ended.end) == ("-15", http.End.FIN)
    assert server.stop() == 0


# ---- new certificates ----


@every_type
def test_a_changed_certificate_is_used_without_a_reload(serve, kind, authority, tmp_path):
    """Where the context is the server's own."""
    first, second = authority.issue(key="rsa"), authority.issue(key="rsa")
    certificate, key = first.write(tmp_path)
    line = ("--certfile", certificate, "--keyfile", key, "--ciphers", "ECDHE-RSA-AES256-SHA")
    server = serve("secure:app", *kind, *line, "--keep-alive", "60")
    pids = server.worker_pids()
    with server.connect(authority.trusting()) as kept:
        assert kept.socket.getpeercert(binary_form=True) == first.der
        # The certificate before its key, as tools write them one by one.
        (tmp_path / "server.crt").write_bytes(second.pem)
        server.err.wait_for("what was read before stays in use: the private key in keyfile")
        (tmp_path / "server.key").write_bytes(key_pem(second.key))
        wait_until(lambda: certificate_of(server, authority.trusting()) == second.der, "the new certificate")
        kept.send(http.head("GET", "/", {"Connection": "close"}))
        assert kept.read_response().status == 200
    assert server.worker_pids() == pids
    server.err.wait_for("TLS: the certificate's files have changed and are in use")


@pytest.mark.parity
def test_a_reload_calls_the_hook_again(serve, authority, hook, tmp_path):
    first, second = authority.issue(), authority.issue()
    certificate, key = first.write(tmp_path)
    server = serve("secure:app", "-k", "gthread", "--certfile", certificate, "--keyfile", key, *hook())
    assert certificate_of(server, authority.trusting()) == first.der
    second.write(tmp_path)
    server.send(signal.SIGHUP)
    wait_until(lambda: certificate_of(server, authority.trusting()) == second.der, "the new certificate")
