"""logconfig (INI, dict, JSON), logger_class and syslog: the logs through Python's logging, as in Gunicorn."""

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from podtest import server, socket_types, types
from podtest.waiting import wait_until

#: Gunicorn's words and ours for the arbiter's first line, the worker's first and the arbiter's last.
LINES = (r"Starting (gunicorn|podicorn) \d", r"Booting worker with pid: \d+", r"Shutting down: Master")


def config_dict(directory: Path) -> str:
    """A config file with both logs in files of their own, in forms that nothing else has."""
    return f"""
logconfig_dict = {{
    "version": 1,
    "disable_existing_loggers": False,
    "root": {{"level": "WARNING", "handlers": []}},
    "formatters": {{
        "error": {{"format": "E|%(process)d|%(levelname)s|%(message)s"}},
        "access": {{"format": "A|%(process)d|%(message)s"}},
    }},
    "handlers": {{
        "error": {{"class": "logging.FileHandler", "filename": "{directory}/error.log", "formatter": "error"}},
        "access": {{"class": "logging.FileHandler", "filename": "{directory}/access.log", "formatter": "access"}},
    }},
    "loggers": {{
        "gunicorn.error": {{"level": "INFO", "handlers": ["error"], "propagate": False}},
        "gunicorn.access": {{"level": "INFO", "handlers": ["access"], "propagate": False}},
    }},
}}
"""


INI = """
[loggers]
keys=root, gunicorn.error, gunicorn.access
[handlers]
keys=error, access
[formatters]
keys=error, access
[logger_root]
level=WARNING
handlers=
[logger_gunicorn.error]
level=INFO
handlers=error
propagate=0
qualname=gunicorn.error
[logger_gunicorn.access]
level=INFO
handlers=access
propagate=0
qualname=gunicorn.access
[handler_error]
class=FileHandler
formatter=error
args=('%(here)s/error.log',)
[handler_access]
class=FileHandler
formatter=access
args=('%(here)s/access.log',)
[formatter_error]
format=E|%(process)d|%(levelname)s|%(message)s
[formatter_access]
format=A|%(process)d|%(message)s
"""


def arguments(form: str, directory: Path, config: Callable[[str], str]) -> list[str]:
    """The same set-up in each of the three forms."""
    if form == "dict":
        return ["-c", config(config_dict(directory))]
    if form == "json":
        names: dict[str, dict[str, object]] = {}
        exec(config_dict(directory), names)
        path = directory / "logging.json"
        path.write_text(json.dumps(names["logconfig_dict"]))
        return ["--log-config-json", str(path)]
    path = directory / "logging.ini"
    path.write_text(INI)
    return ["--log-config", str(path)]


@pytest.mark.parity
@pytest.mark.parametrize("form", ["dict", "json", "ini"])
def test_logs_go_where_the_config_says(serve, tmp_path, config, form):
    app = serve("probe:app", *arguments(form, tmp_path, config))
    assert app.get("/x?y=z", headers={"User-Agent": "tester"}).status == 404
    assert app.get("/raise").status == 500
    worker = app.worker_pids()[0]
    assert app.stop() == 0
    error, access = ((tmp_path / f"{name}.log").read_text() for name in ("error", "access"))
    for pid, words in zip((app.pid, worker, app.pid), LINES, strict=True):
        assert re.search(rf"^E\|{pid}\|INFO\|{words}", error, re.MULTILINE), error
    assert re.search(rf"^E\|{worker}\|ERROR\|Error handling request GET /raise", error, re.MULTILINE) or re.search(
        rf"^E\|{worker}\|ERROR\|Error handling request", error, re.MULTILINE
    )
    assert "RuntimeError: the app raised before the head" in error
    assert re.search(
        rf'^A\|{worker}\|127\.0\.0\.1 - - \[[^]]+\] "GET /x\?y=z HTTP/1\.1" 404 \d+ "-" "tester"$', access, re.MULTILINE
    )
    assert app.out.text == ""
    assert app.err.text == "", "nothing is left for stderr"


@pytest.mark.parity
def test_usr1_opens_the_files_again(serve, tmp_path, config):
    app = serve("probe:app", *arguments("dict", tmp_path, config))
    app.get("/first")
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    wait_until(lambda: "/first" in access.read_text(), "the first line")
    access.rename(tmp_path / "access.log.1")
    error.rename(tmp_path / "error.log.1")
    app.send(signal.SIGUSR1)
    wait_until(lambda: access.exists() and error.exists(), "new files")
    wait_until(lambda: app.get("/second") and "/second" in access.read_text(), "a line in the new access log")
    assert app.stop() == 0
    assert "Shutting down: Master" in error.read_text(), "the arbiter's lines follow"


LOGGER = """
import gunicorn.glogging

class Logger(gunicorn.glogging.Logger):
    def setup(self, cfg):
        super().setup(cfg)
        self.error(f"set up {cfg.proc_name}")

    def atoms(self, resp, req, environ, request_time):
        atoms = super().atoms(resp, req, environ, request_time)
        atoms["X"] = f"own-{environ['PATH_INFO']}-{resp.status}-{dict(req.headers).get('X-ASK')}"
        return atoms

    def info(self, msg, *args, **kwargs):
        super().info("own info: " + msg, *args, **kwargs)
"""


@pytest.mark.parity
@pytest.mark.parametrize("kind", types.params("sync", "gthread-4", "gevent", "eventlet", "asgi"))
@pytest.mark.parametrize("form", ["path", "class"])
def test_a_logger_of_ones_own(serve, tmp_path, config, form, kind):
    (tmp_path / "ownlogs.py").write_text(LOGGER)
    app = "probe_asgi:app" if "asgi" in kind else "probe:app"
    if form == "class":
        named = [
            "-c",
            config(
                "import sys\nsys.path.insert(0, '"
                + str(tmp_path)
                + "')\nfrom ownlogs import Logger\nlogger_class = Logger\n"
            ),
        ]
    else:
        named = ["--pythonpath", str(tmp_path), "--logger-class", "ownlogs.Logger"]
    app = serve(
        app,
        *named,
        *kind,
        "--name",
        "shop",
        "--access-logfile",
        "-",
        "--access-logformat",
        "%(X)s %(s)s %(nothing)s %(p)s",
    )
    app.get("/", headers={"X-Ask": "it"})
    worker = app.worker_pids()[0]
    app.out.wait_for(
        rf"^own-/-200 OK-it 200 - <{worker}>$" if "asgi" not in kind else rf"^own-/-200.*-it 200 - <{worker}>$"
    )
    app.err.wait_for(r"set up shop")
    app.err.wait_for(rf"\[{app.pid}\] \[INFO\] own info: Starting")
    app.err.wait_for(rf"\[{worker}\] \[INFO\] own info: Booting worker with pid: {worker}")
    assert app.stop() == 0


@pytest.mark.parametrize("name", ["egg:shop-logs#shop", "egg:shop-logs", "shop", "ownlogs:Logger"])
def test_other_ways_to_name_a_logger_class(serve, tmp_path, name):
    """Gunicorn looks for a bare name in its own distribution only, and for a lone entry point under no name."""
    (tmp_path / "ownlogs.py").write_text(LOGGER)
    info = tmp_path / "shop_logs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-logs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gunicorn.loggers]\nshop = ownlogs:Logger\n")
    app = serve("probe:app", "--logger-class", name, environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{server.APPS}"})
    app.err.wait_for(rf"\[{app.pid}\] \[INFO\] own info: Starting")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("egg:no-such-package#shop", "the package 'no-such-package' is not installed"),
        ("egg:pytest#shop", "name one entry point of the group gunicorn.loggers"),
        ("shop", "nor an entry point of that name in the group gunicorn.loggers"),
        ("ownlogs.Logger", "there is no module 'ownlogs' on sys.path"),
        ("json.Logger", "'json' has no 'Logger'"),
    ],
)
def test_logger_classes_that_are_not_there_end_the_start(name, words):
    ended = server.run("--bind", "127.0.0.1:0", "--logger-class", name, "probe:app")
    assert ended.returncode == 1
    assert f"logger_class {name}" in ended.stderr.replace("'", "") and words in ended.stderr


@pytest.fixture
def without_gunicorn(tmp_path: Path) -> dict[str, str]:
    """An environment in which the package gunicorn is not to be found."""
    directory = tmp_path / "hidden"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        finders = [finder for finder in sys.meta_path if finder is not self]\n"
        "        if name.partition('.')[0] == 'gunicorn':\n"
        "            for finder in finders:\n"
        "                if type(finder).__module__.startswith('podicorn'):\n"
        "                    return finder.find_spec(name, path, target)\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "        return None\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    return {"PYTHONPATH": f"{directory}:{server.APPS}"}


def test_a_logger_class_without_gunicorn_installed(serve, tmp_path, without_gunicorn):
    (tmp_path / "ownlogs.py").write_text(LOGGER)
    (tmp_path / "looks.py").write_text(
        "from hello import app\n"
        "try:\n    import gunicorn\n    print('found')\nexcept ImportError:\n    print('not found', flush=True)\n"
    )
    app = serve(
        "looks:app",
        *("--pythonpath", str(tmp_path), "--logger-class", "ownlogs.Logger"),
        *("--access-logfile", "-", "--access-logformat", "%(X)s"),
        environment=without_gunicorn,
    )
    app.get("/", headers={"X-Ask": "it"})
    app.out.wait_for(r"^own-/-200 OK-it$")
    app.err.wait_for("own info: Booting worker")
    app.out.wait_for("^not found$")


@pytest.mark.parametrize("line", socket_types.params("tornado-wsgi", "uvicorn.workers", "gthread-subclass"))
def test_socket_types_log_there_too(serve, tmp_path, config, line):
    app = serve(*line, *arguments("dict", tmp_path, config))
    app.get("/there")
    worker = app.worker_pids()[0]
    assert app.stop() == 0
    error = (tmp_path / "error.log").read_text()
    for pid, words in zip((app.pid, worker, app.pid), LINES, strict=True):
        assert re.search(rf"^E\|{pid}\|INFO\|{words}", error, re.MULTILINE), error
    if "tornado" in line or "gthread-subclass" in line:
        assert "/there" in (tmp_path / "access.log").read_text()


# ---- syslog ----


class Syslog:
    """A receiver: what came, line by line."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.lines: list[str] = []
        if kind in ("unix#dgram", "unix#stream"):
            path = str(directory / "log")
            self.address = f"unix://{path}#{kind.partition('#')[2]}"
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if "dgram" in kind else socket.SOCK_STREAM)
            self._socket.bind(path)
        else:
            stream = kind == "tcp"
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
            self._socket.bind(("127.0.0.1", 0))
            self.address = f"{kind}://127.0.0.1:{self._socket.getsockname()[1]}"
        if self._socket.type == socket.SOCK_STREAM:
            self._socket.listen()
            threading.Thread(target=self._accept, daemon=True).start()
        else:
            threading.Thread(target=self._read, args=(self._socket,), daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        while True:
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data and connection.type == socket.SOCK_STREAM:
                return
            # The handler ends each message with a NUL.
            self.lines += [line for line in data.decode().split("\0") if line]

    def wait_for(self, pattern: str) -> str:
        """The first line that matches."""
        found: list[str] = []

        def look() -> bool:
            found[:] = [line for line in list(self.lines) if re.search(pattern, line)]
            return bool(found)

        wait_until(look, lambda: f"{pattern!r} in {self.lines}")
        return found[0]

    def close(self) -> None:
        """No more."""
        self._socket.close()


@pytest.fixture
def syslog(tmp_path: Path) -> Iterator[Callable[[str], Syslog]]:
    made: list[Syslog] = []

    def start(kind: str) -> Syslog:
        made.append(Syslog(kind, tmp_path))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["udp", "tcp", "unix#dgram", "unix#stream"])
def test_syslog(serve, syslog, kind):
    receiver = syslog(kind)
    app = serve(
        "hello:app",
        *("--log-syslog", "--log-syslog-to", receiver.address, "--log-syslog-prefix", "shop"),
        *("--log-syslog-facility", "local3", "--name", "other"),
    )
    app.get("/there")
    worker = app.worker_pids()[0]
    # Facility 19 times 8, plus 6 for info (RFC 5424 §6.2.1).
    receiver.wait_for(rf"^<158>gunicorn\.shop\.error: \[{app.pid}\] Starting")
    receiver.wait_for(rf"^<158>gunicorn\.shop\.error: \[{worker}\] Booting worker with pid")
    receiver.wait_for(rf'^<158>gunicorn\.shop\.access: \[{worker}\] 127\.0\.0\.1 .*"GET /there HTTP/1\.1" 200')
    app.err.wait_for("Booting worker")
    assert app.stop() == 0
    receiver.wait_for(rf"^<158>gunicorn\.shop\.error: \[{app.pid}\] Shutting down: Master")


@pytest.mark.parity
def test_the_access_log_kept_out_of_syslog(serve, syslog):
    receiver = syslog("udp")
    app = serve(
        "hello:app",
        *("--log-syslog", "--log-syslog-to", receiver.address, "--disable-redirect-access-to-syslog"),
        *("--name", "a:b"),
    )
    app.get("/there")
    app.stop()
    receiver.wait_for(r"^<14>gunicorn\.a\.b\.error: .*Shutting down")
    assert not [line for line in receiver.lines if "access" in line]


# ---- what is wrong ----


@pytest.mark.parity
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--log-config", "/no/such/logging.ini"], "/no/such/logging.ini"),
        (["--log-syslog", "--log-syslog-to", "nonsense"], "invalid syslog address"),
        (["--log-syslog", "--log-syslog-facility", "nonsense"], "unknown facility name"),
        (["--logger-class", "no.such.Class"], "no"),
    ],
)
def test_what_cannot_be_set_up_ends_the_start(wrong, said):
    program = os.environ.get("PODTEST_PROGRAM", "podicorn")
    ended = server.run("--bind", "127.0.0.1:0", *wrong, "hello:app", program=program)
    assert ended.returncode == 1, ended.stderr
    assert said in ended.stderr


def test_a_config_that_is_wrong_says_where(config):
    ended = server.run(
        "--bind", "127.0.0.1:0", "-c", config("logconfig_dict = {'version': 1, 'root': 3}\n"), "hello:app"
    )
    assert ended.returncode == 1
    assert "logconfig_dict" in ended.stderr


# ---- the arbiter and its lines ----


def test_lines_of_a_fork_server_that_died_are_not_lost(serve, tmp_path, config):
    """They come back to errorlog, and those that follow reach the next fork server."""
    app = serve("hello:app", *arguments("dict", tmp_path, config))
    (fork_server,) = app.fork_servers()
    os.kill(fork_server, signal.SIGSTOP)
    for _ in range(3):
        app.send(signal.SIGUSR1)
    wait_until(lambda: app.admin.status("/readyz") == 200, "the arbiter, which does not wait for it")
    os.kill(fork_server, signal.SIGKILL)
    app.err.wait_for(r"Handling signal: usr1")
    app.err.wait_for(r"The fork server \(pid:\d+\)")
    error = tmp_path / "error.log"

    def reaches_the_next() -> bool:
        app.send(signal.SIGUSR2)
        return "Handling signal: usr2" in error.read_text()

    wait_until(reaches_the_next, "a line through the next fork server")
    assert app.stop() == 0
    assert "Shutting down: Master" in (tmp_path / "error.log").read_text()


def test_a_reload_takes_the_new_logconfig(serve, tmp_path, config):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    app = serve("hello:app", "-c", config(config_dict(first)))
    config(config_dict(second))
    app.send(signal.SIGHUP)
    wait_until(lambda: (second / "error.log").exists(), "the new file")
    wait_until(lambda: app.get("/after") and "/after" in (second / "access.log").read_text(), "a line in the new file")
    assert app.stop() == 0
    assert "Shutting down: Master" in (second / "error.log").read_text()
    assert "Shutting down: Master" not in (first / "error.log").read_text()


def test_a_stuck_logger_stops_neither_probes_nor_requests(serve, tmp_path, config):
    """What the fork server does not take is written by the arbiter itself."""
    app = serve("hello:app", *arguments("dict", tmp_path, config))
    (fork_server,) = app.fork_servers()
    os.kill(fork_server, signal.SIGSTOP)
    try:
        for _ in range(20):
            for _ in range(500):
                app.send(signal.SIGUSR2)
                app.send(signal.SIGWINCH)
            assert app.admin.status("/livez") == 200
            assert app.get().status == 200
    finally:
        os.kill(fork_server, signal.SIGCONT)
    assert app.stop() == 0


def test_log_format_json_says_that_it_has_no_effect(serve, tmp_path, config):
    app = serve("hello:app", "--log-format", "json", *arguments("dict", tmp_path, config))
    app.stop()
    assert "log_format json (command line --log-format) has no effect" in (tmp_path / "error.log").read_text()
