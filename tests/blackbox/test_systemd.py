"""Under systemd, which these tests play: its sockets, and what it is told."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time

import pytest
from podtest import http
from podtest.load import Load
from podtest.server import program_path, run, settle
from podtest.systemd import Service, listening
from podtest.waiting import wait_until


@pytest.fixture
def sockets():
    """Opens listening sockets, as a .socket unit does, and holds them."""
    with contextlib.ExitStack() as held:

        def make(family=socket.AF_INET, address=("127.0.0.1", 0)):
            made = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
            made.bind(address)
            made.listen(64)
            return made

        yield make


@pytest.fixture
def service(tmp_path):
    """Where the server tells its state."""
    tmp_path.chmod(0o755)
    made = Service(tmp_path)
    yield made
    made.close()


def activated(serve, *passed, arguments=("probe:app",), pid="self", program="podicorn", **options):
    return serve(
        *arguments, executable=listening(program_path(program), sockets=passed, pid=pid), bind=False,
        pass_fds=[one.fileno() for one in passed], program=program, **options,
    )  # fmt: skip


def oracle_program():
    return os.environ.get("PODTEST_PROGRAM", "podicorn")


# ---- sockets ----


@pytest.mark.parity
def test_the_sockets_of_systemd_are_served(serve, sockets, tmp_path):
    tcp = sockets()
    unix = sockets(socket.AF_UNIX, str(tmp_path / "app.sock"))
    server = activated(serve, tcp, unix, ready=False, program=oracle_program())
    for address in (tcp.getsockname(), unix.getsockname()):
        # A connection that comes before the server does waits in the socket.
        assert http.request(address, "/pid").status == 200
    server.err.wait_for(rf"Listening at: .*:{tcp.getsockname()[1]}")
    server.stop()
    assert (tmp_path / "app.sock").exists(), "the file is systemd's"


@pytest.mark.parity
def test_they_are_served_instead_of_bind(serve, sockets):
    tcp, elsewhere = sockets(), sockets()
    port = elsewhere.getsockname()[1]
    elsewhere.close()
    server = activated(
        serve, tcp, arguments=("probe:app", "--bind", f"127.0.0.1:{port}"), ready=False, program=oracle_program()
    )
    assert http.request(tcp.getsockname(), "/pid").status == 200
    with pytest.raises(ConnectionRefusedError):
        http.request(("127.0.0.1", port), "/pid")
    server.stop()


@pytest.mark.parity
def test_sockets_for_another_process_are_none_of_ours(serve, sockets):
    foreign = sockets()
    server = serve(
        "probe:app", executable=listening(program_path(oracle_program()), sockets=[foreign], pid="1"),
        pass_fds=[foreign.fileno()],
    )  # fmt: skip
    assert server.get("/pid").status == 200
    # The kernel takes the connection; nobody accepts it.
    with contextlib.suppress(TimeoutError, http.ExchangeError):
        answer = http.request(foreign.getsockname(), "/pid", silence=0.5)
        raise AssertionError(f"answered {answer.status} on a socket that was not meant for it")


def test_the_app_does_not_see_the_variables(serve, sockets, tmp_path):
    tcp = sockets()
    source = "import os\nNAMES = sorted(n for n in os.environ if n.startswith(('LISTEN_', 'WATCHDOG_')))\n"
    source += "def application(environ, start):\n    start('200 OK', [])\n    return [repr(NAMES).encode()]\n"
    (tmp_path / "names.py").write_text(source)
    server = activated(
        serve, tcp, arguments=("names:application",), ready=True,
        environment={"WATCHDOG_USEC": "60000000"}, cwd=tmp_path,
    )  # fmt: skip
    assert http.request(tcp.getsockname(), "/").text == "[]"
    server.stop()


def test_a_reload_keeps_them_and_no_request_is_lost(serve, sockets):
    tcp = sockets()
    server = activated(serve, tcp, arguments=("probe:app", "--workers", "2"))
    server.admin.wait_workers(2)
    with Load(tcp.getsockname(), clients=2, target=lambda _: "/pid") as load:
        server.send(signal.SIGHUP)
        wait_until(lambda: server.admin.pool()["generation"] == 2, "the second generation")
        server.admin.wait_workers(2)
    assert set(load.summary()) == {"ok"}, load.failures()[:3]
    server.stop()


def more(load):
    enough = load.done() + 20
    wait_until(lambda: load.done() >= enough, "some answers")


def test_a_restart_loses_no_connection(serve, sockets):
    """What .socket units are for: who comes between two servers waits in the socket."""
    tcp = sockets()
    with Load(tcp.getsockname(), clients=2, target=lambda _: "/pid") as load:
        for _ in range(3):
            server = activated(serve, tcp)
            more(load)
            assert server.stop() == 0
        last = activated(serve, tcp)
        more(load)
    assert set(load.summary()) == {"ok"}, load.failures()[:3]
    last.stop()


@pytest.mark.pid1
@pytest.mark.usefixtures("namespaces")
def test_a_container_keeps_them_through_an_upgrade_in_place(serve, sockets, tmp_path):
    """Podman passes the sockets of a .socket unit on to PID 1 of a container."""
    tcp = sockets()
    unix = sockets(socket.AF_UNIX, str(tmp_path / "app.sock"))
    server = activated(serve, tcp, unix, arguments=("probe:app", "--workers", "2"), pid1=True)
    server.admin.wait_workers(2)
    before = server.admin.pids()
    with Load(tcp.getsockname(), clients=2, target=lambda _: "/pid") as load:
        more(load)
        server.send(signal.SIGUSR2)
        server.err.wait_for("Upgraded in place")
        wait_until(lambda: not set(before) & set(server.admin.pids()), lambda: f"other workers than {before}")
        more(load)
    assert set(load.summary()) == {"ok"}, load.failures()[:3]
    assert http.request(unix.getsockname(), "/pid").status == 200
    assert server.stop() == 0
    assert (tmp_path / "app.sock").exists(), "the file is systemd's"


@pytest.mark.parametrize("count", ["two", "-1", ""])
def test_a_wrong_number_of_sockets_is_told(count):
    script = f'export LISTEN_PID=$$ LISTEN_FDS="{count}"; exec "$0" probe:app'
    done = run_shell(script)
    assert done.returncode == 1
    assert re.search(r"Error: LISTEN_FDS is \"%s\", which is not a number of sockets" % re.escape(count), done.stderr)


def run_shell(script):
    return subprocess.run(
        ["/bin/sh", "-c", script, program_path()], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_socket_that_is_none_is_told(serve):
    with open(os.devnull) as file:
        server = activated(serve, file, ready=False)
        assert server.wait_exit() == 1
    server.err.wait_for(r"cannot listen on fd://3 .*it is not a socket")


# ---- what systemd is told ----


def test_ready_comes_when_a_worker_serves(serve, service, gate):
    """Gunicorn says it before the app is imported, so that a unit that is started cannot serve yet, or never will."""
    server = serve(
        "faults.import_held:application", ready=False, environment=gate.environment | dict(service.environment())
    )
    (held,) = gate.wait(1, "import")
    server.err.wait_for("Listening at")
    assert service.heard == []
    gate.release(held)
    assert service.wait("READY=1") == "READY=1\nSTATUS=Serving"
    assert server.get("/").status == 200


@pytest.mark.parity
def test_ready_is_told_at_all(serve, service):
    serve("probe:app", environment=service.environment())
    service.wait("READY=1")


def test_an_app_that_cannot_start_is_never_ready(serve, service):
    server = serve("faults.import_raises:application", ready=False, environment=service.environment())
    assert server.wait_exit() == 3
    assert service.count("READY=1") == 0


def test_a_reload_is_told_with_its_end(serve, service, tmp_path):
    source = tmp_path / "shop.py"
    source.write_text("from probe import application\n")
    before = time.monotonic_ns() // 1000
    server = serve("shop", cwd=tmp_path, environment=service.environment())
    service.wait("READY=1")
    server.send(signal.SIGHUP)
    said = service.wait("RELOADING=1")
    micros = int(re.search(r"^MONOTONIC_USEC=(\d+)$", said, re.MULTILINE).group(1))
    assert before <= micros <= time.monotonic_ns() // 1000
    assert service.wait("READY=1", times=2) == "READY=1\nSTATUS=Serving, generation 2"
    source.write_text("raise RuntimeError('half an upload')\n")
    server.send(signal.SIGHUP)
    assert "failed" in service.wait("READY=1", times=3)
    assert service.count("RELOADING=1") == 2
    assert server.get("/").status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_is_told_once_and_first(serve, service, number):
    server = serve("probe:app", environment=service.environment())
    service.wait("READY=1")
    server.stop(number)
    assert service.wait("STOPPING=1") == "STOPPING=1\nSTATUS=Shutting down"
    assert service.count("STOPPING=1") == 1
    assert service.heard[-1].startswith("STOPPING=1")


def test_the_watchdog_hears_of_the_arbiter_and_not_of_workers(serve, service):
    server = serve("probe:app", environment=service.environment(WATCHDOG_USEC="400000"))
    service.wait("WATCHDOG=1", times=3)
    server.send(signal.SIGSTOP)
    # What was on its way has come by now.
    settle(0.5)
    heard = service.count("WATCHDOG=1")
    settle(1)
    assert service.count("WATCHDOG=1") == heard
    server.send(signal.SIGCONT)
    service.wait("WATCHDOG=1", times=heard + 2)


def test_no_watchdog_unless_asked(serve, service):
    server = serve("probe:app", environment=service.environment(WATCHDOG_USEC="200000", WATCHDOG_PID="1"))
    service.wait("READY=1")
    settle(1)
    assert service.count("WATCHDOG=1") == 0
    server.stop()


def test_an_abstract_address(serve, tmp_path):
    service = Service(tmp_path, abstract=True)
    serve("probe:app", environment=service.environment())
    service.wait("READY=1")
    service.close()


def test_a_systemd_that_does_not_listen_costs_nothing(serve, tmp_path):
    server = serve("probe:app", environment={"NOTIFY_SOCKET": str(tmp_path / "gone")})
    server.err.wait_for(r"\[WARNING\] Cannot tell systemd how we are: NOTIFY_SOCKET is .*gone")
    assert server.get("/").status == 200
    assert server.stop() == 0


def test_check_config_tells_nothing(service):
    done = run("--check-config", "probe:app", environment=service.environment())
    assert done.returncode == 0
    assert service.heard == []
