"""The fork protocol: hooks run once, parents are right, nobody outlives the arbiter."""

import os
import re
import signal

import pytest
from podtest import http, processes
from podtest.server import RANDOM_UID
from podtest.types import every_type, params
from podtest.waiting import wait_until

TORNADO = pytest.param(("-k", "tornado"), id="tornado")
UVICORN = pytest.param(("-k", "uvicorn.workers.UvicornWorker"), id="uvicorn")

HOOK = re.compile(r"^fork hook (before|parent|child) in (\d+)$", re.MULTILINE)


def runs(server) -> dict[str, list[int]]:
    """Which hooks ran in which processes, in order."""
    found: dict[str, list[int]] = {"before": [], "parent": [], "child": []}
    for which, pid in HOOK.findall(server.err.text):
        found[which].append(int(pid))
    return found


def test_each_fork_hook_runs_once_for_each_worker(serve):
    server = serve("faults.fork_hooks:application", "--preload", "--workers", "3")
    workers = server.admin.wait_workers(3)
    (fork_server,) = server.fork_servers()
    ran = runs(server)
    assert ran["before"] == ran["parent"] == [fork_server] * 3
    assert sorted(ran["child"]) == sorted(workers)


def test_fork_hooks_of_the_config_file_run_once_too(serve, config):
    path = config("import faults.fork_hooks\n")
    server = serve("hello:app", "--config", path, "--workers", "2")
    workers = server.admin.wait_workers(2)
    assert sorted(runs(server)["child"]) == sorted(workers)
    assert len(runs(server)["before"]) == len(runs(server)["parent"]) == 2


def test_workers_are_children_of_the_arbiter(serve, as_pid1):
    server = serve("probe:app", "--workers", "2", pid1=as_pid1)
    server.admin.wait_workers(2)
    assert {server.get("/identity").json()["ppid"] for _ in range(10)} == {server.admin.pool()["pid"]}


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_nobody_outlives_a_killed_arbiter(serve, preload):
    server = serve("hello:app", "--workers", "4", *(["--preload"] if preload else []))
    server.admin.wait_workers(4)
    assert len(server.family()) == 6
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not server.family(), lambda: f"the end of {server.family()}")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may change the user")
def test_nobody_outlives_a_killed_arbiter_after_a_change_of_user(serve, namespaces):
    """setuid clears the parent-death signal: it must be set afterwards."""
    user = str(RANDOM_UID)
    server = serve("hello:app", "--workers", "2", "--user", user, "--group", user, cwd="/", for_others=True)
    server.admin.wait_workers(2)
    server.stop(signal.SIGKILL)
    wait_until(lambda: not server.family(), lambda: f"the end of {server.family()}")


def test_a_killed_arbiters_worker_still_finishes_its_request(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/last"))
        gate.wait(1, "last")
        server.stop(signal.SIGKILL)
        gate.open()
        assert client.read_response().body == b"released\n"
    wait_until(lambda: not server.family(), lambda: f"the end of {server.family()}")


def test_a_worker_that_boots_while_the_arbiter_is_killed_leaves(serve, gate):
    server = serve("faults.import_held:application", ready=False, environment=gate.environment)
    gate.wait(1, "import")
    server.stop(signal.SIGKILL)
    gate.open()
    wait_until(lambda: not server.family(), lambda: f"the end of {server.family()}")


def test_randomness_differs_between_workers(serve, tmp_path):
    """A preloaded random generator must not give each worker the same numbers."""
    (tmp_path / "dice.py").write_text(
        "import random\n"
        "import tempfile\n"
        "random.random()\n"
        "next(tempfile._get_candidate_names())\n"
        "drawn = []\n"
        "def application(environ, start_response):\n"
        "    drawn or drawn.append(random.getrandbits(64))\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [str(drawn[0]).encode()]\n"
    )
    server = serve("dice", "--preload", "--workers", "3", cwd=tmp_path)
    server.admin.wait_workers(3)
    drawn: set[str] = set()
    wait_until(lambda: drawn.add(server.get().text) or len(drawn) == 3, lambda: f"three different numbers: {drawn}")


def test_threads_that_preload_would_lose_are_named(serve):
    server = serve("faults.thread_at_import:application", "--preload")
    server.err.wait_for(r"\[WARNING\].*metrics-pusher")


def test_a_forgotten_thread_does_not_keep_a_worker_for_ever(serve):
    """A thread that is no daemon holds the interpreter's shutdown: the graceful timeout must end that."""
    server = serve("faults.leaves_threads:application", "--graceful-timeout", "3")
    assert server.get("/thread").text == "started"
    server.send(signal.SIGTTIN)
    old, _ = server.admin.wait_workers(2)
    os.kill(old, signal.SIGTERM)
    wait_until(lambda: processes.read(old) is None, "the end of the worker")
    server.admin.wait_workers(2)
    assert server.get("/thread").text == "started"
    assert server.stop() == 0
    assert not server.family()


@every_type
def test_memory_that_is_slow_to_clear_does_not_get_a_worker_killed(serve, kind):
    """Behind the exit handlers nothing is left that is worth a wait; threads and handlers of Python's run no more."""
    app = "faults.clears_slowly:" + ("asgi" if "asgi" in kind else "application")
    server = serve(app, "--graceful-timeout", "2", *kind)
    assert server.stop() == 0
    assert not server.family()
    assert "clears its memory" in server.err.text
    assert "sent SIG" not in server.err.text
    assert "the exit handler has run" in server.out.text


@pytest.mark.parametrize("kind", [*params(), TORNADO])
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_what_the_apps_files_buffer_is_written_at_the_end(serve, tmp_path, kind, preload):
    """Python closes them when it clears the modules, if nothing holds the app any more."""
    report = tmp_path / "report"
    app = "app" if "asgi" in kind else "application"
    server = serve(f"unflushed:{app}", *kind, *["--preload"] * preload, environment={"REPORT": str(report)})
    assert server.get().text == "done\n"
    assert server.stop() == 0
    assert report.read_text() == "a line\n"


@pytest.mark.parametrize("kind", [*params(), TORNADO, UVICORN])
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_no_collection_walks_what_was_loaded(serve, kind, preload):
    """A full one would take long, and copy the pages that the worker shares with the fork server."""
    app = "app" if {"asgi", "uvicorn.workers.UvicornWorker"} & {*kind} else "application"
    said = serve(f"heap:{app}", *kind, *["--preload"] * preload).get().json()
    # The app alone has 5,000; some classes import more when it is loaded.
    assert said["frozen"] > 20_000 and said["walked"] < 5_000, said
    assert not said["left_behind"], "garbage of the import stays for good"
    assert said["copied_kib"] < 512, said


def test_the_app_may_fork(serve):
    """A child of the app has no part in the worker's sockets, slot or signals."""
    server = serve("faults.scribbler:application")
    for _ in range(3):
        assert server.get("/child-maps").text == "no scoreboard\n"
    assert len(server.admin.workers()) == 1


@every_type
def test_a_child_of_the_app_dies_by_term(serve, gate, kind):
    """Also while it waits in a system call: the worker's handlers, which let those go on, are not for it."""
    app = "socket_types.fastapi_app:app" if "asgi" in kind else "socket_types.wsgi_app"
    server = serve(app, *kind, environment=gate.environment)
    child = int(server.get("/fork").text)
    gate.wait(1, "child")
    assert processes.read(child) is not None
    assert server.get("/end-child").text == "-15"
    assert server.stop() == 0
