"""TLS on the types whose sockets belong to Python: their classes use Python's ssl, as under Gunicorn."""

import pytest
from podtest import http
from podtest.server import run
from podtest.socket_types import params

every_type = pytest.mark.parametrize("line", params())
#: Those that ask Gunicorn's hook; uvicorn's and aiohttp's classes make their context by themselves.
hooked_types = pytest.mark.parametrize(
    "line", params("tornado", "geventwebsocket", "sync-subclass", "gthread-subclass")
)


@every_type
def test_they_speak_tls(serve, line, files, authority):
    server = serve(*line, *files)
    response = server.get("/", context=authority.trusting())
    assert response.status == 200
    # Nobody else gets a page.
    with server.connect() as client:
        client.send(http.head("GET", "/"))
        assert b"200 OK" not in client.read_to_end()


@every_type
def test_what_cannot_be_used_ends_the_start(line, files, tmp_path):
    (tmp_path / "server.key").write_text("nothing")
    done = run(*line, *files, "--bind", "127.0.0.1:0")
    assert done.returncode == 1, done.stderr
    assert "has no private key in it" in done.stderr


@pytest.mark.parametrize("line", params("tornado", "uvicorn.workers", "gthread-subclass"))
def test_certificates_of_clients(serve, line, files, authority, tmp_path):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = serve(*line, *files, "--ca-certs", str(tmp_path / "ca.pem"), "--cert-reqs", "2")
    good = authority.issue("good", client=True)
    assert server.get("/", context=authority.trusting(good, tmp_path / "good")).status == 200
    with pytest.raises((OSError, http.ExchangeError)):
        server.get("/", context=authority.trusting())


@hooked_types
def test_the_hook_makes_the_context_itself(serve, line, files, authority, config):
    """Without the engine's limits: a context of its own, whatever it has."""
    path = config(
        "import ssl\n"
        f"certfile, keyfile = {files[1]!r}, {files[3]!r}\n"
        "def ssl_context(conf, default_ssl_context_factory):\n"
        "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "    context.load_cert_chain(conf.certfile, conf.keyfile)\n"
        "    context.maximum_version = ssl.TLSVersion.TLSv1_2\n"
        "    return context\n"
    )
    server = serve(*line, "-c", path)
    with server.connect(authority.trusting()) as client:
        assert client.socket.version() == "TLSv1.2"
        client.send(http.head("GET", "/", {"Connection": "close"}))
        assert client.read_response().status == 200
