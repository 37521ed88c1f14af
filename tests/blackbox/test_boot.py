"""From the command line to the first answer: which processes there are, and what they inherit."""

import os
import signal
import sys
from pathlib import Path

import pytest
from podtest import http, processes
from podtest.waiting import wait_until


@pytest.mark.parity
def test_serves(serve):
    server = serve("hello:app")
    response = server.get()
    assert response.status == 200
    assert response.body == b"hello\n"
    server.err.wait_for(r"\[INFO\] Listening at: http://127\.0\.0\.1:%d \(%d\)" % (server.port, server.pid))
    server.err.wait_for(r"\[INFO\] Using worker: sync")
    server.err.wait_for(r"\[INFO\] Booting worker with pid: \d+")
    assert server.stop() == 0


def test_serves_as_pid_1(serve, namespaces):
    server = serve("hello:app", "--workers", "2", pid1=True)
    server.admin.wait_workers(2)
    assert processes.inner_pid(server.pid) == 1
    assert server.get().body == b"hello\n"
    assert server.stop() == 0


def test_the_arbiter_is_a_native_program_without_python(serve):
    server = serve("hello:app")
    mapped = Path(f"/proc/{server.pid}/maps").read_text()
    assert "libpython" not in mapped
    assert "_engine" not in mapped
    assert "python" not in os.path.basename(os.readlink(f"/proc/{server.pid}/exe"))


def test_the_processes_are_arbiter_fork_server_and_workers(serve, as_pid1):
    server = serve("hello:app", "--workers", "3", pid1=as_pid1)
    server.admin.wait_workers(3)
    workers = set(server.worker_pids())
    fork_servers = set(server.fork_servers())
    assert len(workers) == 3
    assert len(fork_servers) == 1
    assert {child.pid for child in server.children()} == workers | fork_servers
    assert set(server.family()) == {server.pid} | workers | fork_servers
    pool = server.admin.pool()
    assert server.outer(pool["forkServer"]["pid"]) in fork_servers
    assert pool["pid"] == processes.inner_pid(server.pid)


def test_the_fork_server_never_serves(serve):
    server = serve("probe:app", "--workers", "2")
    server.admin.wait_workers(2)
    (fork_server,) = server.fork_servers()
    seen = {int(server.get("/pid").text) for _ in range(40)}
    assert fork_server not in seen
    assert seen <= set(server.worker_pids())


def test_the_interpreter_is_that_of_the_installation(serve):
    identity = serve("probe:app").get("/identity").json()
    if "PODICORN_BIN" not in os.environ:
        assert identity["prefix"] == sys.prefix


@pytest.mark.parity
def test_the_working_directory_is_where_the_app_is_looked_for(serve, tmp_path):
    (tmp_path / "app_of_the_day.py").write_text("from hello import application\n")
    assert serve("app_of_the_day", cwd=tmp_path).get().body == b"hello\n"


def test_files_of_the_working_directory_do_not_shadow_the_standard_library_of_the_server(serve, tmp_path):
    """``python -c`` puts '' first on sys.path: a socket.py beside the app would break the server itself."""
    for name in ("socket", "logging", "signal", "json", "site", "types"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('shadowed')\n")
    (tmp_path / "shop.py").write_text("from hello import application\n")
    server = serve("shop", cwd=tmp_path)
    assert server.get().body == b"hello\n"


def test_children_of_the_app_inherit_three_descriptors(serve):
    inherited = serve("probe:app").get("/descriptors").json()
    assert set(inherited) <= {"0", "1", "2"}, inherited


def test_children_of_the_app_start_with_default_signals(serve, as_pid1):
    """The worker blocks signals around the fork; none of that may reach a program that the app runs."""
    text = serve("probe:app", pid1=as_pid1).get("/subprocess").text
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert int(status["SigBlk"], 16) == 0
    assert int(status["SigIgn"], 16) == 0


def test_a_term_before_the_fork_server_is_up_counts(serve, namespaces):
    """The kernel drops what PID 1 does not handle, so the handlers must be the first thing there is."""
    for _ in range(5):
        server = serve("hello:app", ready=False, pid1=True)
        wait_until(
            lambda server=server: processes.minds(server.pid, signal.SIGTERM), "a handler for TERM", every=0.0005
        )
        server.send(signal.SIGTERM)
        assert server.wait_exit() == 0, server.err.text


@pytest.mark.parametrize("preload", [False, True], ids=["import in the worker", "preload"])
def test_a_term_during_the_import_counts(serve, gate, as_pid1, preload):
    flags = ["--preload"] if preload else []
    server = serve("faults.import_held:application", *flags, ready=False, pid1=as_pid1, environment=gate.environment)
    gate.wait(1, "import")
    assert server.stop() == 0, server.err.text
    assert not server.family()


def test_probes_before_the_first_worker_is_ready(serve, gate):
    server = serve("faults.import_held:application", ready=False, environment=gate.environment)
    gate.wait(1, "import")
    assert server.admin.status("/livez") == 200
    assert server.admin.status("/startupz") == 503
    assert server.admin.status("/readyz") == 503
    gate.open()
    server.wait_ready()
    assert server.admin.status("/startupz") == 200
    assert server.get().status == 200


def test_a_client_that_comes_during_the_boot_is_answered(serve, gate):
    """The sockets listen before the first worker is there."""
    server = serve("faults.import_held:application", ready=False, environment=gate.environment)
    gate.wait(1, "import")
    with server.connect() as client:
        client.send(http.head("GET", "/"))
        gate.open()
        assert client.read_response().body == b"hello\n"


def test_sixteen_workers(serve, namespaces):
    server = serve("hello:app", "--workers", "16", pid1=True)
    server.admin.wait_workers(16)
    assert not server.zombies()
    assert server.stop() == 0


def test_nothing_is_left_after_the_end(serve, as_pid1):
    server = serve("hello:app", "--workers", "4", pid1=as_pid1)
    server.admin.wait_workers(4)
    assert server.stop() == 0
    wait_until(lambda: not server.family(), lambda: f"the end of {server.family()}")


@pytest.mark.parity
@pytest.mark.parametrize(
    ("spec", "body"),
    [
        ("hello", b"hello\n"),
        ("hello:app", b"hello\n"),
        ("hello:create()", b"hello"),
        ("hello:create('hi')", b"hi"),
        ("hello:create('hi', times=3)", b"hihihi"),
        ('hello:create(greeting="ho", times=2)', b"hoho"),
    ],
)
def test_app_specs(serve, spec, body):
    assert serve(spec).get().body == body
