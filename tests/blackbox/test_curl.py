"""curl, with the flags that people reach for."""

import json
import subprocess

import pytest
from podtest.clients import body, run_tool
from podtest.types import every_type, keeping_types

MIB = 1 << 20

#: curl's exit codes.
PARTIAL, EMPTY_REPLY = 18, 52


def curl(*arguments: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    """Nothing of the user's configuration, no progress bar; errors are shown, and end a wait for ever."""
    return run_tool("curl", "-q", "-sS", "--noproxy", "*", "--max-time", "120", *arguments, **options)


@pytest.fixture
def url(serve, kind) -> str:
    return f"http://127.0.0.1:{serve('probe:app', *kind).port}"


@every_type
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_versions(url, kind, version):
    done = curl(f"--http{version}", "-i", f"{url}/environ")
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(content)["values"]["SERVER_PROTOCOL"] == f"HTTP/{version}"
    assert (b"Connection: keep-alive" in head) == bool(kind and version == "1.1")


@every_type
def test_version_1_0_gets_no_chunks(url, kind):
    done = curl("--http1.0", "-i", f"{url}/stream")
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    assert (done.returncode, content) == (0, b"aaaaabbbbbccccc")
    assert b"transfer-encoding" not in head.lower()


@keeping_types
def test_version_1_0_with_a_connection_that_is_kept(url, kind):
    done = curl("--http1.0", "-H", "Connection: keep-alive", "-w", "%{num_connects}\n", f"{url}/", f"{url}/")
    assert done.stdout == b"probe\n1\nprobe\n0\n"


@every_type
def test_connections_are_used_again(url, kind):
    done = curl("-w", "%{num_connects}\n", *[f"{url}/"] * 4)
    later = b"probe\n0\n" if kind else b"probe\n1\n"
    assert done.stdout == b"probe\n1\n" + later * 3


@every_type
def test_many_at_a_time(url, kind, tmp_path):
    done = curl(
        *["--parallel", "--parallel-max", "16", "-w", "%{http_code} %{size_download}\n"],
        *["-o", f"{tmp_path}/#1", f"{url}/bytes/[1000-1199]"],
    )
    assert done.returncode == 0
    assert sorted(done.stdout.decode().split("\n")[:-1]) == [f"200 {size}" for size in range(1000, 1200)]
    for size in range(1000, 1200):
        assert (tmp_path / str(size)).read_bytes() == b"x" * size


@every_type
@pytest.mark.parametrize("size", [0, 1, 100_000, 5 * MIB])
def test_a_body_from_stdin_goes_up_in_chunks(url, kind, size):
    """curl expects 100 Continue for it, and would go on without only after an hour."""
    done = curl("-v", "--expect100-timeout", "3600", "-T", "-", f"{url}/echo", input=body(size))
    assert (done.returncode, done.stdout) == (0, body(size))
    assert b"> Transfer-Encoding: chunked" in done.stderr


@every_type
@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_file_that_waits_for_continue(url, kind, how, tmp_path):
    (tmp_path / "file").write_bytes(body(3 * MIB))
    options = ["-H", "Transfer-Encoding: chunked"] if how == "chunked" else []
    done = curl(
        *["-v", "-H", "Expect: 100-continue", "--expect100-timeout", "3600", *options],
        *["--data-binary", f"@{tmp_path}/file", f"{url}/echo"],
    )
    assert (done.returncode, done.stdout) == (0, body(3 * MIB))
    assert b"< HTTP/1.1 100 Continue" in done.stderr
    assert done.stderr.index(b"< HTTP/1.1 100 Continue") < done.stderr.index(b"< HTTP/1.1 200 OK")


@every_type
def test_a_body_that_nobody_wants_is_not_sent(serve, kind, tmp_path):
    server = serve("probe:app", *kind, "--limit-request-body", "1m")
    (tmp_path / "file").write_bytes(body(8 * MIB))
    done = curl(
        *["-H", "Expect: 100-continue", "--expect100-timeout", "3600", "-T", f"{tmp_path}/file"],
        *["-w", "\n%{http_code} %{size_upload}", f"http://127.0.0.1:{server.port}/echo"],
    )
    assert done.stdout.endswith(b"\n413 0")


@every_type
def test_forms_and_uploads(serve, kind, tmp_path):
    server = serve("flask_app:app", *kind)
    (tmp_path / "photo.bin").write_bytes(body(2 * MIB))
    done = curl("-F", f"file=@{tmp_path}/photo.bin", "-F", "a=b", f"http://127.0.0.1:{server.port}/upload")
    assert (json.loads(done.stdout)["name"], json.loads(done.stdout)["size"]) == ("photo.bin", 2 * MIB)
    done = curl("-d", "name=value", "--data-urlencode", "other=ä &", f"http://127.0.0.1:{server.port}/form")
    assert json.loads(done.stdout) == {"name": "value", "other": "ä &"}


@every_type
def test_paths_reach_the_app_as_they_are(url, kind):
    for target, path in (("/environ/../x", "/environ/../x"), ("/environ/%2e%2e/%20%C3%A4?q=%2F", "/environ/../ ä")):
        done = curl("--path-as-is", url + target)
        values = json.loads(done.stdout)["values"]
        assert values["RAW_URI"] == target
        assert values["PATH_INFO"].encode("latin-1").decode() == path


@every_type
def test_targets_in_other_forms(url, kind):
    """An absolute one, as proxies get, and the asterisk."""
    done = curl("--noproxy", "", "-x", url, "http://example.test/environ")
    values = json.loads(done.stdout)["values"]
    assert (values["PATH_INFO"], values["HTTP_HOST"]) == ("/environ", "example.test")
    done = curl("-X", "OPTIONS", "--request-target", "*", "-o", "/dev/null", "-w", "%{http_code}", url)
    assert (done.returncode, done.stdout) == (0, b"404")


@every_type
def test_an_offer_of_http_2_is_declined(url, kind):
    """curl asks for an upgrade to h2c; who does not know it answers as ever."""
    done = curl("--http2", "-i", f"{url}/")
    assert done.stdout.startswith(b"HTTP/1.1 200 OK\r\n")
    assert done.stdout.endswith(b"\r\n\r\nprobe\n")


@every_type
def test_responses_without_a_body(url, kind):
    done = curl("-I", f"{url}/bytes/1000")
    assert b"Content-Length: 1000\r\n" in done.stdout
    for status in (204, 304):
        done = curl("-i", f"{url}/no-body/{status}")
        assert done.returncode == 0
        assert done.stdout.startswith(b"HTTP/1.1 %d " % status)
        assert done.stdout.endswith(b"\r\n\r\n")


@every_type
def test_early_hints_are_shown(url, kind):
    done = curl("-v", f"{url}/early-hints")
    seen = [line for line in done.stderr.split(b"\r\n") if line.startswith((b"< HTTP/1.1", b"< Link"))]
    assert seen == [
        b"< HTTP/1.1 103 Early Hints",
        b"< Link: </style.css>; rel=preload; as=style",
        b"< HTTP/1.1 103 Early Hints",
        b"< Link: </script.js>; rel=preload; as=script",
        b"< HTTP/1.1 200 OK",
    ]
    assert done.stdout == b"hinted\n"
    assert curl("--http1.0", "-i", f"{url}/early-hints").stdout.startswith(b"HTTP/1.1 200 OK\r\n")


@every_type
def test_a_response_that_breaks_off_is_an_error(url, kind):
    assert curl(f"{url}/length/1000/10").returncode == PARTIAL
    assert curl(f"{url}/raise-late").returncode == PARTIAL
    assert curl(f"{url}/die/9").returncode == EMPTY_REPLY
    assert curl(f"{url}/").stdout == b"probe\n"


@every_type
def test_a_unix_socket(serve, kind, tmp_path):
    serve("probe:app", *kind, "--bind", f"unix:{tmp_path}/socket")
    done = curl("--unix-socket", f"{tmp_path}/socket", "http://localhost/", "http://localhost/bytes/100000")
    assert done.stdout == b"probe\n" + b"x" * 100_000


@every_type
def test_a_download_goes_on_where_it_stopped(serve, kind, tmp_path, django_db):
    """Ranges are the app's; the framing of a 206 is ours."""
    server = serve("django_site.wsgi", *kind, environment={"DJANGO_DB": str(django_db)})
    url = f"http://127.0.0.1:{server.port}/static/board/style.css"
    whole = curl(url).stdout
    begun = tmp_path / "begun"
    begun.write_bytes(whole[:7])
    assert curl("-C", "-", "-o", str(begun), url).returncode == 0
    assert begun.read_bytes() == whole
