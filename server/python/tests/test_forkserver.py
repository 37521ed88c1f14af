"""The fork server and its workers over the control socket, with a fake engine."""

import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from podicorn import stacks

APP = "def application(environ, start_response): return []\n"


def test_the_life_of_a_worker(project, serve):
    project(app=APP)
    arbiter = serve()
    arbiter.boot()
    reply = arbiter.spawn(age=3)
    arbiter.wait_err("engine: runs")
    os.kill(reply["pid"], signal.SIGTERM)
    assert arbiter.wait_worker(reply["pid"]) == 0
    said = arbiter.err()
    pid = reply["pid"]
    order = [
        rf"\[{pid}\] \[INFO\] Booting worker with pid: {pid}",
        r"engine: listeners \['http://127\.0\.0\.1:\d+'\] max_requests 0\+0",
        "engine: state 2",
        "engine: stop",
        "engine: run returns",
        "engine: state 4",
        rf"Worker exiting \(pid: {pid}\)",
    ]
    assert re.search("(?s)" + ".*".join(order), said), said
    assert arbiter.hang_up() == 0


def test_hooks_run_in_order_and_place(project, serve):
    project(
        app="print('import app', flush=True)\n" + APP,
        config="""
import os
def say(name, *args):
    print(name, os.getpid(), *args, flush=True)
def on_starting(server): say("on_starting", server.pid, server.cfg.workers, server.num_workers)
def on_reload(server): say("on_reload")
def when_ready(server): say("when_ready", *server.LISTENERS)
def pre_fork(server, worker): worker.mark = "kept"; say("pre_fork", worker.age, worker.pid)
def post_fork(server, worker): say("post_fork", worker.pid, worker.mark, worker.ppid)
def post_worker_init(worker): say("post_worker_init", callable(worker.wsgi))
def worker_int(worker): say("worker_int")
def worker_exit(server, worker): say("worker_exit", worker)
def child_exit(server, worker): say("child_exit", worker.pid, worker.mark, len(server.WORKERS))
def nworkers_changed(server, new, old): say("nworkers_changed", new, old, server.num_workers)
def on_exit(server): say("on_exit")
""",
    )
    arbiter = serve()
    config = arbiter.load_config()
    assert config["values"] == {}
    assert config["python"] == sorted(config["python"])
    assert {"pre_fork", "on_exit", "child_exit"} <= set(config["python"])
    assert arbiter.start(workers=2)["type"] == "started"
    assert arbiter.hook("nworkers_changed", new=2, old=None)["error"] is None
    assert arbiter.hook("when_ready")["error"] is None
    pid = arbiter.ready_worker(age=5)
    os.kill(pid, signal.SIGINT)
    assert arbiter.wait_worker(pid) == 0
    assert arbiter.hook("child_exit", pid=pid, age=5)["error"] is None
    assert arbiter.hook("on_exit")["error"] is None
    me, server = os.getpid(), arbiter.process.pid
    said = arbiter.out().splitlines()
    assert [line for line in said if "when_ready" not in line] == [
        f"on_starting {server} {me} 2 2",
        f"nworkers_changed {server} 2 None 2",
        f"pre_fork {server} 5 [booting]",
        f"post_fork {pid} {pid} kept {me}",
        "import app",
        f"post_worker_init {pid} True",
        f"worker_int {pid}",
        f"worker_exit {pid} <Worker {pid}>",
        f"child_exit {server} {pid} kept 0",
        f"on_exit {server}",
    ]
    assert any(line.startswith(f"when_ready {server} http://127.0.0.1:") for line in said)


def test_a_reload_runs_on_reload(project, serve):
    project(app=APP, config="def on_starting(server): print('no')\ndef on_reload(server): print('yes')\n")
    arbiter = serve()
    arbiter.load_config()
    assert arbiter.start(reload=True)["type"] == "started"
    arbiter.wait_out("yes")
    assert "no" not in arbiter.out()


def test_a_fork_server_that_takes_the_place_of_a_dead_one_runs_neither(project, serve):
    project(app=APP, config="def on_starting(server): print('no')\ndef on_reload(server): print('no')\n")
    arbiter = serve()
    arbiter.load_config()
    assert arbiter.start(hooks_run=True)["type"] == "started"
    assert arbiter.out() == ""


def test_a_hook_that_fails_is_told(project, serve):
    project(app=APP, config="def when_ready(server): raise ValueError('not yet')\n")
    arbiter = serve()
    arbiter.boot()
    error = arbiter.hook("when_ready")["error"]
    assert error.startswith("Traceback") and error.endswith("ValueError: not yet")
    assert "forkserver.py" not in error
    assert arbiter.hook("on_exit")["error"] is None


def test_on_starting_that_fails_ends_the_start(project, serve):
    project(app=APP, config="def on_starting(server): raise ValueError('never')\n")
    arbiter = serve()
    arbiter.load_config()
    said = arbiter.start()
    assert (said["type"], said["kind"], said["exit_code"]) == ("failed", "config", 1)
    assert said["message"] == "hook on_starting failed: ValueError: never"
    assert "raise ValueError" in said["traceback"]


def test_pre_fork_that_fails_costs_one_spawn(project, serve):
    project(app=APP, config="n = 0\ndef pre_fork(server, worker):\n    if worker.age == 1: raise ValueError('once')\n")
    arbiter = serve()
    arbiter.boot()
    said = arbiter.spawn(age=1)
    assert (said["type"], said["kind"]) == ("failed", "hook")
    arbiter.ready_worker(age=2)


@pytest.mark.parametrize("hook", ["post_fork(server, worker)", "post_worker_init(worker)"])
def test_hooks_that_fail_in_the_boot(project, serve, hook):
    project(app=APP, config=f"def {hook}: raise ValueError('no luck')\n")
    arbiter = serve()
    arbiter.boot()
    assert arbiter.wait_worker(arbiter.spawn()["pid"]) == 3
    assert f"hook {hook.partition('(')[0]} failed: ValueError: no luck" in arbiter.err()
    assert "Traceback" in arbiter.err()


def test_a_fork_that_fails_is_not_fatal(project, serve):
    project(app=APP)
    arbiter = serve(environment={"FAKE_FORK_FAILS": "1"})
    arbiter.boot()
    for _ in range(2):
        said = arbiter.spawn()
        assert (said["kind"], said["message"]) == (
            "fork",
            "cannot fork a worker: Resource temporarily unavailable",
        )


# ---- config ----


def test_variables_are_set_before_the_config_file(project, serve):
    project(app=APP, config="import os, sys\nworkers = int(os.environ['N'])\nchdir = sys.path[0]\n")
    arbiter = serve()
    reply = arbiter.load_config(env=["N=4"])
    assert reply["values"]["workers"] == 4
    assert reply["values"]["chdir"] == os.fspath(project())


def test_the_config_file_is_looked_for_where_the_server_starts(project, serve):
    """As measured of Gunicorn 27: `--chdir sub` reads ./gunicorn.conf.py, not sub/gunicorn.conf.py."""
    root = project(config="timeout = 1\n")
    (root / "sub").mkdir()
    (root / "sub" / "gunicorn.conf.py").write_text("timeout = 2\n")
    (root / "sub" / "inside.py").write_text("import os, sys\nprint('at', os.getcwd(), sys.path[:2])\n" + APP)
    arbiter = serve()
    assert arbiter.load_config(chdir="sub")["values"] == {"timeout": 1}
    arbiter.start(chdir=str(root / "sub"), wsgi_app="inside")
    arbiter.ready_worker()
    assert arbiter.out() == f"at {root}/sub ['{root}/sub', '{root}']\n"


def test_config_imports_from_pythonpath(project, serve):
    root = project(config="from shared import timeout\n")
    (root / "lib").mkdir()
    (root / "lib" / "shared.py").write_text("timeout = 9\n")
    assert serve().load_config(pythonpath="lib, other")["values"] == {"timeout": 9}


def test_a_wrong_config_file_is_told(project, serve):
    project(config="workers = = 3\n")
    said = serve().load_config()
    assert (said["type"], said["kind"], said["exit_code"]) == ("failed", "config", 1)
    assert "gunicorn.conf.py: SyntaxError line 1" in said["message"]
    assert "workers = = 3" in said["traceback"]


def test_wrong_variables_are_told(project, serve):
    arbiter = serve()
    assert "'NOPE' is not of the form KEY=VALUE" in arbiter.load_config(env=["NOPE"])["message"]


def test_a_directory_that_is_not_there(project, serve):
    project(app=APP)
    arbiter = serve()
    arbiter.load_config()
    assert "cannot change to the directory '/no/such/place'" in arbiter.start(chdir="/no/such/place")["message"]


def test_a_large_config_fits_or_is_refused(project, serve):
    project(config="raw_env = ['K=' + 'v' * 100_000]\n")
    arbiter = serve()
    assert len(arbiter.load_config()["values"]["raw_env"][0]) == 100_002
    project(config="raw_env = ['K=' + 'v' * 2_000_000]\n")
    said = serve().load_config()
    assert (said["type"], said["kind"]) == ("failed", "internal")
    assert "'load_config' is too large" in said["message"]


def test_a_traceback_is_cut_to_fit(project, serve):
    project(config="raise ValueError('x' * 3_000_000)\n")
    said = serve().load_config()
    assert said["kind"] == "config"
    assert "characters left out" in said["traceback"]


def test_requests_out_of_order(serve):
    arbiter = serve()
    said = arbiter.request("hook", name="on_exit")
    assert (said["kind"], said["message"]) == ("internal", "'hook' came before 'start'")
    assert "knows no request 'dance'" in arbiter.request("dance")["message"]


# ---- the app ----


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("raise ValueError('broken')", 3, "cannot load the app 'app:application': ValueError: broken"),
        ("x = 1", 4, "has no 'application'"),
        ("import sys; sys.exit(0)", 3, "called sys.exit(0)"),
        ("import nowhere_to_be_found", 3, "No module named 'nowhere_to_be_found'"),
        ("raise KeyboardInterrupt", 3, "KeyboardInterrupt"),
    ],
)
@pytest.mark.parametrize("preload", [False, True])
def test_apps_that_do_not_load(project, serve, text, code, message, preload):
    project(app=text)
    arbiter = serve()
    arbiter.load_config()
    started = arbiter.start(preload_app=preload)
    if preload:
        assert (started["type"], started["exit_code"]) == ("failed", code)
        assert message in started["message"]
        return
    assert arbiter.wait_worker(arbiter.spawn()["pid"]) == code
    assert message in arbiter.err()
    assert arbiter.err().count("Worker exiting") == 1


def test_a_thread_that_outlives_a_failed_import_does_not_hold_the_worker(project, serve):
    project(app="import threading\nthreading.Thread(target=threading.Event().wait, name='stuck').start()\nx = 1 / 0\n")
    arbiter = serve()
    arbiter.boot()
    assert arbiter.wait_worker(arbiter.spawn()["pid"]) == 3
    assert "without waiting longer for its threads: stuck" in arbiter.err()


def test_preload_imports_once_and_freezes(project, serve):
    project(
        app="import gc, os\nprint('import in', os.getpid(), flush=True)\nclass App:\n"
        "    def __call__(self, environ, start_response): pass\n"
        "    def run(self): print('frozen', gc.get_freeze_count() > 1000, flush=True)\n"
        "application = App()\n"
    )
    arbiter = serve()
    started = arbiter.boot(preload_app=True)
    assert started["preloaded"] is True
    arbiter.ready_worker(age=1)
    arbiter.ready_worker(age=2, slot=1)
    arbiter.wait_out("(?s)frozen True.*frozen True")
    assert arbiter.out().count("import in") == 1
    assert f"import in {arbiter.process.pid}\n" in arbiter.out()


def test_threads_of_a_preloaded_app_are_named(project, serve):
    project(
        app="import threading\nthreading.Thread(target=threading.Event().wait, name='pusher', daemon=True).start()\n"
        + APP
    )
    assert serve().boot(preload_app=True)["threads"] == ["pusher"]


def test_what_a_preloaded_app_changes_does_not_harm(project, serve):
    project(
        app="""
import faulthandler, io, os, signal, sys
signal.signal(signal.SIGTERM, lambda *a: os._exit(99))
signal.signal(signal.SIGINT, signal.default_int_handler)
faulthandler.unregister(signal.SIGRTMIN + 6)
os.chdir("/")
sys.stdout = io.StringIO()
"""
        + APP
    )
    arbiter = serve()
    arbiter.boot(preload_app=True)
    os.kill(arbiter.process.pid, signal.SIGTERM)
    os.kill(arbiter.process.pid, signal.SIGINT)
    os.kill(arbiter.process.pid, signal.SIGRTMIN + 6)
    pid = arbiter.ready_worker()
    arbiter.wait_stack(arbiter.stacks, "in serve")
    os.kill(pid, signal.SIGTERM)
    assert arbiter.wait_worker(pid) == 0


def test_programs_that_a_preloaded_app_starts_can_be_terminated(project, serve):
    project(
        app="import subprocess\nhelper = subprocess.Popen(['sleep', '1000'])\nhelper.terminate()\n"
        "print('ended', helper.wait(), flush=True)\n" + APP
    )
    arbiter = serve()
    arbiter.boot(preload_app=True)
    arbiter.wait_out("ended -15")


def test_exit_handlers_run_in_workers_only(project, serve):
    project(app="import atexit, os\natexit.register(lambda: print('bye', os.getpid(), flush=True))\n" + APP)
    arbiter = serve()
    arbiter.boot(preload_app=True)
    pid = arbiter.ready_worker()
    os.kill(pid, signal.SIGTERM)
    assert arbiter.wait_worker(pid) == 0
    assert arbiter.hang_up() == 0
    assert arbiter.out() == f"bye {pid}\n"


def test_prints_are_seen_line_by_line(project, serve):
    project(app="print('hello from the app')\n" + APP)
    arbiter = serve()
    arbiter.boot()
    arbiter.ready_worker()
    arbiter.wait_out("hello from the app")


def test_sys_argv_is_the_servers_command_line(project, serve):
    project(app="import sys\nprint('argv', sys.argv[0], flush=True)\n" + APP)
    with open("/proc/self/cmdline", "rb") as file:
        first = file.read().split(b"\0")[0].decode()
    arbiter = serve()
    arbiter.boot(preload_app=True)
    arbiter.wait_out(f"^argv {re.escape(first)}$")


# ---- signals ----


def test_a_worker_whose_slot_was_given_up_leaves_at_once(project, serve):
    project(app="print('imported', flush=True)\n" + APP)
    arbiter = serve()
    arbiter.boot()
    assert arbiter.wait_worker(arbiter.spawn(epoch=0)["pid"]) == 0
    assert "imported" not in arbiter.out()


def test_term_during_the_import_ends_the_worker(project, serve):
    project(app="import time\nprint('importing', flush=True)\ntry:\n    time.sleep(1000)\nexcept: pass\n1 / 0\n")
    arbiter = serve()
    arbiter.boot()
    pid = arbiter.spawn()["pid"]
    arbiter.wait_out("importing")
    os.kill(pid, signal.SIGTERM)
    assert arbiter.wait_worker(pid) == 0
    assert "Traceback" not in arbiter.err()


BUSY = """
import time
class App:
    def __call__(self, environ, start_response): pass
    def run(self):
        print("busy", flush=True)
        try:
            time.sleep(1000)
        except {caught}:
            print("interrupted", flush=True)
application = App()
"""


@pytest.mark.parametrize("caught", ["ValueError", "BaseException"])
@pytest.mark.parametrize(
    ("number", "code", "hook"), [("INT", 0, "worker_int"), ("QUIT", 0, "worker_int"), ("ABRT", 1, "worker_abort")]
)
def test_quick_stops(project, serve, caught, number, code, hook):
    project(app=BUSY.format(caught=caught), config=f"def {hook}(worker): print('hook', worker.alive, flush=True)\n")
    arbiter = serve()
    arbiter.boot()
    pid = arbiter.spawn()["pid"]
    arbiter.wait_out("busy")
    os.kill(pid, getattr(signal, f"SIG{number}"))
    assert arbiter.wait_worker(pid) == code
    assert "hook False" in arbiter.out()
    assert "Worker exiting" in arbiter.err()


def test_term_lets_the_request_finish(project, serve):
    project(app=BUSY.format(caught="BaseException").replace("1000", "0.5").replace("interrupted", "wrong"))
    arbiter = serve()
    arbiter.boot()
    pid = arbiter.spawn()["pid"]
    arbiter.wait_out("busy")
    os.kill(pid, signal.SIGTERM)
    assert arbiter.wait_worker(pid) == 0
    assert "wrong" not in arbiter.out()
    assert "run returns" in arbiter.err()


def test_an_exception_that_escapes_is_255(project, serve):
    project(
        app="class App:\n    def __call__(self, e, s): pass\n    def run(self): raise ValueError('escaped')\n"
        "application = App()\n"
    )
    arbiter = serve()
    arbiter.boot()
    assert arbiter.wait_worker(arbiter.spawn()["pid"]) == 255
    assert "Exception in worker process" in arbiter.err() and "ValueError: escaped" in arbiter.err()


def test_an_exit_in_the_app_is_its_exit_code(project, serve):
    project(
        app="import sys\nclass App:\n    def __call__(self, e, s): pass\n    def run(self): sys.exit(42)\n"
        "application = App()\n"
    )
    arbiter = serve()
    arbiter.boot()
    assert arbiter.wait_worker(arbiter.spawn()["pid"]) == 42


def test_the_signals_that_mean_nothing_to_a_worker(project, serve):
    project(app=APP)
    arbiter = serve()
    arbiter.boot()
    reply = arbiter.spawn()
    pid = reply["pid"]
    arbiter.wait_err("engine: runs")
    for number in (signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU):
        os.kill(pid, number)
    os.kill(pid, signal.SIGUSR1)
    arbiter.wait_err("engine: reopen_logs")
    for number in (signal.SIGRTMIN + 7, signal.SIGRTMIN + 6):
        os.kill(pid, number)
        arbiter.wait_stack(reply["stacks"], "in run")
    os.kill(pid, signal.SIGHUP)
    assert arbiter.wait_worker(pid) == -signal.SIGHUP


def test_a_worker_that_could_not_answer_for_a_while_answers_once(project, serve):
    project(app=APP)
    arbiter = serve()
    arbiter.boot()
    reply = arbiter.spawn()
    arbiter.wait_err("engine: runs")
    os.kill(reply["pid"], signal.SIGSTOP)
    for number in (signal.SIGRTMIN + 7, signal.SIGRTMIN + 6, signal.SIGCONT):
        os.kill(reply["pid"], number)
    arbiter.wait_stack(reply["stacks"], stacks.ANSWERED)
    time.sleep(0.2)
    assert not select.select([reply["stacks"]], [], [], 0)[0], "no second dump"
    os.kill(reply["pid"], signal.SIGTERM)
    assert arbiter.wait_worker(reply["pid"]) == 0


def test_processes_of_the_app_are_not_workers(project, serve):
    project(
        app="""
import multiprocessing, os, time
class App:
    def __call__(self, environ, start_response): pass
    def run(self):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
        child.start()
        time.sleep(0.2)
        child.terminate()
        child.join()
        print("child", child.exitcode, flush=True)
        if os.fork() == 0:
            raise SystemExit(5)
        print("left with", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
application = App()
""",
        config="def worker_exit(server, worker): print('worker_exit', flush=True)\n",
    )
    arbiter = serve()
    arbiter.boot()
    pid = arbiter.spawn()["pid"]
    arbiter.wait_out("child -15")
    arbiter.wait_out("left with 5")
    assert "worker_exit" not in arbiter.out()
    os.kill(pid, signal.SIGTERM)
    assert arbiter.wait_worker(pid) == 0
    assert arbiter.out().count("worker_exit") == 1


def test_signals_do_not_disturb_the_fork_server(project, serve):
    project(app=APP)
    arbiter = serve()
    arbiter.boot()
    for name in ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH"):
        os.kill(arbiter.process.pid, getattr(signal, f"SIG{name}"))
    arbiter.ready_worker()


def test_the_fork_server_and_its_workers_die_with_the_arbiter(project, serve):
    """PR_SET_PDEATHSIG: SIGKILL for the fork server, TERM for workers."""
    import subprocess
    import sys

    project(app=APP)
    arbiter = serve()
    script = (
        "import sys, os; sys.path[:0] = sys.argv[1:3]\n"
        "from arbiter import Arbiter, become_subreaper\n"
        "become_subreaper(True)\n"
        "a = Arbiter(os.getcwd()); a.boot(); pid = a.ready_worker()\n"
        # Without this the end of the connection might be seen before the signal.
        "import subprocess\n"
        "holder = subprocess.Popen(['sleep', '1000'], stdout=2, pass_fds=[a._socket.fileno()])\n"
        "print(a.process.pid, pid, holder.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-c", script, here, os.path.dirname(here)],
        cwd=project(),
        stdout=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 3
    # We are the subreaper (fixture `serve`), so they have become our children.
    assert arbiter.wait_worker(pids[0]) == -signal.SIGKILL
    assert arbiter.wait_worker(pids[1]) == 0
    os.kill(pids[2], signal.SIGKILL)
    assert arbiter.wait_worker(pids[2]) == -signal.SIGKILL


# ---- the rest ----


def test_max_requests_is_drawn_per_worker(project, serve):
    project(app=APP)
    arbiter = serve()
    arbiter.boot(max_requests=1000, max_requests_jitter=1_000_000)
    drawn = set()
    for slot in range(4):
        mark = len(arbiter.err())
        arbiter.spawn(slot=slot, age=slot)
        drawn.add(int(arbiter.wait_err(r"max_requests (\d+)\+0", mark).group(1)))
    assert len(drawn) > 1
    assert all(1000 <= number <= 1_001_000 for number in drawn)


def test_the_environment_of_the_app(project, serve):
    project(
        app="import os\nprint(os.environ['MODE'], os.environ['SERVER_SOFTWARE'], oct(os.umask(0o22)), flush=True)\n"
        + APP
    )
    arbiter = serve()
    before = os.umask(0o27)
    os.umask(before)
    arbiter.boot(raw_env=["MODE=live"])
    arbiter.ready_worker()
    arbiter.wait_out(rf"^live podicorn/\S+ {oct(before)}$")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_workers_user(project, serve, tmp_path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        if str(parent).startswith(("/tmp/", "/var/tmp/")):
            parent.chmod(0o755)
    project(app="import os\nprint(os.getresuid(), os.getresgid(), flush=True)\n" + APP)
    arbiter = serve()
    arbiter.boot(user=65534, group=65533)
    pid = arbiter.ready_worker()
    arbiter.wait_out(r"\(65534, 65534, 65534\) \(65533, 65533, 65533\)")
    os.kill(pid, signal.SIGTERM)
    assert arbiter.wait_worker(pid) == 0


def test_capture_output(project, serve, tmp_path):
    project(app="print('to the file', flush=True)\n" + APP)
    path = tmp_path / "error.log"
    arbiter = serve()
    arbiter.boot(errorlog=str(path), capture_output=True)
    pid = arbiter.spawn()["pid"]
    end = time.monotonic() + 30
    while "engine: runs" not in path.read_text() and time.monotonic() < end:
        time.sleep(0.01)
    assert "to the file" in path.read_text()
    path.rename(tmp_path / "old.log")
    os.kill(pid, signal.SIGUSR1)
    while not (path.exists() and "reopen_logs" in path.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    assert arbiter.wait_worker(pid) == 0
    assert f"Worker exiting (pid: {pid})" in path.read_text()


def test_a_rotated_log_is_found_by_new_workers(project, serve, tmp_path):
    project(app=APP)
    path = tmp_path / "error.log"
    arbiter = serve()
    arbiter.boot(errorlog=str(path))
    path.rename(tmp_path / "old.log")
    arbiter.ready_worker()
    assert "Booting worker" in path.read_text()


def test_server_workers_are_the_living(project, serve):
    project(app=APP, config="def when_ready(server): print(sorted(server.WORKERS), flush=True)\n")
    arbiter = serve()
    arbiter.boot()
    first, second = arbiter.ready_worker(slot=0), arbiter.ready_worker(slot=1, age=2)
    os.kill(first, signal.SIGKILL)
    arbiter.wait_worker(first)
    arbiter.hook("when_ready")
    arbiter.wait_out(rf"^\[{second}\]$")


def boot_by(code):
    """Runs a Python that is about to become a fork server."""
    package = os.path.dirname(os.path.dirname(__file__))
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"],
        env=os.environ | {"PYTHONPATH": package},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def test_a_wrong_engine_is_explained():
    done = boot_by("sys.modules['podicorn._engine'] = None; import podicorn.forkserver")
    assert done.returncode == 1
    assert "cannot load the HTTP engine" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("enabled", "refused"), [(True, False), (False, True)])
def test_a_python_without_the_gil_is_refused(enabled, refused):
    # What a free-threaded build has; the fake engine stands for one that was loaded with PYTHON_GIL=0.
    code = f"sys._is_gil_enabled = lambda: {enabled}; sys.modules['podicorn._engine'] = type(sys)('fake')"
    done = boot_by(f"{code}; import podicorn.forkserver as server; server.main()")
    assert done.returncode == 1
    assert ("keeps the GIL off" in done.stderr) is refused
