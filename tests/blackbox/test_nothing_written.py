"""A pod's strictest security context: a read-only root, no writable directory at all, no home, a user that nobody
knows, no capabilities, no new privileges, and system calls filtered as container runtimes do."""

import os
import signal
from pathlib import Path

import pytest
from podtest import http, processes
from podtest.server import RANDOM_UID
from podtest.types import every_type
from podtest.waiting import wait_until

pytestmark = [pytest.mark.pid1, pytest.mark.usefixtures("namespaces")]

HARD = {"pid1": True, "read_only": True, "confined": True, "uid": RANDOM_UID if os.getuid() == 0 else 0}


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_the_whole_life_of_a_server(serve, preload):
    server = serve("probe:app", "--workers", "2", "--timeout", "5", *(["--preload"] if preload else []), **HARD)
    server.admin.wait_workers(2)
    identity = server.get("/identity").json()
    if HARD["uid"]:
        assert identity["uid"] == RANDOM_UID
    for pid in server.family():
        assert processes.status_field(pid, "NoNewPrivs") == "1"
        assert processes.status_field(pid, "Seccomp") == "2"
        for capabilities in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(processes.status_field(pid, capabilities), 16) == 0
        assert b"HOME=" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert server.post("/echo", b"x" * 3_000_000).body == b"x" * 3_000_000
    server.admin.scale(4)
    server.admin.wait_workers(4)
    os.kill(server.worker_pids()[0], signal.SIGKILL)
    server.admin.wait_workers(4)
    server.send(signal.SIGHUP)
    wait_until(lambda: server.admin.pool()["generation"] == 2, "the second generation")
    server.admin.wait_workers(4)
    server.send(signal.SIGUSR1)
    assert server.get("/").status == 200
    assert server.stop() == 0
    assert "Read-only file system" not in server.err.text
    assert "ermission denied" not in server.err.text


def test_gunicorn_cannot_begin(serve):
    """The same with Gunicorn, for the heartbeats of its workers. tests/parity/README.md shows both."""
    server = serve("probe:app", ready=False, program="gunicorn", **HARD)
    assert server.wait_exit() != 0
    server.err.wait_for("No usable temporary directory found")


@every_type
def test_every_worker_type(serve, kind):
    asgi = "asgi" in kind
    server = serve("probe_asgi:app" if asgi else "probe:app", *kind, "--max-requests", "20", **HARD)
    for _ in range(60):
        assert server.get("/").status == 200
    wait_until(lambda: server.admin.pool()["totals"]["restarts"]["maxRequests"] > 0, "a replacement")
    assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="the system's refusals are the user namespace's where this is not root")
def test_the_filter_filters(serve, tmp_path):
    """The tests above would be worth nothing on a filter that lets everything through."""
    tmp_path.chmod(0o755)
    (tmp_path / "tries.py").write_text(
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def error(call, *arguments):\n"
        "    ctypes.set_errno(0)\n"
        "    call(*arguments)\n"
        "    return errno.errorcode.get(ctypes.get_errno(), '')\n"
        "def application(environ, start):\n"
        "    start('200 OK', [])\n"
        # CLONE_NEWUSER takes no privilege by itself; the number 5000 is of no system call.
        "    told = [error(libc.unshare, 0x10000000), error(libc.syscall, 5000), error(libc.getpid)]\n"
        "    return [' '.join(told).encode()]\n"
    )
    server = serve("tries", cwd=tmp_path, **HARD)
    assert server.get("/").text.split(" ") == ["EPERM", "ENOSYS", ""]


def test_django_on_a_read_only_root(serve, django_db):
    server = serve(
        "django_site.wsgi", "--workers", "2", reach=[str(django_db.parent)],
        environment={"DJANGO_DB": str(django_db), "DJANGO_READ_ONLY": "1"}, **HARD,
    )  # fmt: skip
    assert server.get("/who/").json()["notes"] == 10
    assert server.get("/static/board/style.css").status == 200
    assert server.get("/visits/").json() == {"visits": 1}
    page = server.get("/admin/login/")
    assert "Log in" in page.text
    assert server.stop() == 0


def test_flask_on_a_read_only_root(serve):
    server = serve("flask_app:app", "--preload", **HARD)
    assert server.get("/").text == "hello flask"
    assert server.stop() == 0


def test_no_process_holds_a_file_open_for_writing(serve, tmp_path):
    """An ordinary process with a home and a /tmp that it could write to, and does not."""
    home = tmp_path / "home"
    home.mkdir()
    server = serve(
        "probe:app", "--workers", "2",
        environment={"HOME": str(home), "TMPDIR": str(home), "XDG_RUNTIME_DIR": str(home)},
    )  # fmt: skip
    server.admin.wait_workers(2)
    server.post("/echo", b"x" * 5_000_000)
    for pid in server.family():
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(link)
            if not target.startswith("/") or target.startswith(("/dev/", "/proc/", "/memfd:")):
                continue
            flags = next(
                int(line.split()[1], 8)
                for line in Path(f"/proc/{pid}/fdinfo/{link.name}").read_text().splitlines()
                if line.startswith("flags")
            )
            assert flags & os.O_ACCMODE == os.O_RDONLY, (pid, target)
    server.stop()
    assert not list(home.rglob("*"))


def test_the_heartbeat_needs_no_file(serve):
    """Gunicorn's workers touch a file; here a hang is found all the same on a read-only root."""
    server = serve("faults.hangs:application", "--timeout", "2", **HARD)
    (before,) = server.worker_pids()
    with server.connect() as client:
        client.send(http.head("GET", "/hang"))
        assert http.unserved(client)
    wait_until(lambda: not processes.alive(before), "the end of the hung worker")
    server.admin.wait_workers(1)
    server.err.wait_for("wait_for_a_lock_nobody_frees")
