"""USR2 as PID 1: the arbiter becomes the program that lies in its file now, and keeps its sockets and its workers."""

import json
import os
import shutil
import signal
import socket
import sys
import threading

import pytest
from podtest import http, processes
from podtest.collector import Collector
from podtest.load import Load
from podtest.server import RANDOM_UID, program_path, settle
from podtest.waiting import wait_until

pytestmark = [pytest.mark.pid1, pytest.mark.usefixtures("namespaces")]

#: Runs in the new program's place. It is held before the trial, or between the exec and the program.
HOLD = """#!{python} -IS
import os, sys, time
if (sys.argv[1:2] == ["--try-upgrade"]) == {trial}:
    open({held!r}, "w").close()
    while not os.path.exists({go!r}):
        time.sleep(0.01)
os.execv({real!r}, [{real!r}, *sys.argv[1:]])
"""


class Installation:
    """A program in a directory of its own, where another version may take its place."""

    def __init__(self, directory) -> None:
        self.directory = directory
        self.path = directory / "podicorn"
        self.held, self.go = directory / "held", directory / "go"
        self.replace()

    def put(self, text: str, mode: int = 0o755) -> None:
        """Another file under the same name, as a package manager does it."""
        new = self.directory / "new"
        new.write_text(text)
        new.chmod(mode)
        new.rename(self.path)

    def replace(self, name: str = "podicorn") -> None:
        new = self.directory / "new"
        shutil.copy(program_path(), new)
        new.rename(self.directory / name)

    def hold(self, *, trial: bool = False) -> None:
        """The next upgrade stops between the exec and the new program, or before the trial, until ``let_go``."""
        self.replace("real")
        real = str(self.directory / "real")
        held, go = str(self.held), str(self.go)
        self.put(HOLD.format(python=sys.executable, trial=trial, held=held, go=go, real=real))

    def let_go(self) -> None:
        self.go.touch()

    def runs_in(self, server) -> bool:
        """Whether the server's program is the file that lies there now."""
        running = os.stat(f"/proc/{server.pid}/exe")
        return os.path.samestat(running, os.stat(self.path))


@pytest.fixture
def installation(tmp_path):
    directory = tmp_path / "installation"
    directory.mkdir()
    return Installation(directory)


@pytest.fixture
def start(serve, installation, tmp_path):
    """Serves as PID 1, by the installation's program."""
    tmp_path.chmod(0o755)  # servers of other users run it, too

    def start(*arguments, **options):
        flags = ["--python", sys.executable, *arguments]
        return serve(*flags, executable=[str(installation.path)], pid1=True, reach=[str(tmp_path)], **options)

    return start


def ask(server):
    """USR2; the place in the log before it."""
    mark = server.err.mark()
    server.send(signal.SIGUSR2)
    return mark


def said(server, words, mark):
    wait_until(lambda: words in server.err.since(mark), lambda: f"{words!r}; the server said:\n{server.err.text}")


def replaced(server, before):
    """Waits until other workers serve, as many as there were."""

    def settled():
        workers = server.admin.workers()
        ready = [worker["pid"] for worker in workers if worker["state"] in ("idle", "busy")]
        return len(ready) == len(workers) == len(before) and not set(ready) & set(before)

    wait_until(settled, lambda: f"others than {before}; there are {server.admin.workers()}:\n{server.err.text}")


def upgrade(server):
    """The whole of it."""
    before = server.admin.pids()
    mark = ask(server)
    said(server, "Upgraded in place", mark)
    replaced(server, before)
    return mark


def refused(server, mark, *words):
    said(server, "does not take this server's place", mark)
    line = next(line for line in server.err.since(mark).splitlines() if "does not take this" in line)
    for word in words:
        assert word in line, line
    assert "roll out a new pod" in line


def get_on(connection, target="/"):
    """The next response of a connection."""
    connection.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection.read_response()


class KeptLoad:
    """One connection on which a request follows the other; each response is looked at."""

    def __init__(self, server) -> None:
        self.done, self.problem = 0, ""
        self._stop = threading.Event()
        self._server = server
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with self._server.connect() as connection:
                    for _ in range(50):
                        response = get_on(connection)
                        assert response.status == 200
                        self.done += 1
                        if response.header("Connection") == "close" or self._stop.is_set():
                            break
        except (AssertionError, OSError, http.ExchangeError) as error:
            self.problem = repr(error)


@pytest.mark.parametrize(
    "flags",
    [[], ["--preload"], ["--worker-class", "gthread", "--threads", "4"], ["--worker-class", "asgi"]],
    ids=["sync", "preload", "gthread", "asgi"],
)
def test_no_request_is_lost(start, installation, gate, flags):
    server = start("probe:app", "--workers", "2", *flags, environment=gate.environment)
    server.admin.wait_workers(2)
    before = server.admin.pids()
    held = threading.Thread(target=lambda: answers.append(server.get("/hold/long")))
    answers = []
    held.start()
    (visitor,) = gate.wait(label="long")
    installation.replace()
    assert not installation.runs_in(server)
    with Load(server.address, clients=4) as load, KeptLoad(server) as kept:
        wait_until(lambda: load.done() > 50 and kept.done > 50, "some load")
        mark = ask(server)
        said(server, "Upgraded in place", mark)
        assert installation.runs_in(server)
        said(server, "Generation 2 is ready", mark)
        gate.open()
        visitor.release()
        replaced(server, before)
        many = load.done()
        wait_until(lambda: load.done() > many + 50, "load on the new workers")
    held.join()
    assert [answer.status for answer in answers] == [200]
    assert not load.failures(), load.failures()[:5]
    assert not kept.problem
    pool = server.admin.pool()
    assert (pool["pid"], pool["generation"], pool["boot"]["failures"]) == (1, 2, 0)
    assert server.stop() == 0
    assert not server.family()


def test_a_kept_connection_to_an_old_worker_outlives_the_exec(start, installation):
    server = start("probe:app", "--worker-class", "gthread", "--keep-alive", "600")
    (worker,) = server.worker_pids()
    with server.connect() as connection:
        assert get_on(connection, "/pid").status == 200
        installation.hold()
        ask(server)
        wait_until(installation.held.exists, lambda: f"the exec:\n{server.err.text}")
        # No arbiter is there now: the worker serves, with its parent being another program.
        assert processes.alive(worker)
        assert get_on(connection, "/pid").status == 200
        assert server.get("/pid").status == 200
        installation.let_go()
        wait_until(lambda: "Upgraded in place" in server.err.text, "the new program")
        assert get_on(connection, "/pid").status == 200


def test_signals_and_probes_of_the_time_between_wait_for_the_new_program(start, installation):
    server = start("probe:app", "--workers", "2")
    server.admin.wait_workers(2)
    installation.hold()
    ask(server)
    wait_until(installation.held.exists, lambda: f"the exec:\n{server.err.text}")
    answers = []
    probes = [
        threading.Thread(target=lambda path=path: answers.append(server.admin.get(path).status))
        for path in ("/livez", "/readyz", "/startupz", "/metrics")
    ]
    for probe in probes:
        probe.start()
    server.send(signal.SIGTTIN)
    settle(0.2)
    assert not answers
    installation.let_go()
    for probe in probes:
        probe.join()
    assert answers == [200] * 4
    server.admin.wait_workers(3)


@pytest.mark.parametrize("trial", [False, True], ids=["after-the-exec", "on-trial"])
def test_term_in_the_time_between_ends_the_server(start, installation, trial):
    server = start("probe:app", "--workers", "2")
    installation.hold(trial=trial)
    ask(server)
    wait_until(installation.held.exists, lambda: f"the exec:\n{server.err.text}")
    server.send(signal.SIGTERM)
    installation.let_go()
    assert server.wait_exit() == 0
    assert "Shutting down: Master" in server.err.text
    assert not server.family()


def test_signals_right_behind_usr2_count(start, installation):
    server = start("probe:app")
    installation.hold(trial=True)
    ask(server)
    wait_until(installation.held.exists, lambda: f"the trial:\n{server.err.text}")
    for workers in (2, 3, 4):
        server.send(signal.SIGTTIN)
        server.admin.wait_workers(workers)
    installation.let_go()
    said(server, "Upgraded in place", 0)
    wait_until(lambda: server.admin.pool()["generation"] == 2, "the new generation")
    server.admin.wait_workers(4)


def test_term_right_behind_usr2_ends_the_server(start):
    server = start("probe:app", "--workers", "2")
    server.send(signal.SIGUSR2)
    assert server.stop() == 0
    assert not server.family()


def test_the_dead_of_the_time_between_are_taken_in(start, installation):
    server = start("faults.orphans:application", "--workers", "2")
    server.admin.wait_workers(2)
    victim = server.worker_pids()[0]
    installation.hold()
    ask(server)
    wait_until(installation.held.exists, lambda: f"the exec:\n{server.err.text}")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not processes.alive(victim), "the death")
    server.get("/orphans/5")
    installation.let_go()
    wait_until(lambda: "Upgraded in place" in server.err.text, "the new program")
    wait_until(lambda: server.admin.pool()["straysReaped"] >= 5, "the strays")
    wait_until(lambda: not server.zombies(), lambda: f"the reaping of {server.zombies()}")
    server.admin.wait_workers(2)
    assert server.admin.metrics().value("podicorn_worker_restarts_total", reason="crash") == 1
    server.get("/orphans/20")
    wait_until(lambda: server.admin.pool()["straysReaped"] >= 25, "more strays")


def answering(**fields) -> str:
    """A program that says this of itself."""
    answer = json.dumps({"version": "9.0", "format": 1, "scoreboard": layout(), **fields})
    return f"#!/bin/sh\necho '{answer}'\nexit {int('error' in fields)}\n"


OLDER = """#!/bin/sh
echo "error: unexpected argument '$1' found" >&2
exit 2
"""

BROKEN = {
    "not executable": (lambda: "#!/bin/sh\n", 0o644, ["cannot be run"]),
    "no program": (lambda: "garbage", 0o755, ["cannot be run"]),
    "garbage": (lambda: "#!/bin/sh\necho hello >&2\n", 0o755, ["exited with code 0", "hello"]),
    "no answer": (lambda: "#!/bin/sh\nexit 7\n", 0o755, ["exited with code 7"]),
    "an older version": (lambda: OLDER, 0o755, ["exited with code 2", "--try-upgrade"]),
    "another layout": (lambda: answering(scoreboard=9999), 0o755, ["podicorn 9.0", "9999"]),
    "another format": (lambda: answering(format=77), 0o755, ["podicorn 9.0", "77"]),
    "unwilling": (lambda: answering(error="no such setting"), 0o755, ["podicorn 9.0", "no such setting"]),
}


def layout() -> int:
    source = os.path.join(os.path.dirname(__file__), "../../server/scoreboard/src/layout.rs")
    with open(source) as file:
        line = next(line for line in file if line.startswith("pub const VERSION"))
    return int(line.split("=")[1].strip(" ;\n"))


@pytest.mark.parametrize("name", BROKEN)
def test_a_program_that_does_not_fit_is_refused(start, installation, name):
    text, mode, words = BROKEN[name]
    server = start("probe:app", "--workers", "2")
    before = server.admin.wait_workers(2)
    installation.put(text(), mode)
    refused(server, ask(server), *words)
    assert server.get("/").status == 200
    assert server.admin.pids() == before
    assert server.admin.ready()
    assert server.admin.pool()["straysReaped"] == 0
    # A good one is taken afterwards.
    installation.replace()
    upgrade(server)
    assert installation.runs_in(server)


def test_a_program_that_is_gone_is_refused(start, installation):
    server = start("probe:app")
    installation.path.unlink()
    refused(server, ask(server), "cannot be run")
    assert server.get("/").status == 200


@pytest.mark.slow
def test_a_program_that_says_nothing_is_killed(start, installation):
    server = start("probe:app")
    installation.put("#!/bin/sh\nexec sleep 600\n")
    mark = ask(server)
    refused(server, mark, "killed by SIGKILL")
    assert "does not say what it is" in server.err.since(mark)
    assert server.get("/").status == 200
    assert not server.zombies()


def test_a_program_that_dies_after_the_exec_was_good_on_trial(start, installation):
    """Between the trial and the exec the file may change: an exec that fails changes nothing."""
    real = installation.directory / "real"
    installation.replace("real")
    server = start("probe:app", "--workers", "2")
    before = server.admin.wait_workers(2)
    # On trial it takes itself away.
    installation.put(f'#!/bin/sh\nrm "{installation.path}"\nexec "{real}" "$@"\n')
    mark = ask(server)
    refused(server, mark, "cannot run the program")
    assert server.get("/").status == 200
    wait_until(server.admin.ready, "the admin API again")
    assert server.admin.pids() == before
    server.send(signal.SIGTTIN)
    server.admin.wait_workers(3)
    assert server.stop() == 0


def test_leases_epochs_and_counters_outlive_the_program(start):
    server = start("probe:app", "--workers", "1..9")
    server.admin.scale(3)
    server.admin.scale(2)
    server.admin.wait_workers(2)
    for _ in range(20):
        server.get("/")
    server.get("/nothing")
    wait_until(lambda: server.admin.metrics().value("podicorn_requests_total", code_class="4xx") == 1, "the count")
    before, ages = server.admin.metrics(), [worker["age"] for worker in server.admin.workers()]
    lease, started = server.admin.get("/scale").json(), server.admin.pool()["startedAt"]
    upgrade(server)
    after = server.admin.metrics()
    fallen = {
        (name, labels): (value, after.samples.get((name, labels)))
        for (name, labels), value in before.samples.items()
        if is_counter(before, name) and after.samples.get((name, labels), 0.0) < value
    }
    assert not fallen
    now = server.admin.get("/scale").json()
    assert (now["target"], now["lease"]["epoch"], now["lastEpoch"]) == (2, 2, 2)
    assert now["lease"]["remainingSeconds"] < lease["lease"]["remainingSeconds"]
    order = {"workers": 5, "epoch": 1, "ttlSeconds": 60}
    assert server.admin.call("PUT", "/scale", order).status == 409
    assert min(worker["age"] for worker in server.admin.workers()) > max(ages)
    assert server.admin.pool()["startedAt"] == started


def is_counter(metrics, name):
    family = next((end for end in ("_total", "_bucket", "_count", "_sum") if name.endswith(end)), None)
    return family is not None and metrics.kinds.get(name.removesuffix(family)) in ("counter", "histogram")


def test_code_that_fails_leaves_the_old_workers(start, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "page.py").write_text("from probe import app\n")
    server = start("page:app", "--workers", "2", cwd=site)
    before = server.admin.wait_workers(2)
    (site / "page.py").write_text("raise RuntimeError('new and broken')\n")
    mark = ask(server)
    said(server, "Upgraded in place", mark)
    said(server, "Reload failed, generation 1 keeps serving", mark)
    assert "new and broken" in server.err.since(mark)
    assert server.admin.pids() == before
    assert server.get("/").status == 200
    assert "exit code 3" in server.admin.pool()["reloads"]["lastError"]["message"]
    # It can be mended by either signal, and the old fork server still serves its generation.
    (site / "page.py").write_text("from probe import app\n")
    os.kill(server.outer(before[0]), signal.SIGKILL)
    wait_until(lambda: before[0] not in server.admin.pids(), "the death")
    server.admin.wait_workers(2)
    assert {worker["generation"] for worker in server.admin.workers()} == {1}
    before = server.admin.pids()
    server.send(signal.SIGHUP)
    replaced(server, before)
    upgrade(server)


def test_a_config_file_that_fails_leaves_the_old_settings(start, config):
    path = config("workers = 2\n")
    server = start("probe:app", "--config", path)
    before = server.admin.wait_workers(2)
    config("workers = 'many'\n")
    mark = ask(server)
    said(server, "Reload failed, generation 1 keeps serving", mark)
    assert server.admin.pids() == before
    config("workers = 3\n")
    upgraded = ask(server)
    said(server, "Upgraded in place", upgraded)
    server.admin.wait_workers(3)


def test_probes_never_fail(start):
    server = start("probe:app", "--workers", "2")
    server.admin.wait_workers(2)
    stop, problems, asked = threading.Event(), [], []

    def poll(path):
        while not stop.is_set():
            try:
                status = server.admin.get(path).status
            except (OSError, http.ExchangeError) as error:
                status = repr(error)
            asked.append(path)
            if status != 200:
                problems.append((path, status))

    threads = [threading.Thread(target=poll, args=(path,)) for path in ("/livez", "/readyz", "/startupz") * 2]
    for thread in threads:
        thread.start()
    for _ in range(3):
        upgrade(server)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(asked) > 100
    assert not problems


def test_a_stream_of_the_admin_api_ends_whole(start):
    server = start("probe:app")
    with http.Connection(server.admin.address) as watching:
        watching.send(b"GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: watching._more() and b"\n{" in watching.buffer, "a snapshot")
        upgrade(server)
        assert watching.read_to_end().endswith(b"\r\n0\r\n\r\n")
    assert server.admin.metrics().value("podicorn_watch_streams_opened_total") == 1


def test_again_and_nothing_is_left_behind(start):
    server = start("faults.orphans:application", "--workers", "2")
    server.admin.wait_workers(2)
    upgrade(server)
    descriptors = os.listdir(f"/proc/{server.pid}/fd")
    for _ in range(3):
        upgrade(server)
    wait_until(
        lambda: len(os.listdir(f"/proc/{server.pid}/fd")) <= len(descriptors) + 1,
        lambda: f"no more descriptors than {len(descriptors)}; {os.listdir(f'/proc/{server.pid}/fd')}",
    )
    assert server.admin.pool()["generation"] == 5
    assert len(server.fork_servers()) == 1
    for pid in [*server.worker_pids(), *server.fork_servers()]:
        with open(f"/proc/{pid}/environ", "rb") as file:
            assert b"PODICORN_UPGRADE" not in file.read()
    server.get("/orphans/50")
    wait_until(lambda: server.admin.pool()["straysReaped"] == 50, "50 reaped strays")
    assert not server.zombies()
    assert server.stop() == 0
    assert not server.family()


def test_while_a_reload_is_under_way_it_waits(start, gate, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "page.py").write_text("from probe import app\n")
    server = start("page:app", cwd=site, environment=gate.environment)
    before = server.admin.pids()
    (site / "page.py").write_text("import gate_client\ngate_client.pause('import')\nfrom probe import app\n")
    server.send(signal.SIGHUP)
    (visitor,) = gate.wait(label="import")
    mark = ask(server)
    said(server, "The upgrade follows", mark)
    server.send(signal.SIGUSR2)
    said(server, "USR2 signal ignored. An upgrade is under way.", mark)
    gate.open()
    visitor.release()
    said(server, "Upgraded in place", mark)
    replaced(server, before)
    wait_until(lambda: server.admin.pool()["generation"] == 3, "both generations")


def test_a_worker_on_its_way_out_still_answers(start, gate):
    server = start("probe:app", "--workers", "2", "--graceful-timeout", "600", environment=gate.environment)
    server.admin.wait_workers(2)
    answers = []
    clients = [threading.Thread(target=lambda: answers.append(server.get("/hold/both").status)) for _ in range(2)]
    # One after the other: on a machine with too much to do a worker may take both before either has said anything.
    for number, client in enumerate(clients, 1):
        client.start()
        visitors = gate.wait(number, label="both")
    server.send(signal.SIGTTOU)
    leaving = wait_until(
        lambda: [worker["pid"] for worker in server.admin.workers() if worker["state"] == "draining"],
        "a draining worker",
    )
    mark = ask(server)
    said(server, "Upgraded in place", mark)
    states = {worker["pid"]: worker["state"] for worker in server.admin.workers()}
    assert states[leaving[0]] == "draining"
    gate.release(*visitors)
    for client in clients:
        client.join()
    assert answers == [200, 200]
    wait_until(lambda: server.admin.pool()["generation"] == 2, "the new generation")
    server.admin.wait_workers(1)
    assert server.admin.metrics().value("podicorn_worker_restarts_total", reason="scale") == 1


def test_without_any_rights(start):
    """As Kubernetes' strictest policy has it: any user, no capabilities, nothing to write to."""
    server = start("probe:app", "--workers", "2", confined=True, uid=RANDOM_UID, read_only=True)
    server.admin.wait_workers(2)
    upgrade(server)
    upgrade(server)
    assert server.get("/").status == 200
    assert server.stop() == 0


def test_records_go_on_to_pythons_logging(start, config):
    path = config(
        "logconfig_dict = {\n"
        "    'version': 1,\n"
        "    'formatters': {'python': {'format': 'by Python: %(message)s'}},\n"
        "    'handlers': {'err': {'class': 'logging.StreamHandler', 'formatter': 'python'}},\n"
        "    'root': {'handlers': ['err'], 'level': 'INFO'},\n"
        "    'loggers': {'gunicorn.error': {'level': 'INFO', 'handlers': ['err'], 'propagate': False}},\n"
        "}\n"
    )
    server = start("probe:app", "--config", path)
    upgrade(server)
    wait_until(lambda: "by Python: Upgrading in place" in server.err.text, "what was said before")
    wait_until(lambda: "by Python: Upgraded in place" in server.err.text, "what was said after")
    wait_until(lambda: "by Python: Generation 2 is ready" in server.err.text, "what was said later")


def test_a_log_that_cannot_be_opened_any_more_does_not_end_it(start, tmp_path):
    directory = tmp_path / "logs"
    directory.mkdir()
    server = start("probe:app", "--error-logfile", str(directory / "error.log"))
    shutil.rmtree(directory)
    server.send(signal.SIGUSR2)
    wait_until(lambda: "the log goes to standard error" in server.err.text, "what became of the log")
    # New workers could not open it either.
    wait_until(lambda: "Reload failed, generation 1 keeps serving" in server.err.text, "the end of the reload")
    assert server.get("/").status == 200
    assert server.admin.ready()


def test_each_request_is_one_span(start):
    with Collector() as collector:
        server = start("probe:app", environment=collector.environment())
        for _ in range(5):
            server.get("/pid")
        upgrade(server)
        for _ in range(5):
            server.get("/identity")
        collector.wait_for("GET", 5, url_path="/identity")
        spans = [span.attributes["url.path"] for span in collector.spans() if span.name == "GET"]
        assert (spans.count("/pid"), spans.count("/identity")) == (5, 5)


def test_the_pid_file_stays(start, tmp_path):
    pidfile = tmp_path / "server.pid"
    server = start("probe:app", "--pid", str(pidfile))
    assert pidfile.read_text() == "1\n"
    upgrade(server)
    assert pidfile.read_text() == "1\n"
    assert server.stop() == 0
    assert not pidfile.exists()


def test_unix_sockets_keep_their_files(start, tmp_path):
    path, admin = tmp_path / "app.sock", tmp_path / "admin.sock"
    server = start("probe:app", "--bind", f"unix:{path}", "--admin-bind", f"unix:{admin}", bind=False, admin=False,
                   ready=False)  # fmt: skip
    wait_until(lambda: "Booting worker" in server.err.text, lambda: f"a worker:\n{server.err.text}")
    server.admin.address = str(admin)
    wait_until(server.admin.ready, "readiness")
    inode = path.stat().st_ino
    with Load(str(path), clients=2) as load:
        upgrade(server)
    assert not load.failures(), load.failures()[:5]
    assert path.stat().st_ino == inode
    assert server.stop() == 0
    assert not path.exists()
    assert not admin.exists()


def test_sockets_by_number_stay_the_callers(start):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        server = start("probe:app", "--bind", f"fd://{number}", bind=False, pass_fds=[number])
        server.address = listener.getsockname()
        with Load(server.address, clients=2) as load:
            upgrade(server)
            upgrade(server)
        assert not load.failures(), load.failures()[:5]
        assert server.stop() == 0
        # Its own end was never the server's to bring about.
        with socket.create_connection(listener.getsockname()):
            pass


def test_the_hook_pre_exec(start, config):
    path = config(
        "def pre_exec(server):\n"
        "    server.log.info('pre_exec sees %s workers', server.num_workers)\n"
        "def on_reload(server):\n"
        "    server.log.info('on_reload has run')\n"
    )
    server = start("probe:app", "--config", path)
    upgrade(server)
    assert "pre_exec sees 1 workers" in server.err.text
    assert "on_reload has run" in server.err.text
    config("def pre_exec(server):\n    raise RuntimeError('not today')\n")
    before = server.admin.pids()
    server.send(signal.SIGHUP)
    replaced(server, before)
    mark = ask(server)
    said(server, "Hook pre_exec failed, so that this program stays", mark)
    assert "not today" in server.err.since(mark)
    assert server.get("/").status == 200


def test_hooks_of_old_workers_run_in_their_fork_server(start, config):
    path = config("def child_exit(server, worker):\n    server.log.info('child_exit of %s', worker.age)\n")
    server = start("probe:app", "--config", path)
    upgrade(server)
    wait_until(lambda: "child_exit of 1" in server.err.text, "the hook")


def test_what_the_app_counts_goes_on(start):
    pytest.importorskip("prometheus_client")
    server = start("counting:application", "--app-metrics", "--workers", "2")
    server.admin.wait_workers(2)
    for _ in range(10):
        assert server.get("/order/books").status == 200
    count = lambda: server.admin.metrics().value("shop_orders_total", kind="books")  # noqa: E731
    wait_until(lambda: count() == 10, lambda: f"10 orders: {server.admin.get('/metrics').text}")
    upgrade(server)
    assert count() == 10
    server.get("/order/books")
    wait_until(lambda: count() == 11, "one more")


def test_a_state_that_nobody_has_handed_over_is_refused(serve):
    for value in ("x", "0", "99"):
        server = serve("probe:app", environment={"PODICORN_UPGRADE_STATE": value}, ready=False)
        assert server.wait_exit() == 1
        assert "leave the variable unset" in server.err.text
        assert json.dumps(value)[1:-1] in server.err.text
