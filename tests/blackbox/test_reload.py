"""HUP: a second fork server, a canary, then the change; and what fails changes nothing."""

import contextlib
import os
import re
import signal

import pytest
from podtest import http, processes
from podtest.load import Load
from podtest.ports import free_port
from podtest.waiting import wait_until

PAGE = """
import gate_client
{import_line}
def application(environ, start_response):
    if environ["PATH_INFO"].startswith("/hold/"):
        gate_client.pause(environ["PATH_INFO"][6:])
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Version", "{version}")])
    return [b"{version}"]
"""


class Site:
    """An app in a file that tests rewrite."""

    def __init__(self, directory) -> None:
        self.directory = directory
        self.write("one")

    def write(self, version: str, import_line: str = "") -> None:
        new = self.directory / "site_app.new"
        new.write_text(PAGE.format(version=version, import_line=import_line))
        new.rename(self.directory / "site_app.py")

    def break_(self, text: str) -> None:
        new = self.directory / "site_app.new"
        new.write_text(text)
        new.rename(self.directory / "site_app.py")


@pytest.fixture
def site(tmp_path):
    directory = tmp_path / "site"
    directory.mkdir()
    return Site(directory)


@pytest.fixture(params=[False, True], ids=["", "preload"])
def server(serve, site, request, as_pid1, gate):
    flags = ["--preload"] if request.param else []
    made = serve("site_app", "--workers", "2", *flags, cwd=site.directory, pid1=as_pid1, environment=gate.environment)
    made.admin.wait_workers(2)
    return made


def reloaded(server, generation: int) -> None:
    """Wait until only that generation's workers are there."""

    def settled() -> bool:
        pool = server.admin.pool()
        return (
            pool["generation"] == generation
            and not pool["reloads"]["inProgress"]
            and {worker["generation"] for worker in pool["workers"]} == {generation}
            and all(worker["state"] in ("idle", "busy") for worker in pool["workers"])
        )

    wait_until(settled, lambda: f"generation {generation}: {server.admin.pool()}")


def failed(server, count: int) -> dict:
    """Wait until so many reloads have failed; returns the pool."""
    wait_until(
        lambda: server.admin.pool()["reloads"]["failed"] == count and not server.admin.pool()["reloads"]["inProgress"],
        lambda: f"{count} failed reloads: {server.admin.pool()['reloads']}",
    )
    return server.admin.pool()


def test_new_code_serves_after_hup(server, site):
    before = set(server.worker_pids())
    assert server.get().body == b"one"
    site.write("two")
    server.send(signal.SIGHUP)
    reloaded(server, 2)
    assert server.get().body == b"two"
    assert not before & set(server.worker_pids())
    wait_until(lambda: len(server.fork_servers()) == 1, "one fork server")
    assert not server.zombies()


def test_post_reload_does_the_same(server, site):
    site.write("two")
    answer = server.admin.call("POST", "/reload")
    assert answer.status in (200, 202)
    reloaded(server, 2)
    assert server.get().body == b"two"


def test_no_request_fails_over_a_reload(server, site):
    with Load(server.address, clients=4, check=lambda r: r.body in (b"one", b"two")) as load:
        for number in range(3):
            site.write("two" if number % 2 == 0 else "one")
            server.send(signal.SIGHUP)
            reloaded(server, number + 2)
            done = load.done()
            wait_until(lambda done=done: load.done() > done + 50, "more answers")
    assert not load.failures(), load.summary()


BROKEN = {
    "raises": ("raise RuntimeError('migration is missing')\n", "migration is missing"),
    "syntax": ("def application(:\n", "SyntaxError"),
    "no app": ("something = 1\n", "application"),
    "missing package": ("import a_package_that_is_not_installed\n", "a_package_that_is_not_installed"),
    "exit": ("import sys\nsys.exit(9)\n", "9"),
    "killed": ("import os\nos.kill(os.getpid(), 9)\n", "SIGKILL"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_code_leaves_the_old_generation_serving(server, site, how):
    text, said = BROKEN[how]
    before = set(server.worker_pids())
    site.break_(text)
    with Load(server.address, clients=2, check=lambda r: r.body == b"one") as load:
        server.send(signal.SIGHUP)
        pool = failed(server, 1)
        assert server.admin.status("/readyz") == 200
    assert not load.failures(), load.summary()
    if said not in pool["reloads"]["lastError"]["message"]:
        server.err.wait_for(re.escape(said))
    assert set(server.worker_pids()) == before
    assert pool["generation"] == 1
    wait_until(lambda: len(server.fork_servers()) == 1, "one fork server")

    site.write("three")
    server.send(signal.SIGHUP)
    wait_until(lambda: server.get().body == b"three", "the repaired code")
    wait_until(lambda: server.admin.pool()["reloads"]["lastError"] is None, "a reload that is known to have worked")


def test_a_worker_killed_after_a_failed_reload_comes_back_with_the_old_code_under_preload(serve, site):
    server = serve("site_app", "--workers", "2", "--preload", cwd=site.directory)
    server.admin.wait_workers(2)
    site.break_("raise RuntimeError('broken')\n")
    server.send(signal.SIGHUP)
    failed(server, 1)
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not processes.alive(pid), "its end")
    server.admin.wait_workers(2)
    assert server.get().body == b"one"


def test_a_canary_that_hangs_leaves_the_old_generation_serving(serve, site):
    server = serve("site_app", "--workers", "2", "--boot-timeout", "3", cwd=site.directory)
    before = server.admin.wait_workers(2)
    site.write("two", import_line="import threading; threading.Event().wait()")
    server.send(signal.SIGHUP)
    failed(server, 1)
    assert server.admin.pids() == before
    assert server.get().body == b"one"
    assert server.admin.status("/readyz") == 200


def test_nothing_is_replaced_before_the_canary_is_ready(serve, site, gate):
    server = serve("site_app", "--workers", "3", cwd=site.directory, environment=gate.environment)
    before = server.admin.wait_workers(3)
    site.write("two", import_line="gate_client.pause('canary')")
    server.send(signal.SIGHUP)
    gate.wait(1, "canary")
    for _ in range(30):
        assert server.get().body == b"one"
    assert set(before) <= set(server.admin.pids())
    assert gate.seen == ["canary"], "one canary, not three"
    gate.open()
    reloaded(server, 2)
    assert server.get().body == b"two"


def test_a_running_request_is_finished_by_its_old_worker(server, site, gate):
    with server.connect() as client:
        client.send(http.head("GET", "/hold/old"))
        gate.wait(1, "old")
        site.write("two")
        server.send(signal.SIGHUP)
        wait_until(lambda: server.get().body == b"two", "the new code")
        # A process that is about to be a worker still looks like its fork server.
        wait_until(lambda: len(server.fork_servers()) == 2, "both: the old one lives until its last worker has left")
        gate.open()
        assert client.read_response().body == b"one"
    reloaded(server, 2)
    wait_until(lambda: len(server.fork_servers()) == 1, "one fork server")


@pytest.mark.parity
def test_config_is_read_again(serve, site, tmp_path):
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("workers = 1\nraw_env = ['COLOUR=red']\n")
    server = serve("probe:app", "--config", str(config))
    assert server.get("/identity").json()["environment"]["COLOUR"] == "red"
    config.write_text("workers = 3\nraw_env = ['COLOUR=blue']\n")
    server.send(signal.SIGHUP)
    if server.program == "podicorn":
        reloaded(server, 2)
        assert server.get("/identity").json()["environment"]["COLOUR"] == "blue"

    def is_blue() -> bool:
        # Gunicorn's old workers leave at once, whoever has connected to them.
        with contextlib.suppress(OSError, http.ExchangeError):
            return server.get("/identity").json()["environment"]["COLOUR"] == "blue"
        return False

    wait_until(is_blue, "the new environment")
    wait_until(lambda: len(server.worker_pids()) == 3, "three workers")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers = \n", "SyntaxError|invalid syntax"),
        ("workers = 'many'\n", "workers"),
        ("raise RuntimeError('no vault')\n", "no vault"),
        ("bind = 'nonsense:port'\n", "bind|nonsense"),
    ],
)
def test_a_broken_config_changes_nothing(serve, tmp_path, text, said):
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("workers = 2\n")
    server = serve("probe:app", "--config", str(config))
    before = server.admin.wait_workers(2)
    config.write_text(text)
    mark = server.err.mark()
    server.send(signal.SIGHUP)
    failed(server, 1)
    server.err.wait_for(said, since=mark)
    assert server.admin.pids() == before
    assert server.get().status == 200
    assert server.admin.status("/readyz") == 200


def test_a_changed_bind_moves_the_server(serve, tmp_path):
    first, second = free_port(), free_port()
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(f"bind = '127.0.0.1:{first}'\nworkers = 2\n")
    server = serve("hello:app", "--config", str(config), bind=False)
    assert http.request(("127.0.0.1", first)).status == 200
    config.write_text(f"bind = '127.0.0.1:{second}'\nworkers = 2\n")
    server.send(signal.SIGHUP)
    reloaded(server, 2)
    assert http.request(("127.0.0.1", second)).status == 200

    def refused() -> bool:
        try:
            http.Connection(("127.0.0.1", first)).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, "the old port's end")


def test_an_added_bind_keeps_the_first_open_throughout(serve, tmp_path):
    first, second = free_port(), free_port()
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(f"bind = ['127.0.0.1:{first}']\nworkers = 2\n")
    server = serve("hello:app", "--config", str(config), bind=False)
    server.admin.wait_workers(2)
    config.write_text(f"bind = ['127.0.0.1:{first}', '127.0.0.1:{second}']\nworkers = 2\n")
    with Load(("127.0.0.1", first), clients=2) as load:
        server.send(signal.SIGHUP)
        reloaded(server, 2)
    assert not load.failures(), load.summary()
    assert http.request(("127.0.0.1", second)).status == 200


def test_a_new_port_that_is_taken_changes_nothing(serve, tmp_path):
    import socket

    first = free_port()
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(f"bind = '127.0.0.1:{first}'\n")
    server = serve("hello:app", "--config", str(config), bind=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        config.write_text(f"bind = '127.0.0.1:{taken}'\n")
        server.send(signal.SIGHUP)
        failed(server, 1)
        server.err.wait_for(str(taken))
    assert http.request(("127.0.0.1", first)).status == 200
    assert server.admin.status("/readyz") == 200


def test_a_target_set_at_run_time_survives(serve):
    """Gunicorn falls back from 3 to 1 there."""
    server = serve("hello:app")
    server.send(signal.SIGTTIN)
    server.admin.wait_workers(2)
    server.send(signal.SIGTTIN)
    server.admin.wait_workers(3)
    server.send(signal.SIGHUP)
    reloaded(server, 2)
    server.admin.wait_workers(3)


def test_hooks_of_the_old_generation_run_for_its_own_workers(serve, tmp_path):
    config = tmp_path / "gunicorn.conf.py"
    text = "import os\ndef worker_exit(server, worker):\n    os.write(2, b'%s leaves\\n')\n"
    config.write_text(text % "old")
    server = serve("hello:app", "--config", str(config))
    config.write_text(text % "new")
    server.send(signal.SIGHUP)
    reloaded(server, 2)
    server.err.wait_for("^old leaves$")
    assert "new leaves" not in server.err.text
    server.stop()
    assert "new leaves" in server.err.text


def test_environment_of_the_old_generation_does_not_leak(serve, tmp_path):
    config = tmp_path / "gunicorn.conf.py"
    config.write_text("raw_env = ['OLD=1']\n")
    server = serve("probe:app", "--config", str(config))
    config.write_text("raw_env = ['NEW=1']\n")
    server.send(signal.SIGHUP)
    reloaded(server, 2)
    environment = server.get("/identity").json()["environment"]
    assert "NEW" in environment
    assert "OLD" not in environment


def test_a_reload_while_the_first_boot_is_not_over(serve, site, gate):
    site.write("one", import_line="gate_client.pause('boot')")
    server = serve("site_app", ready=False, cwd=site.directory, environment=gate.environment)
    gate.wait(1, "boot")
    site.write("two")
    server.send(signal.SIGHUP)
    gate.open()
    wait_until(lambda: server.admin.ready() and server.get().body == b"two", "the new code")


def test_term_during_a_reload(serve, site, gate):
    server = serve("site_app", "--workers", "2", cwd=site.directory, environment=gate.environment)
    server.admin.wait_workers(2)
    site.write("two", import_line="gate_client.pause('canary')")
    server.send(signal.SIGHUP)
    gate.wait(1, "canary")
    assert server.stop() == 0
    assert not server.family()


def test_the_old_fork_server_killed_during_a_reload(serve, site, gate):
    server = serve("site_app", "--workers", "2", cwd=site.directory, environment=gate.environment)
    server.admin.wait_workers(2)
    (old,) = server.fork_servers()
    site.write("two", import_line="gate_client.pause('canary')")
    server.send(signal.SIGHUP)
    gate.wait(1, "canary")
    os.kill(old, signal.SIGKILL)
    gate.open()
    wait_until(lambda: server.get().body == b"two", "the new code")
    server.admin.wait_workers(2)
    wait_until(lambda: len(server.fork_servers()) == 1, "one fork server")


def test_the_new_fork_server_killed_during_a_reload(serve, site, gate):
    server = serve("site_app", "--workers", "2", cwd=site.directory, environment=gate.environment)
    before = server.admin.wait_workers(2)
    (old,) = server.fork_servers()
    site.write("two", import_line="gate_client.pause('canary')")
    server.send(signal.SIGHUP)
    gate.wait(1, "canary")
    (new,) = [pid for pid in server.fork_servers() if pid != old]
    os.kill(new, signal.SIGKILL)
    gate.open()
    # Either the reload failed as a whole or it was begun again: somebody serves and nothing is left over.
    wait_until(lambda: not server.admin.pool()["reloads"]["inProgress"], "the reload's end")
    server.admin.wait_workers(2)
    assert server.get().body in (b"one", b"two")
    if server.get().body == b"one":
        assert server.admin.pids() == before
    wait_until(lambda: len(server.fork_servers()) == 1, "one fork server")
