"""`podicorn ctl`: what people do at a running server, through its admin API."""

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time

import pytest
from podtest.ports import free_port
from podtest.server import program_path, run
from podtest.waiting import DEADLINE, wait_until

TOKEN = "0123456789abcdef0123456789abcdef"


def address(server) -> str:
    host, port = server.admin.address
    return f"{host}:{port}"


def ctl(server, *arguments: str):
    done = run("ctl", "--admin", address(server), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_status_names_the_running_request(serve, gate):
    server = serve("probe:app", "--workers", "2", environment=gate.environment)
    client = server.connect()
    client.send(b"GET /hold/1 HTTP/1.1\r\nHost: x\r\n\r\n")
    gate.wait(1)
    wait_until(lambda: "GET /hold/1" in ctl(server, "status"), "the request in the status")
    text = ctl(server, "status")
    assert re.search(r"^podicorn \S+ \(pid \d+\), running for ", text)
    assert "2 workers wanted" in text
    assert re.search(r"^\d +\d+ +busy .* GET /hold/1 ", text, re.MULTILINE)
    assert len(re.findall(r"^\d +\d+ ", text, re.MULTILINE)) == 2
    gate.open()
    client.read_response()


def test_scale_by_steps_and_by_a_lease(serve):
    server = serve("hello:app", "--workers", "1")
    assert "The target is now 3." in ctl(server, "scale", "+2")
    server.admin.wait_workers(3)
    assert "The target is now 2." in ctl(server, "scale", "-1")
    assert "4 workers wanted" in ctl(server, "scale", "4", "--seconds", "600")
    server.admin.wait_workers(4)
    # Again and less: each is newer than what was accepted before.
    assert "1 workers wanted" in ctl(server, "scale", "1", "--seconds", "600")
    server.admin.wait_workers(1)
    assert "by lease for another" in ctl(server, "scale")
    assert "lower bound" in ctl(server, "scale", "-64")


def test_reload_stack_and_drain(serve):
    server = serve("hello:app", "--workers", "1")
    assert "generation 2" in ctl(server, "reload")
    wait_until(lambda: server.admin.pool()["generation"] == 2, "the new generation")
    slot = server.admin.ready_workers()[0]["slot"]
    assert "thread" in ctl(server, "stack", str(slot)).lower()
    assert "Draining" in ctl(server, "drain")
    assert server.wait_exit() == 0
    assert "POST /drain" in server.err.text


def test_refusals_say_what_to_do(serve, tmp_path):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    server = serve("hello:app", "--admin-token-file", str(token), token=TOKEN)
    line = ("ctl", "--admin", address(server), "status")
    done = run(*line)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--token-file" in done.stderr
    wrong = tmp_path / "wrong"
    wrong.write_text("another-token-of-enough-characters")
    done = run(*line, "--token-file", str(wrong))
    assert done.returncode == 1
    assert str(wrong) in done.stderr
    assert run(*line, "--token-file", str(token)).returncode == 0
    # As in a pod: the server's own environment is enough.
    host, port = server.admin.address
    settings = {"PODICORN_ADMIN_BIND": f"{host}:{port}", "PODICORN_ADMIN_TOKEN_FILE": str(token)}
    assert run("ctl", "status", environment=settings).returncode == 0
    done = run("ctl", "--admin", address(server), "--token-file", str(token), "stack", "77")
    assert done.returncode == 1
    assert "no worker in slot 77" in done.stderr


def test_nobody_there():
    port = free_port()
    done = run("ctl", "--admin", f"127.0.0.1:{port}", "status")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--admin" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["walk"], ["scale", "x"], ["stack"], ["--admin", "nowhere", "status"]])
def test_wrong_arguments(arguments):
    done = run("ctl", *arguments)
    assert done.returncode == 2
    assert done.stderr


def test_top_needs_a_terminal(serve):
    server = serve("hello:app")
    done = run("ctl", "--admin", address(server), "top")
    assert done.returncode == 1
    assert "terminal" in done.stderr


def test_top_shows_the_pool_and_leaves_by_q(serve):
    server = serve("hello:app", "--workers", "2")
    control, terminal = pty.openpty()
    lines, columns = 30, 120
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    top = subprocess.Popen(
        [program_path(), "ctl", "--admin", address(server), "top"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={"TERM": "xterm-256color", "PATH": os.environ["PATH"]},
    )
    os.close(terminal)
    os.set_blocking(control, False)
    seen = b""

    def shown(words: bytes) -> bool:
        nonlocal seen
        try:
            seen += os.read(control, 65536)
        except BlockingIOError:
            time.sleep(0.05)
        except OSError as error:
            # What a terminal says when the last program at its other end has left.
            if error.errno != errno.EIO:
                raise
        return words in seen

    try:
        # Blanks are skipped, not written: words come one by one.
        for word in (f"{server.pid})".encode(), b"wanted,", b"requests/s,", b"STATE", b"idle", b"leaves"):
            wait_until(lambda word=word: shown(word), lambda word=word: f"{word!r} in {seen!r}")
        os.write(control, b"q")

        def left() -> bool:
            shown(b"")
            return top.poll() is not None

        wait_until(left, "the end", deadline=DEADLINE)
        assert top.returncode == 0
    finally:
        if top.poll() is None:
            top.kill()
        top.wait()
        os.close(control)
