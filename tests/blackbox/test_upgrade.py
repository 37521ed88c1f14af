"""USR2: a second server on the same sockets, and the ways forward and back from there, as Gunicorn has them."""

import contextlib
import os
import signal
import socket

import pytest
from podtest import http, processes, types
from podtest.load import Load
from podtest.server import copy_apps, settle
from podtest.waiting import wait_until

ONCE = ("sync", "gthread-4", "asgi", "gevent")


def second_of(server):
    """The pid of the server that USR2 has started."""
    names = [os.path.basename(server.command[0])]

    def found():
        for child in server.children():
            words = processes.command_line(child.pid)
            named = words and words[0].startswith("podicorn: master")
            if not child.zombie and (named or any(os.path.basename(word) in names for word in words[:2])):
                return child.pid
        return None

    if server.program == "gunicorn":
        # A worker of Gunicorn looks like its master; only a master has children.
        def found():
            return next((child.pid for child in server.children() if processes.children(child.pid)), None)

    return wait_until(found, lambda: f"a second server; the first said:\n{server.err.text}")


def upgrade(server):
    """Sends USR2; the pid of the second server, once it serves."""
    workers = server.err.text.count("Booting worker")
    server.send(signal.SIGUSR2)
    pid = second_of(server)
    wait_until(
        lambda: server.err.text.count("Booting worker") > workers,
        lambda: f"a worker of the second server:\n{server.err.text}",
    )
    return pid


def end(pid, number=signal.SIGTERM):
    os.kill(pid, number)
    wait_until(lambda: not processes.alive(pid), f"the end of {pid}")


@contextlib.contextmanager
def ending(pid):
    """A second server outlives the first: it is not the fixture's to end."""
    try:
        yield
    finally:
        if processes.alive(pid):
            end(pid, signal.SIGINT)


@pytest.mark.parity
def test_the_second_server_takes_over(serve, tmp_path):
    pidfile = tmp_path / "server.pid"
    server = serve("probe:app", "--pid", str(pidfile))
    assert int(pidfile.read_text()) == server.pid
    second = upgrade(server)
    with ending(second):
        other = tmp_path / "server.pid.2"
        wait_until(other.exists, "the second server's pid file")
        assert (int(pidfile.read_text()), int(other.read_text())) == (server.pid, second)
        assert {server.get("/").status for _ in range(20)} == {200}
        assert server.stop() == 0
        wait_until(lambda: pidfile.exists() and int(pidfile.read_text()) == second, "the pid file's new owner")
        assert not other.exists()
        wait_until(lambda: "Master has been promoted." in server.err.text, "the promotion")
        assert {server.get("/").status for _ in range(20)} == {200}
        end(second)
        assert not pidfile.exists()
        with pytest.raises(ConnectionRefusedError):
            server.connect()


@pytest.mark.parity
def test_the_first_server_stays(serve, tmp_path):
    pidfile = tmp_path / "server.pid"
    server = serve("probe:app", "--pid", str(pidfile))
    second = upgrade(server)
    end(second)
    wait_until(lambda: not server.zombies(), "the second server was waited for")
    assert {server.get("/").status for _ in range(20)} == {200}
    assert int(pidfile.read_text()) == server.pid
    assert not (tmp_path / "server.pid.2").exists()
    # And it may try again.
    second = upgrade(server)
    end(second)
    assert server.stop() == 0
    assert not pidfile.exists()


@pytest.mark.parity
def test_one_at_a_time(serve):
    server = serve("probe:app")
    second = upgrade(server)
    with ending(second):
        server.send(signal.SIGUSR2)
        wait_until(lambda: "USR2 signal ignored. Child exists." in server.err.text, "the first one's refusal")
        os.kill(second, signal.SIGUSR2)
        wait_until(lambda: "USR2 signal ignored. Parent exists." in server.err.text, "the second one's refusal")


@pytest.mark.parity
def test_a_unix_socket_goes_with_the_last_server(serve, tmp_path):
    path = tmp_path / "app.sock"
    server = serve("probe:app", "--bind", f"unix:{path}", bind=False, ready=False)
    wait_until(path.exists, "the socket")
    wait_until(lambda: "Booting worker" in server.err.text, "a worker")
    second = upgrade(server)
    with ending(second):
        assert server.stop() == 0
        assert path.exists()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
        wait_until(lambda: "Master has been promoted." in server.err.text, "the promotion")
        end(second)
    if server.program == "podicorn":
        assert not path.exists()


@pytest.mark.parity
def test_the_hook_pre_exec_and_the_original_environment(serve, config):
    path = config(
        "import os\n"
        "raw_env = ['FROM_CONFIG=1']\n"
        "def pre_exec(server):\n"
        "    server.log.info('pre_exec sees %s workers', server.num_workers)\n"
        "def on_starting(server):\n"
        "    server.log.info('starting with GUNICORN_FD=%s', os.environ.get('GUNICORN_FD'))\n"
    )
    server = serve("probe:app", "--config", path)
    second = upgrade(server)
    with ending(second):
        assert "pre_exec sees 1 workers" in server.err.text
        assert server.err.text.count("starting with GUNICORN_FD=None") == 2


def test_a_failing_pre_exec_starts_nothing(serve, config):
    path = config("def pre_exec(server):\n    raise RuntimeError('not today')\n")
    server = serve("probe:app", "--config", path)
    server.send(signal.SIGUSR2)
    wait_until(lambda: "not today" in server.err.text, "the hook's error")
    settle(0.5)
    assert "no second server is started" in server.err.text
    assert "second server, beside" not in server.err.text
    assert server.get("/").status == 200


@pytest.mark.parametrize("kind", ONCE)
def test_no_request_is_lost_either_way(serve, kind):
    server = serve(*types.ALL[kind], "--workers", "2", "bodies:app")
    with Load(server.address, clients=6, target=lambda n: "/?size=2000&wait=0") as load:
        second = upgrade(server)
        with ending(second):
            settle(0.3)
            assert server.stop() == 0
            wait_until(lambda: "Master has been promoted." in server.err.text, "the promotion")
            settle(0.5)
            outcomes = load.stop()
            assert len(outcomes) > 100
            assert [outcome for outcome in outcomes if outcome.kind != "ok"] == []
            # The admin API goes over, too.
            server.admin.wait_workers(2)
            assert server.admin.status("/readyz") == 200


def test_winch_leaves_the_second_server_alone_and_hup_comes_back(serve):
    server = serve("probe:app", "--workers", "2")
    server.send(signal.SIGWINCH)
    settle(0.3)
    server.admin.wait_workers(2)
    second = upgrade(server)
    with ending(second):
        with Load(server.address, clients=4) as load:
            server.send(signal.SIGWINCH)
            wait_until(lambda: not server.admin.ready_workers(), "no workers")
            assert server.running()
            settle(0.3)
            server.send(signal.SIGHUP)
            server.admin.wait_workers(2)
            end(second)
            settle(0.3)
            outcomes = load.stop()
        assert [outcome for outcome in outcomes if outcome.kind != "ok"] == []
        assert server.get("/").status == 200
    assert server.stop() == 0


def test_workers_come_back_by_themselves_where_the_second_server_dies(serve):
    server = serve("probe:app", "--workers", "2")
    second = upgrade(server)
    server.send(signal.SIGWINCH)
    wait_until(lambda: not server.admin.ready_workers(), "no workers")
    end(second, signal.SIGKILL)
    server.admin.wait_workers(2)
    assert server.get("/").status == 200


def test_new_code_that_does_not_start_changes_nothing(serve, tmp_path):
    apps = copy_apps(tmp_path / "apps", "hello.py")
    server = serve("hello:app", cwd=apps, environment={"PYTHONPATH": str(apps)})
    (apps / "hello.py").write_text("raise RuntimeError('broken release')\n")
    server.send(signal.SIGUSR2)
    wait_until(lambda: "this one serves alone again" in server.err.text, "the end of the second server")
    assert "broken release" in server.err.text
    assert "exited with code 3" in server.err.text
    assert {server.get("/").status for _ in range(10)} == {200}


def test_the_second_server_may_listen_elsewhere(serve, tmp_path, config):
    path = config("bind = ['127.0.0.1:0']\n")
    server = serve("probe:app", "--config", path, bind=False)
    port = int(server.err.text.split("Listening at: http://127.0.0.1:")[1].split()[0])
    extra = tmp_path / "extra.sock"
    config(f"bind = ['127.0.0.1:0', 'unix:{extra}']\n")
    second = upgrade(server)
    with ending(second):
        wait_until(extra.exists, "the added socket")
        assert server.stop() == 0
        assert http.request(("127.0.0.1", port), "/").status == 200


@pytest.mark.parametrize("value", ["x", "99999", "1"])
def test_a_wrong_hand_over_is_said(serve, value):
    server = serve("probe:app", environment={"GUNICORN_PID": "7", "GUNICORN_FD": value}, ready=False)
    assert server.wait_exit() == 1
    assert "GUNICORN_FD is" in server.err.text
    assert "leave both unset" in server.err.text
