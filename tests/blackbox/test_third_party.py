"""Worker classes made for Gunicorn. What they share with tornado is in test_socket_types.py."""

import json
import os
import re
import signal

import pytest
from podtest import http
from podtest.server import APPS, copy_apps, run
from podtest.socket_types import ALL, check_requests_seen
from podtest.waiting import wait_until

CLASSES = "socket_types.worker_classes"
APP = "socket_types.wsgi_app"


# ---- how a class is named ----


@pytest.fixture
def package(tmp_path) -> dict[str, str]:
    """An installed package that announces a worker class, as an environment that finds it."""
    info = tmp_path / "shop_workers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-workers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[gunicorn.workers]\nshop = {CLASSES}:Sync\n")
    return {"PYTHONPATH": f"{tmp_path}{os.pathsep}{APPS}"}


@pytest.mark.parametrize(
    "name",
    [pytest.param("egg:shop-workers#shop", marks=pytest.mark.parity), "egg:shop-workers", "shop", f"{CLASSES}:Sync"],
)
def test_other_ways_to_name_a_class(serve, package, name):
    server = serve("-k", name, APP, environment=package)
    server.err.wait_for(rf"Using worker: {re.escape(name)}$")
    assert server.get("/").status == 200


@pytest.mark.parity
@pytest.mark.parametrize("how", ["Mine", "'mine_module.Mine'", "lambda: Mine"])
def test_the_config_file_gives_a_class(serve, tmp_path, how):
    (tmp_path / "mine_module.py").write_text(
        "import os\n"
        "from gunicorn.workers.sync import SyncWorker\n"
        "class Mine(SyncWorker):\n"
        "    def run(self):\n"
        "        os.write(2, b'mine runs\\n')\n"
        "        super().run()\n"
    )
    path = tmp_path / "conf.py"
    path.write_text(f"from mine_module import Mine\nworker_class = {how}\n")
    server = serve(APP, "--config", str(path), environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{APPS}"})
    assert server.get("/").status == 200
    assert "mine runs" in server.err.text


def test_a_class_that_is_defined_in_the_config_file(serve, config):
    path = config(
        "import os\n"
        "from gunicorn.workers.sync import SyncWorker\n"
        "class worker_class(SyncWorker):\n"
        "    def run(self):\n"
        "        os.write(2, b'mine runs\\n')\n"
        "        super().run()\n"
    )
    server = serve(APP, "--config", path)
    assert server.get("/").status == 200
    assert "mine runs" in server.err.text


def test_the_command_line_wins_over_the_config_file(serve, config):
    server = serve(
        APP, "-k", "sync", "--config", config("from gunicorn.workers.gthread import ThreadWorker as worker_class\n")
    )
    server.err.wait_for(r"Using worker: sync$")
    assert server.get("/").header("Connection") == "close"


@pytest.mark.parametrize("name", ["gunicorn.workers.sync.SyncWorker", "gunicorn.workers.gthread.ThreadWorker"])
def test_gunicorns_own_classes_mean_our_types(serve, config, name):
    module, _, named = name.rpartition(".")
    for arguments in (("-k", name), ("--config", config(f"from {module} import {named} as worker_class\n"))):
        server = serve(APP, *arguments)
        server.err.wait_for(r"Using worker: (sync|gthread)$")
        assert server.get("/").header("Server").startswith("podicorn")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gevnt", "there is no worker type 'gevnt'"),
        ("no.such.module.Class", "there is no module 'no'"),
        ("socket_types.nothing.Class", "there is no module 'socket_types.nothing'"),
        (f"{CLASSES}.Nothing", "has no 'Nothing'"),
        (f"{CLASSES}.Nobody", "no subclass of gunicorn.workers.base.Worker"),
        (f"{CLASSES}:Sync.Inner", "has no 'Sync.Inner'"),
        ("faults.import_raises.Class", "the database is not there"),
        ("egg:no-such-package#x", "'no-such-package' is not installed"),
        ("egg:pip#x", "pip has: none"),
    ],
)
def test_a_class_that_is_not_there(name, says):
    done = run("--bind", "127.0.0.1:0", "-k", name, APP)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Booting worker" not in done.stderr
    done = run("--bind", "127.0.0.1:0", "-k", name, "--check-config", APP)
    assert done.returncode == 1
    assert says in done.stderr


@pytest.mark.parametrize("name", ["uvicorn.workers.UvicornWorker", f"{CLASSES}.Sync"])
def test_without_gunicorn_it_says_what_to_install(tmp_path, name):
    (tmp_path / "gunicorn").mkdir()
    (tmp_path / "gunicorn" / "__init__.py").write_text("raise ImportError('it is not here')\n")
    path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{APPS}"}
    done = run("--bind", "127.0.0.1:0", "-k", name, APP, environment=path)
    assert done.returncode == 1
    assert "pip install podicorn[gunicorn]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reload_to_a_class_that_is_not_there_changes_nothing(serve, tmp_path):
    path = tmp_path / "conf.py"
    path.write_text(f"worker_class = '{CLASSES}.Sync'\n")
    server = serve(APP, "--config", str(path))
    before = server.admin.pids()
    path.write_text(f"worker_class = '{CLASSES}.Gone'\n")
    server.send(signal.SIGHUP)
    wait_until(lambda: server.admin.pool()["reloads"]["failed"] == 1, "the failed reload")
    assert server.admin.pids() == before
    path.write_text("worker_class = 'sync'\n")
    server.send(signal.SIGHUP)
    wait_until(lambda: server.admin.pool()["generation"] > 1 and server.admin.pids() not in ([], before), "the change")
    wait_until(lambda: (server.get("/").header("Server") or "").startswith("podicorn"), "an answer of the engine")


# ---- what a class is given ----


@pytest.mark.parity
def test_what_gunicorns_arbiter_gives_to_its_workers(serve, config):
    """The same under both servers, but for the names that say which of them it is."""
    path = config(
        "raw_env = ['COLOUR=blue']\n"
        "max_requests = 1000\n"
        "threads = 3\n"
        "keepalive = 5\n"
        "forwarded_allow_ips = '10.0.0.0/8'\n"
        "secure_scheme_headers = {'X-PROTO': 'tls'}\n"
        "accesslog = '-'\n"
        "def post_fork(server, worker): pass\n"
    )
    server = serve("-k", f"{CLASSES}.Seen", "--config", path, "--timeout", "20", APP)
    seen = server.get("/seen").json()
    address = ["127.0.0.1", server.port]
    settings = seen.pop("settings")
    assert seen == {
        "types": ["Config", "TCPSocket"],
        "str": [f"http://127.0.0.1:{server.port}"],
        "cfg_addr": [address],
        "family": [2],
        "name": [address],
        "fds": [False],
        "blocking": [False],
        "conf": [True],
        "listener": f"http://127.0.0.1:{server.port}",
        "timeout": 10.0,
        "max_requests": 1000,
        "alive": True,
        "booted": True,
        "parent": True,
        "is_ssl": False,
        "address": [address],
        "worker_class": True,
        "worker_class_str": f"{CLASSES}.Seen",
        "env": {"COLOUR": "blue"},
        "app": [True, True, True, True],
        "app_cfg": True,
        "loaded": True,
        "log": [True] * 5,
        "log_cfg": True,
        "access_log_enabled": True,
        "tmp": [True, True],
        "string": True,
    }
    # Every setting of Gunicorn's, in the form in which its own check leaves it.
    from gunicorn.config import Config

    expected = {name: _plain(setting.get()) for name, setting in Config().settings.items()}
    expected |= {
        "accesslog": "-",
        "bind": [f"127.0.0.1:{server.port}"],
        "config": path,
        "forwarded_allow_ips": ["10.0.0.0/8"],
        "keepalive": 5,
        "max_requests": 1000,
        "raw_env": ["COLOUR=blue"],
        "secure_scheme_headers": {"X-PROTO": "tls"},
        "threads": 3,
        "timeout": 20,
        "worker_class": f"{CLASSES}.Seen",
        "default_proc_name": APP,
        "chdir": str(APPS),
    }
    differing = {name: settings[name] for name, value in expected.items() if settings[name] != value}
    # The server's own: its app, its name, and what it has no use for.
    for name in ("wsgi_app", "proc_name", "control_socket", "control_socket_disable"):
        differing.pop(name, None)
    assert differing == {}


def _plain(value):
    return value if isinstance(value, (int, str, list, dict, type(None))) else "object"


def test_our_own_settings_are_attributes(serve, config):
    path = config(
        "def post_worker_init(worker):\n"
        "    import os\n"
        "    os.write(2, f'head_timeout {worker.cfg.head_timeout} type {worker.cfg.worker_type}\\n'.encode())\n"
    )
    server = serve("-k", f"{CLASSES}.Sync", "--config", path, "--head-timeout", "7", APP)
    assert "head_timeout 7 type third-party" in server.err.text


def test_sockets_of_each_family(serve, tmp_path):
    path = str(tmp_path / "s")
    serve(
        "-k", f"{CLASSES}.Seen", "--bind", f"unix:{path}", "--bind", "[::1]:0", APP, bind=False,
    )  # fmt: skip
    seen = http.request(path, "/seen").json()
    tcp = next(text for text in seen["str"] if text.startswith("http"))
    port = int(tcp.rpartition(":")[2])
    assert seen["types"][1:] == ["UnixSocket", "TCP6Socket"]
    assert seen["str"] == [f"unix:{path}", f"http://[::1]:{port}"]
    assert seen["cfg_addr"] == [path, ["::1", port]]
    assert seen["listener"] == f"unix:{path}"
    assert http.request(("::1", port), "/seen").json()["listener"] == tcp


@pytest.mark.parity
def test_the_life_of_a_worker_in_its_order(serve):
    server = serve("-k", f"{CLASSES}.Told", "--timeout", "20", APP)
    (worker,) = server.worker_pids()
    assert server.get("/").text == str(worker)
    assert server.stop() == 0
    said = re.findall(r"^class: (.*)$", server.err.text, re.MULTILINE)
    made, *life = said
    assert re.fullmatch(r"made, age 1, timeout 10\.0 in \d+", made)
    assert not made.endswith(f" {worker}"), "it is made before the fork"
    assert life == [
        f"{text} in {worker}"
        for text in ("init_process, booted False", "init_signals", "load_wsgi", "run, booted True", "run returns")
    ]
    assert "class: check_config 1" in server.err.text


@pytest.mark.parity
@pytest.mark.parametrize("log", ["text", "json"])
def test_the_access_log_is_the_classs_own(serve, log):
    if os.environ.get("PODTEST_PROGRAM") == "gunicorn" and log == "json":
        pytest.skip("Gunicorn has no log_format")
    arguments = ["--log-format", "json"] if log == "json" else []
    server = serve("-k", f"{CLASSES}.Sync", "--access-logfile", "-", *arguments, APP)
    server.get("/identity?a=b", headers={"User-Agent": "tester"})
    said = server.out.wait_for(r"^(.*GET /identity.*)$")[1]
    line = json.loads(said)["message"] if log == "json" else said
    assert re.fullmatch(r'127\.0\.0\.1 - - \[[^]]+\] "GET /identity\?a=b HTTP/1\.1" 200 \d+ "-" "tester"', line)


def test_the_requests_of_gunicorns_own_classes_are_counted(serve, gate, config):
    path = config(
        "import os\n"
        "def pre_request(worker, req): os.write(2, f'pre {req.path}\\n'.encode())\n"
        "def post_request(worker, req, environ, resp): os.write(2, f'post {resp.status}\\n'.encode())\n"
    )
    for kind in ("sync-subclass", "gthread-subclass"):
        server = serve(*ALL[kind], "--config", path, environment=gate.environment)
        check_requests_seen(server, gate)
        assert "pre /nothing" in server.err.text
        assert "post 404 Not Found" in server.err.text


# ---- starting ----


@pytest.mark.parametrize(
    "line", [ALL["uvicorn.workers"], ALL["uvicorn_worker"]], ids=["uvicorn.workers", "uvicorn_worker"]
)
def test_a_lifespan_that_fails_is_a_failed_boot(serve, line):
    """Ready is not when the loop begins, but when the class first says that it is alive."""
    server = serve(*line, environment={"LIFESPAN_FAILS": "1"}, ready=False)
    assert server.wait_exit() == 3
    assert "the database is not there" in server.err.text
    assert server.err.text.count("Booting worker") == 1


def test_a_reload_whose_lifespan_fails_changes_nothing(serve, tmp_path):
    path = tmp_path / "conf.py"
    path.write_text("")
    server = serve(*ALL["uvicorn.workers"], "--config", str(path))
    before = server.admin.pids()
    path.write_text("raw_env = ['LIFESPAN_FAILS=1']\n")
    server.send(signal.SIGHUP)
    wait_until(lambda: server.admin.pool()["reloads"]["failed"] == 1, "the failed reload")
    assert server.admin.pids() == before
    assert server.admin.ready()
    assert server.get("/").text == str(before[0])


def test_lifespans_end_with_their_workers(serve):
    server = serve(*ALL["uvicorn.workers"], "--workers", "2")
    server.admin.wait_workers(2)
    assert server.stop() == 0
    assert server.err.text.count("lifespan: startup") == server.err.text.count("lifespan: shutdown") == 2


def test_aiohttps_other_form_of_app(serve):
    server = serve("-k", "aiohttp.GunicornWebWorker", "socket_types.aiohttp_app:factory", "--workers", "2")
    server.admin.wait_workers(2)
    assert server.get("/").status == 200
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("place", "code", "says"),
    [("init_process", 3, "no init_process today"), ("run", 255, "no run today")],
)
def test_a_class_that_fails_at_its_start(serve, place, code, says):
    server = serve("-k", f"{CLASSES}.Fails", APP, environment={"FAILS_IN": place}, ready=False)
    server.err.wait_for(says)
    server.err.wait_for(rf"exited with code {code}")
    if code == 3:
        assert server.wait_exit() == 3
    else:
        # Not the app's failure for sure: it is tried again, more slowly each time.
        server.err.wait_for("trying again in")
        assert server.stop() == 0


def test_a_class_of_which_no_worker_can_be_made(serve):
    server = serve("-k", f"{CLASSES}.Fails", APP, environment={"FAILS_IN": "init"}, ready=False)
    server.err.wait_for("no worker could be made: RuntimeError: no init today")
    assert server.stop() == 0


def test_a_class_without_a_loop_is_refused_by_its_own_error(serve):
    server = serve("-k", f"{CLASSES}.Abstract", APP, ready=False)
    server.err.wait_for("NotImplementedError")
    server.err.wait_for("exited with code 255")
    assert server.stop() == 0


def test_an_error_after_the_start_ends_the_worker_with_255(serve):
    server = serve("-k", f"{CLASSES}.Fails", APP, environment={"FAILS_IN": "service"})
    (before,) = server.admin.pids()
    assert server.get("/").text == str(before)
    server.err.wait_for("RuntimeError: no service today")
    server.err.wait_for(rf"Worker \(pid:{before}\) exited with code 255")
    wait_until(lambda: server.admin.pids() not in ([], [before]), "another worker")


# ---- signals ----


def test_a_class_that_leaves_signals_alone_still_runs_hooks(serve, config):
    """Uvicorn's does, until its loop runs, and again after it: then a signal would end the process with no hook."""
    path = config("import os\ndef worker_exit(server, worker): os.write(2, b'worker_exit hook ran\\n')\n")
    server = serve("-k", f"{CLASSES}.Careless", APP, "--config", path)
    (worker,) = server.admin.pids()
    os.kill(worker, signal.SIGTERM)
    server.err.wait_for("worker_exit hook ran")
    server.err.wait_for(rf"Worker exiting \(pid: {worker}\)")
    wait_until(lambda: server.admin.pids() not in ([], [worker]), "another worker")
    assert not re.search("was killed by|was sent SIGTERM", server.err.text)


@pytest.mark.parametrize("kind", ["uvicorn.workers", "sync-subclass"])
def test_abort_runs_its_hook(serve, config, kind):
    path = config("import os\ndef worker_abort(worker): os.write(2, b'worker_abort hook ran\\n')\n")
    server = serve(*ALL[kind], "--timeout", "2", "--config", path)
    with server.connect() as client:
        client.send(http.head("GET", "/hang"))
        client.read_to_end()
    server.err.wait_for("worker_abort hook ran")


def test_a_worker_that_boots_gets_term(serve, gate):
    server = serve(
        "-k", f"{CLASSES}.Sync", "faults.import_held:application", ready=False, environment=gate.environment,
    )  # fmt: skip
    gate.wait(1, "import")
    assert server.stop() == 0
    assert not server.family()


# ---- new code ----


def test_a_reload_brings_new_code_of_the_class(serve, tmp_path):
    directory = copy_apps(tmp_path / "site", "socket_types", "gate_client.py")
    source = directory / "socket_types" / "worker_classes.py"
    server = serve("-k", f"{CLASSES}.Sync", APP, cwd=directory, environment={"PYTHONPATH": str(directory)})
    text = source.read_text()
    source.write_text(text.replace('class Sync(SyncWorker):\n    """Gunicorn\'s, unchanged."""', _NEW_SYNC))
    assert source.read_text() != text
    server.send(signal.SIGHUP)
    server.err.wait_for("new class runs")
    wait_until(lambda: server.admin.pool()["generation"] == 2, "the second generation")
    assert server.get("/").status == 200


_NEW_SYNC = """class Sync(SyncWorker):
    def run(self):
        os.write(2, b"new class runs\\n")
        super().run()
"""


def test_the_memory_behind_tmp_is_no_file(serve):
    server = serve("-k", f"{CLASSES}.Sync", APP)
    (worker,) = server.worker_pids()
    links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{worker}/fd")]
    assert [link for link in links if "podicorn-heartbeat" in link], links
    assert not [link for link in links if link.startswith(("/tmp", "/dev/shm", "/var"))], links
