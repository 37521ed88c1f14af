"""Settings: where they come from, who wins, what they are by default, and what a mistake gets for an answer."""

import ast
import os
import re
import socket
import stat

import pytest
from podtest import http, processes
from podtest.ports import backlog
from podtest.server import RANDOM_UID, run, settle
from podtest.waiting import wait_until


def printed(text: str) -> dict[str, str]:
    """The lines ``name = value`` of --print-config."""
    return {m[1]: m[2] for line in text.splitlines() if (m := re.match(r"^(\w+)\s+= (.*)$", line))}


def plain(text: str) -> object:
    """A printed value without the order of a dict."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


# ---- defaults ----


def test_every_setting_of_gunicorn_is_known_with_the_same_default():
    from gunicorn import config

    ours = printed(run("--print-config", "hello:app").stdout)
    theirs = printed(run("--print-config", "hello:app", program="gunicorn").stdout)
    known = {setting.name for setting in config.KNOWN_SETTINGS}
    assert known <= set(theirs) | {"config"}
    assert not known - set(ours), "settings that Podicorn does not know"
    #: Objects of Gunicorn's own that print as addresses, and what PARITY.md lists as different on purpose.
    special = {"control_socket", "control_socket_disable", "print_config", "wsgi_app"}
    unlike = special | {name for name in known & set(theirs) if re.search(r" at 0x|^<", theirs[name])}
    hooks = {s.name for s in config.KNOWN_SETTINGS if s.section in ("Server Hooks", "Dirty Arbiter Hooks")}
    different = {
        name: (ours[name], theirs[name])
        for name in sorted(known - unlike - hooks)
        if name in theirs and ours[name] != theirs[name] and plain(ours[name]) != plain(theirs[name])
    }
    assert not different


def test_help_lists_every_flag_of_gunicorn_that_works():
    text = run("--help").stdout
    for flag in (
        "--bind", "--workers", "--worker-class", "--timeout", "--graceful-timeout", "--preload", "--chdir",
        "--pythonpath", "--user", "--group", "--backlog", "--max-requests", "--max-requests-jitter", "--log-level",
        "--access-logfile", "--access-logformat", "--error-logfile", "--config", "--env", "--umask",
        "--admin-bind", "--admin-token-file", "--boot-timeout", "--log-format", "--python",
    ):  # fmt: skip
        assert re.search(rf"{flag}\b", text), f"{flag} is not in --help"


def test_the_generated_reference_is_up_to_date():
    """docs/settings.md names every flag of --help, and no other."""
    from podtest.server import TESTS

    page = (TESTS.parent / "docs" / "settings.md").read_text()
    flags = set(re.findall(r"--[a-z][a-z0-9_-]+", run("--help").stdout)) - {"--help", "--version"}
    missing = {flag for flag in flags if flag not in page}
    assert not missing


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(flag):
    done = run(flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert "podicorn" in done.stdout


@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_version(flag):
    done = run(flag)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"podicorn \(version \d+\.\d+\.\d+\)\n", done.stdout)


# ---- precedence ----


@pytest.mark.parity
@pytest.mark.parametrize(
    ("file", "environment", "flags", "expected"),
    [
        (None, {}, [], "1"),
        (None, {"WEB_CONCURRENCY": "2"}, [], "2"),
        ("3", {"WEB_CONCURRENCY": "2"}, [], "3"),
        ("3", {"GUNICORN_CMD_ARGS": "--workers 4"}, [], "4"),
        ("3", {"GUNICORN_CMD_ARGS": "--workers 4"}, ["--workers", "5"], "5"),
        (None, {"GUNICORN_CMD_ARGS": "--workers=4 --threads 1"}, [], "4"),
    ],
)
def test_who_wins(tmp_path, file, environment, flags, expected):
    program = os.environ.get("PODTEST_PROGRAM", "podicorn")
    if file:
        (tmp_path / "gunicorn.conf.py").write_text(f"workers = {file}\n")
    done = run("--print-config", *flags, "hello:app", cwd=tmp_path, environment=environment, program=program)
    assert done.returncode == 0, done.stderr
    assert printed(done.stdout)["workers"] == expected


@pytest.mark.parametrize(
    ("file", "environment", "expected"),
    [
        ("3", {"PODICORN_WORKERS": "6"}, "6"),
        ("3", {"PODICORN_WORKERS": "6", "GUNICORN_CMD_ARGS": "-w 4"}, "4"),
        (None, {"PODICORN_WORKERS": "6", "WEB_CONCURRENCY": "2"}, "6"),
        (None, {"PODICORN_WORKERS": ""}, "1"),
    ],
)
def test_our_own_variables(tmp_path, file, environment, expected):
    if file:
        (tmp_path / "gunicorn.conf.py").write_text(f"workers = {file}\n")
    done = run("--print-config", "hello:app", cwd=tmp_path, environment=environment)
    assert printed(done.stdout)["workers"] == expected, done.stderr


@pytest.mark.parity
def test_port_of_the_environment(serve):
    from podtest.ports import free_port

    port = free_port()
    server = serve("hello:app", bind=False, environment={"PORT": str(port)}, ready=False)
    server.err.wait_for(f"Listening at: http://0.0.0.0:{port}")
    assert http.request(("127.0.0.1", port)).body == b"hello\n"


@pytest.mark.parity
def test_the_app_may_come_from_the_config_file(serve, config):
    assert serve("--config", config("wsgi_app = 'hello:app'\n")).get().body == b"hello\n"


@pytest.mark.parity
def test_the_command_line_names_another_app_than_the_file(serve, config):
    assert serve("--config", config("wsgi_app = 'probe:app'\n"), "hello:app").get().body == b"hello\n"


@pytest.mark.parity
def test_other_names_in_the_file_are_the_users_own(serve, config):
    """Names in upper case are no settings either."""
    path = config("WORKERS = 2\nmy_own_name = 5\nimport os\ndef helper(): pass\n")
    server = serve("--config", path, "probe:app")
    assert server.get("/environ").json()["values"]["wsgi.multiprocess"] == "False"


@pytest.mark.parity
@pytest.mark.parametrize("form", ["plain", "file:", "python:"])
def test_forms_of_the_config_path(serve, tmp_path, form):
    (tmp_path / "conf_of_today.py").write_text("raw_env = ['FROM=file']\n")
    name = {"plain": "conf_of_today.py", "file:": "file:conf_of_today.py", "python:": "python:conf_of_today"}[form]
    server = serve("--config", name, "probe:app", cwd=tmp_path)
    assert server.get("/identity").json()["environment"]["FROM"] == "file"


# ---- what they do ----


@pytest.mark.parity
def test_chdir_pythonpath_and_env(serve, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "from_the_lib.py").write_text("from probe import application\n")
    (tmp_path / "here").mkdir()
    server = serve(
        "--chdir", str(tmp_path / "here"), "--pythonpath", str(tmp_path / "lib"), "--env", "A=1", "-e", "B=two words",
        "from_the_lib",
    )  # fmt: skip
    identity = server.get("/identity").json()
    assert identity["cwd"] == str(tmp_path / "here")
    assert identity["environment"]["A"] == "1"
    assert identity["environment"]["B"] == "two words"


@pytest.mark.parity
@pytest.mark.skipif(os.getuid() != 0, reason="only root may change the user")
def test_user_and_group(serve, namespaces):
    server = serve("--user", str(RANDOM_UID), "--group", "12345", "probe:app", cwd="/", for_others=True)
    identity = server.get("/identity").json()
    assert (identity["uid"], identity["gid"], identity["groups"]) == (RANDOM_UID, 12345, [])


@pytest.mark.parity
@pytest.mark.parametrize(("flags", "mode"), [([], 0o777), (["--umask", "007"], 0o770), (["-m", "0o27"], 0o750)])
def test_umask_is_for_the_sockets_and_not_for_the_apps_files(serve, tmp_path, flags, mode):
    """Its default of 0 would make everything that the app writes open to all."""
    path = tmp_path / "s.sock"
    server = serve("--bind", f"unix:{path}", *flags, "probe:app")
    mine = os.umask(0o22)
    os.umask(mine)
    assert http.request(str(path), "/identity").json()["umask"] == mine
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert server.running()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may change the user")
def test_a_user_and_group_by_name(serve, namespaces):
    server = serve("--user", "nobody", "--group", "nogroup", "probe:app", cwd="/", for_others=True)
    identity = server.get("/identity").json()
    assert (identity["uid"], identity["gid"]) == (65534, 65534)


@pytest.mark.parity
def test_backlog_reaches_the_kernel(serve):
    server = serve("--backlog", "99", "hello:app")
    assert backlog(server.port) == 99


@pytest.mark.parity
def test_as_many_workers_as_asked_for(serve):
    server = serve("--workers", "3", "hello:app")
    wait_until(lambda: len(server.worker_pids()) == 3, "three workers")
    settle(0.5)
    assert len(server.worker_pids()) == 3


@pytest.mark.parity
def test_server_hooks_run(serve, config):
    text = "import os\n"
    hooks = {
        "on_starting": "server", "when_ready": "server", "pre_fork": "server, worker", "post_fork": "server, worker",
        "post_worker_init": "worker", "worker_exit": "server, worker", "on_exit": "server",
        "nworkers_changed": "server, new_value, old_value", "child_exit": "server, worker",
    }  # fmt: skip
    for name, parameters in hooks.items():
        text += f"def {name}({parameters}):\n    os.write(2, b'hook {name}\\n')\n"
    server = serve("--config", config(text), "hello:app")
    assert server.get().status == 200
    server.err.wait_for("^hook post_worker_init$")
    server.err.wait_for("^hook when_ready$")
    assert server.stop() == 0
    server.err.join()
    missing = [name for name in hooks if f"hook {name}\n" not in server.err.text]
    assert not missing


# ---- check and print ----


@pytest.mark.parity
def test_check_config(tmp_path):
    program = os.environ.get("PODTEST_PROGRAM", "podicorn")
    assert run("--check-config", "hello:app", program=program).returncode == 0
    (tmp_path / "bad.py").write_text("workers = 'many'\n")
    assert run("--check-config", "-c", "bad.py", "hello:app", cwd=tmp_path, program=program).returncode == 1
    broken = run("--check-config", "faults.import_raises:application", program=program)
    assert broken.returncode == 1
    assert "the database is not there" in broken.stderr


def test_check_config_does_not_listen():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("--check-config", "--bind", f"127.0.0.1:{port}", "hello:app").returncode == 0


# ---- mistakes ----

TRACE = re.compile(r"Traceback|panicked|\.rs:\d+|RUST_BACKTRACE|\bErr\(|Os \{|errno: ")


def one_clear_message(text: str, *words: str) -> None:
    """What and where; and neither a traceback nor a Rust debug dump, nor the same thing twice."""
    assert text.strip(), "nothing was said"
    assert not TRACE.search(text), text
    for word in words:
        assert re.search(word, text), f"{word!r} is not in:\n{text}"
    telling = [line for line in text.splitlines() if re.search(words[0], line)] if words else []
    assert len(telling) == len(set(telling)), f"said twice:\n{text}"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 1, ["no application module", "podicorn my"]),
        (["--no-such-flag", "hello:app"], 2, ["--no-such-flag"]),
        (["--workerz", "2", "hello:app"], 2, ["--workerz", "--workers"]),
        (["--workers"], 2, ["--workers"]),
        (["--workers", "many", "hello:app"], 2, ["workers", "many"]),
        (["--workers", "0", "hello:app"], 1, ["workers", "0"]),
        (["--workers", "-1", "hello:app"], 1, ["workers", "-1"]),
        (["--workers", "4..2", "hello:app"], 2, ["workers", r"4\.\.2"]),
        (["--workers", "1.5", "hello:app"], 2, ["workers", "1.5"]),
        (["--workers", "automatic", "hello:app"], 2, ["workers", "automatic", "or auto"]),
        (["--workers", "auto..8", "hello:app"], 2, ["workers", r"auto\.\.8", r"MIN\.\.MAX"]),
        (["--workers", "1..513", "hello:app"], 2, ["workers", r"1\.\.513", "512"]),
        (["--scale-down-delay", "soon", "hello:app"], 2, ["scale-down-delay|scale_down_delay", "soon"]),
        (["--timeout", "soon", "hello:app"], 2, ["timeout", "soon"]),
        (["--timeout", "-3", "hello:app"], 1, ["timeout", "-3"]),
        (["--bind", "nonsense:port:x", "hello:app"], 1, ["bind", "nonsense"]),
        (["--bind", "127.0.0.1:99999", "hello:app"], 1, ["99999"]),
        (["--bind", "127.0.0.1:http", "hello:app"], 1, ["http"]),
        (["--bind", "fd://77", "hello:app"], 1, ["fd://77|77"]),
        (["--bind", "fd://x", "hello:app"], 1, ["fd://x|x"]),
        (["--bind", "unix:/no/such/dir/s.sock", "hello:app"], 1, ["/no/such/dir"]),
        (["--bind", "192.0.2.1:8000", "hello:app"], 1, [r"192\.0\.2\.1"]),
        (["--bind", "no-such-host.invalid:8000", "hello:app"], 1, ["no-such-host.invalid"]),
        (["--config", "/no/such/file.py", "hello:app"], 1, ["/no/such/file.py"]),
        (["--config", "python:no_such_module", "hello:app"], 1, ["no_such_module"]),
        (["--chdir", "/no/such/dir", "hello:app"], 1, ["/no/such/dir"]),
        (["--user", "no-such-user", "hello:app"], 1, ["no-such-user"]),
        (["--group", "no-such-group", "hello:app"], 1, ["no-such-group"]),
        (["--worker-class", "no.such.Class", "hello:app"], 1, ["no.such.Class|worker.class"]),
        (["--log-format", "xml", "hello:app"], 1, ["xml", "text", "json"]),
        (["--python", "/no/such/python", "hello:app"], 1, ["/no/such/python"]),
        (["--python", "/bin/true", "hello:app"], 1, ["/bin/true"]),
        (["--error-logfile", "/no/such/dir/log", "hello:app"], 1, ["/no/such/dir/log"]),
        (["--access-logfile", "/no/such/dir/log", "hello:app"], 1, ["/no/such/dir/log"]),
        (["--admin-bind", "nonsense:x:y", "hello:app"], 1, ["admin", "nonsense"]),
        (["--admin-bind", "127.0.0.1:0", "--admin-token-file", "/no/such/token", "hello:app"], 1, ["/no/such/token"]),
        (["--umask", "group", "hello:app"], 2, ["umask", "group"]),
        (["--backlog", "-5", "hello:app"], 1, ["backlog", "-5"]),
        (["--daemon", "hello:app"], 1, ["daemon"]),
        (["--paste", "x.ini"], 1, ["paste"]),
        (["--dirty-app", "x:y", "hello:app"], 1, ["dirty"]),
        (["--protocol", "uwsgi", "hello:app"], 1, ["uwsgi|protocol"]),
        (["--env", "NOVALUE", "hello:app"], 1, ["NOVALUE", "="]),
        (["--max-requests", "1e3", "hello:app"], 2, ["max.requests", "1e3"]),
        (["--boot-timeout", "x", "hello:app"], 2, ["boot.timeout", "x"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value and value[0].startswith("--") else None,
)  # fmt: skip
def test_a_wrong_command_line(arguments, code, words, tmp_path):
    extra = [] if "--bind" in arguments else ["--bind", f"unix:{tmp_path}/s.sock"]
    done = run(*extra, *arguments)
    one_clear_message(done.stderr, *words)
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("workers = \n", ["bad.py", "line 1"]),
        ("def f(:\n", ["bad.py", "line 1"]),
        ("workers = 'many'\n", ["workers", "many", "bad.py"]),
        ("timeout = [1]\n", ["timeout", "bad.py"]),
        ("bind = 5\n", ["bind", "bad.py"]),
        ("preload_app = 'perhaps'\n", ["preload_app", "perhaps", "bad.py"]),
        ("post_fork = 'not a function'\n", ["post_fork", "bad.py"]),
        ("post_fork = lambda: None\n", ["post_fork", "bad.py"]),
    ],
)
def test_a_wrong_config_file(tmp_path, text, words):
    (tmp_path / "bad.py").write_text(text)
    done = run("-c", "bad.py", "--bind", f"unix:{tmp_path}/s.sock", "hello:app", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert "panicked" not in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "raise RuntimeError('no vault')\n",
        "import a_package_that_is_not_installed\n",
        "1 / 0\n",
        "import sys; sys.exit(5)\n",
    ],
)
def test_a_config_file_that_raises(tmp_path, text):
    (tmp_path / "bad.py").write_text(text)
    done = run("-c", "bad.py", "--bind", f"unix:{tmp_path}/s.sock", "hello:app", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "bad.py" in done.stderr
    assert re.search("no vault|a_package_that_is_not_installed|division by zero|5", done.stderr)


def test_an_unreadable_config_file(tmp_path, namespaces, serve):
    """As root nothing is unreadable: another user is."""
    path = tmp_path / "secret.conf.py"
    path.write_text("workers = 1\n")
    tmp_path.chmod(0o755)
    path.chmod(0)
    server = serve(
        "--config", str(path), "hello:app", pid1=True, uid=RANDOM_UID, ready=False, reach=[str(tmp_path)]
    )  # fmt: skip
    assert server.wait_exit() == 1
    server.err.join()
    assert str(path) in server.err.text
    assert "ermission" in server.err.text


def test_a_directory_as_config_file(tmp_path):
    done = run("-c", str(tmp_path), "hello:app")
    assert done.returncode == 1
    one_clear_message(done.stderr, re.escape(str(tmp_path)))


def test_a_config_file_that_is_not_utf_8(tmp_path):
    (tmp_path / "bad.py").write_bytes(b"workers = 2\nname = 'caf\xe9'\n")
    done = run("-c", "bad.py", "hello:app", cwd=tmp_path)
    assert done.returncode == 1
    assert "bad.py" in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PODICORN_WORKERS": "many"},
        {"WEB_CONCURRENCY": "many"},
        {"GUNICORN_CMD_ARGS": "--no-such-flag"},
        {"GUNICORN_CMD_ARGS": "--workers 'unclosed"},
        {"PORT": "eighty"},
    ],
    ids=lambda e: " ".join(f"{k}={v}" for k, v in e.items()),
)
def test_a_wrong_environment_names_the_variable(environment):
    done = run("hello:app", environment=environment)
    assert done.returncode in (1, 2)
    one_clear_message(done.stderr, next(iter(environment)))


def test_a_port_in_use():
    """Gunicorn's five tries, a second apart, then exit 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--bind", f"127.0.0.1:{port}", "hello:app")
    assert done.returncode == 1
    assert re.search(rf"127\.0\.0\.1:{port}|\('127\.0\.0\.1', {port}\)", done.stderr), done.stderr
    assert "in use" in done.stderr
    assert "panicked" not in done.stderr


def test_an_admin_port_in_use(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--bind", "127.0.0.1:0", "--admin-bind", f"127.0.0.1:{port}", "hello:app")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "in use" in done.stderr


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t", b"two words\n", b"caf\xe9\n", b"\0\n"])
def test_a_bad_token_file(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    done = run("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0", "--admin-token-file", str(path), "hello:app")
    assert done.returncode == 1
    one_clear_message(done.stderr, re.escape(str(path)))


def test_a_token_file_that_is_a_directory(tmp_path):
    done = run("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0", "--admin-token-file", str(tmp_path), "hello:app")
    assert done.returncode == 1
    one_clear_message(done.stderr, re.escape(str(tmp_path)))


@pytest.mark.skipif(os.getuid() != 0, reason="the change must be forbidden to somebody else than root")
def test_a_user_change_without_the_right_to_it(serve, namespaces):
    server = serve("--user", "nobody", "hello:app", pid1=True, uid=RANDOM_UID, ready=False)
    assert server.wait_exit(150) in (1, 3)
    server.err.join()
    assert re.search("nobody|65534", server.err.text)
    assert "ermi" in server.err.text  # permission, permitted


def test_accepted_settings_without_effect_say_so_once(serve):
    server = serve("--worker-tmp-dir", "/dev/shm", "hello:app")
    server.stop()
    server.err.join()
    assert len([line for line in server.err.lines() if re.search("worker.tmp.dir", line)]) == 1


def test_the_memory_of_a_mistake_is_short(tmp_path):
    """A wrong app in a right command line: the message names the spec and how to write one."""
    done = run("--bind", f"unix:{tmp_path}/s.sock", "hello:nothing_here")
    assert done.returncode == 4
    assert "nothing_here" in done.stderr
    assert "hello" in done.stderr


def test_several_wrong_things_at_once_end_at_the_first(tmp_path):
    done = run("--workers", "many", "--timeout", "soon", "hello:app")
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("Error")]) == 1


def test_the_admin_port_is_off_outside_a_pod_and_on_inside(serve):
    server = serve("hello:app", admin=False, ready=False)
    server.err.wait_for("Listening at")
    wait_until(lambda: "Booting worker" in server.err.text, "a worker")
    assert "9099" not in server.err.text
    inside = run(
        "--print-config", "hello:app", environment={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    )  # fmt: skip
    assert printed(inside.stdout)["admin_bind"] == "[::]:9099"
    assert printed(run("--print-config", "hello:app").stdout)["admin_bind"] in ("None", "off")


def test_a_misspelt_name_in_the_config_file_is_hinted_at(serve, config):
    path = config("worker = 3\nTimeout = 5\nimport os\nHELPER = 1\ndef compute(): pass\n")
    server = serve("probe:app", "--config", path)
    assert "the name worker is not a setting and has no effect; did you mean workers?" in server.err.text
    assert "the name Timeout is not a setting and has no effect; did you mean timeout?" in server.err.text
    assert "HELPER" not in server.err.text and "compute" not in server.err.text
    server.admin.wait_workers(1)


# ---- settings that no other test is about ----


@pytest.mark.parity
def test_the_processes_have_names(serve):
    server = serve("--name", "shop", "hello:app")
    server.get()
    named = server.program
    wait_until(
        lambda: processes.command_line(server.pid)[:1] == [f"{named}: master [shop]"],
        lambda: repr(processes.command_line(server.pid)),
    )
    titles = [processes.command_line(child.pid)[:1] for child in server.children() if not child.zombie]
    assert [f"{named}: worker [shop]"] in titles


@pytest.mark.parity
def test_the_default_name(serve, config):
    server = serve("--config", config("default_proc_name = 'kiosk'\n"), "hello:app")
    server.get()
    wait_until(
        lambda: processes.command_line(server.pid)[:1] == [f"{server.program}: master [kiosk]"],
        lambda: repr(processes.command_line(server.pid)),
    )


@pytest.mark.parity
def test_two_servers_share_a_port_with_reuse_port_only(serve):
    first = serve("--reuse-port", "probe:app")
    first.get()
    bind = f"127.0.0.1:{first.port}"
    second = serve("--reuse-port", "--bind", bind, "probe:app", bind=False, ready=False)
    second.err.wait_for("Listening at")
    second.err.wait_for("Booting worker")
    alone = run("--bind", bind, "probe:app", program=first.program)
    assert alone.returncode == 1
    assert "in use" in alone.stderr
    # The kernel deals connections to both.
    parents = set()

    def both_answer() -> bool:
        parents.add(http.request(first.address, "/identity").json()["ppid"])
        return len(parents) > 1

    wait_until(both_answer, "answers from both")


@pytest.mark.parity
@pytest.mark.skipif(os.getuid() != 0, reason="only root may change the user")
def test_initgroups_takes_the_users_groups(serve, namespaces):
    arguments = ("--user", "nobody", "--group", "12345", "probe:app")
    without = serve(*arguments, cwd="/", for_others=True)
    assert 12345 not in without.get("/identity").json()["groups"]
    with_them = serve("--initgroups", *arguments, cwd="/", for_others=True)
    assert 12345 in with_them.get("/identity").json()["groups"]


@pytest.mark.parity
@pytest.mark.parametrize(("flags", "seen"), [((), False), (("--forwarder-headers", "REMOTE_USER,X_TEAM"), True)])
def test_forwarder_headers_may_have_underscores(serve, flags, seen):
    server = serve(*flags, "probe:app")
    environ = server.get("/environ", headers=[("X_Team", "a"), ("X_Other", "b")]).json()["values"]
    assert ("HTTP_X_TEAM" in environ) is seen
    assert "HTTP_X_OTHER" not in environ


@pytest.mark.parity
@pytest.mark.parametrize(("flags", "status"), [((), b"400"), (("--permit-unconventional-http-version",), b"200")])
def test_an_unconventional_version(serve, flags, status):
    server = serve(*flags, "probe:app")
    with http.Connection(server.address) as connection:
        connection.send(b"GET / HTTP/2.0\r\nHost: a\r\nConnection: close\r\n\r\n")
        # Gunicorn answers in the version that it was asked in.
        assert connection.read_to_end().split(b" ")[1] == status


@pytest.mark.parity
@pytest.mark.parametrize(("value", "scheme"), [("on", "https"), ("off", "http")])
def test_secure_scheme_headers(serve, config, value, scheme):
    server = serve("--config", config("secure_scheme_headers = {'X-SHOP-TLS': 'on'}\n"), "probe:app")
    environ = server.get("/environ", headers=[("X-Shop-Tls", value)]).json()["values"]
    assert environ["wsgi.url_scheme"] == scheme
