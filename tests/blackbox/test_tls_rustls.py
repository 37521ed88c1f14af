"""TLS by rustls on the engine types: files, settings, the hook, and what apps see."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess

import pytest
from podtest import http
from podtest.certificates import Authority, key_pem
from podtest.server import run
from podtest.tls_clients import only, serves_only_clients_of
from podtest.tls_hooks import config_of
from podtest.types import every_type, keeping_types, params
from podtest.waiting import wait_until

# ---- protocols ----


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


# ---- certificates of clients ----


@pytest.mark.parity
@pytest.mark.parametrize("kind", params("gthread-4", "gevent", "asgi"))
def test_clients_need_a_certificate_of_ours(serve, kind, files, authority, tmp_path):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = serve("secure:app", *kind, *files, "--ca-certs", str(tmp_path / "ca.pem"), "--cert-reqs", "2")
    serves_only_clients_of(authority, server, tmp_path)


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


@every_type
def test_a_hello_of_ssl_2_ends_the_connection(serve, kind, files, authority):
    """OpenSSL waits for more of it, until the head timeout."""
    server = serve("secure:app", *kind, *files, "--log-level", "debug")
    with server.connect() as client:
        client.send(b"\x80\x2e\x01\x00\x02" * 9)
        client.read_to_end()
        assert client.end in (http.End.FIN, http.End.RESET)
    server.err.wait_for("No TLS session from ip=127.0.0.1: TLS: ")
    assert server.get("/", context=authority.trusting()).status == 200


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
    with server.connect(only(authority.trusting(), ssl.TLSVersion.TLSv1_2)) as client:
        assert client.socket.cipher()[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"
    chosen = only(authority.trusting(), ssl.TLSVersion.TLSv1_2)
    chosen.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    with pytest.raises(OSError):
        server.connect(chosen)
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
    return config(config_of(body, f"certfile, keyfile = {files[1]!r}, {files[3]!r}"))


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
        server.connect(only(authority.trusting(), ssl.TLSVersion.TLSv1_2))


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
