"""What can be learned of a worker that hangs, is slow, or has died."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from podtest import http
from podtest.load import Load
from podtest.waiting import wait_until

ANSWERED = "(The interpreter answered.)"
SILENT = "(The interpreter did not answer"
PATIENT = ("--timeout", "0", "--workers", "1")
WSGI = "faults.hang_kinds:application"
ASGI = "faults.hang_kinds:app"

#: Command line, path, function that hangs, whether Python can still say so.
HANGS = {
    "sleep": (("-k", "sync", WSGI), "/sleep", "hang_in_sleep", True),
    "sleep-in-thread": (("-k", "gthread", "--threads", "3", WSGI), "/sleep", "hang_in_sleep", True),
    "lock": (("-k", "sync", WSGI), "/lock", "hang_at_lock", True),
    "lock-in-thread": (("-k", "gthread", "--threads", "3", WSGI), "/lock", "hang_at_lock", True),
    "extension-with-the-gil": (("-k", "sync", WSGI), "/extension", "hang_in_extension", None),
    "extension-with-the-gil-in-thread": (
        ("-k", "gthread", "--threads", "3", WSGI), "/extension", "hang_in_extension", False,
    ),
    "blocked-event-loop": (("-k", "asgi", ASGI), "/lock", "hang_at_lock", None),
    "blocked-hub": (("-k", "gevent", WSGI), "/extension", "hang_in_extension", None),
    "blocked-eventlet-hub": (("-k", "eventlet", WSGI), "/extension", "hang_in_extension", None),
    "socket-read": (("-k", "sync", WSGI), "/read", "hang_in_read", True),
    "socket-read-in-thread": (("-k", "gthread", "--threads", "3", WSGI), "/read", "hang_in_read", True),
    "waiting-task": (("-k", "asgi", ASGI), "/task", "waits_for_nothing", True),
    "waiting-greenlet": (("-k", "gevent", WSGI), "/sleep", "hang_in_sleep", True),
    "waiting-eventlet": (("-k", "eventlet", WSGI), "/sleep", "hang_in_sleep", True),
}  # fmt: skip


@pytest.mark.parametrize(("line", "path", "function", "answers"), HANGS.values(), ids=HANGS.keys())
def test_the_stack_of_a_hang(serve, line, path, function, answers):
    """`answers` None: where a signal ends the wait in C, Python may get its turn or not; which, the dump says."""
    server = serve(*PATIENT, *line)
    with server.connect() as client:
        client.send(http.head("GET", path))

        def running():
            return server.admin.workers()[0]["currentRequest"]

        assert wait_until(running, "the request")["path"] == path

        def shown() -> str | None:
            text = server.admin.get("/workers/0/stack").text
            return text if function in text else None

        text = wait_until(shown, lambda: server.admin.get("/workers/0/stack").text)
        assert re.search(r"most recent call first", text)
        assert (ANSWERED in text) != (SILENT in text), "it says who has written it"
        if answers is not None:
            assert (ANSWERED in text) == answers, text
        if SILENT in text:
            assert "Threads as the kernel sees them" in text


@pytest.mark.parametrize(
    "line",
    [("-k", "gthread"), ("-k", "socket_types.worker_classes.Threads")],
    ids=["gthread", "gthread-subclass"],
)
def test_asking_a_busy_worker_hurts_no_request(serve, line):
    """What reads the frames of threads that run must not fall over them."""
    server = serve(*PATIENT, *line, "--threads", "4", "churning:application")
    before = server.worker_pids()
    with Load(server.address, 8) as load:
        for _ in range(300):
            text = server.admin.get("/workers/0/stack").text
            assert ANSWERED in text, text
            assert text.count("Current thread 0x") == 1, text
    assert load.summary().keys() == {"ok"}
    assert server.worker_pids() == before


def test_many_who_ask_at_once_get_one_answer_each(serve):
    """A dump too many would be an error in the log."""
    server = serve(*PATIENT, "-k", "gthread", "--threads", "4", "churning:application")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: server.admin.get("/workers/0/stack").text, range(300)))
    assert all(ANSWERED in text for text in answers)
    assert server.stop() == 0
    assert "Stacks of worker" not in server.err.text


def test_a_stopped_process(serve):
    """Not even C code runs."""
    server = serve(*PATIENT, WSGI)
    pid = server.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    text = server.admin.get("/workers/0/stack").text
    assert "Not even the signal handler" in text
    assert "state T" in text
    os.kill(pid, signal.SIGCONT)


def test_many_tasks_at_one_place_are_one_entry(serve):
    server = serve(*PATIENT, "-k", "asgi", ASGI)
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.send(http.head("GET", "/task"))
    wait_until(lambda: server.admin.workers()[0]["inFlight"] == 20, "the requests")
    text = server.admin.get("/workers/0/stack").text
    assert "20 waiting tasks" in text
    for client in clients:
        client.close()


def test_the_flight_recorder(serve):
    """After a SIGKILL the log and /workers say what the worker was doing."""
    server = serve("--timeout", "0", "--workers", "1", WSGI)
    server.get("/before")
    (pid,) = server.worker_pids()
    with server.connect() as client:
        client.send(http.head("GET", "/sleep?secret=1"))
        wait_until(lambda: server.admin.workers()[0]["currentRequest"], "the request")
        os.kill(pid, signal.SIGKILL)
        assert client.ended()
    server.err.wait_for(r"SIGKILL.*while serving GET /sleep for \d")
    (death,) = wait_until(lambda: server.admin.pool()["deaths"], "the record")
    assert (death["pid"], death["slot"]) == (pid, 0)
    assert [(request["method"], request["path"]) for request in death["running"]] == [("GET", "/sleep")]
    assert [request["path"] for request in death["recentRequests"]] == ["/before"]
    assert "9" in death["how"] or "KILL" in death["how"]


def test_only_so_many_deaths_are_kept(serve):
    server = serve("--workers", "3", WSGI)
    seen = set()
    while len(seen) < 12:
        for pid in server.admin.wait_workers(3):
            seen.add(pid)
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not seen & set(server.admin.pids()), "their replacement")
    assert len(server.admin.pool()["deaths"]) == 10


@pytest.mark.parametrize(
    "line", [("-k", "sync", WSGI), ("-k", "gthread", "--threads", "3", WSGI)], ids=["sync", "gthread"]
)
def test_a_slow_request_is_logged_with_its_stack(serve, line):
    server = serve(*PATIENT, "--slow-request", "0.5", *line)
    server.get("/quick")
    with server.connect() as client:
        client.send(http.head("GET", "/sleep"))
        server.err.wait_for(r"\[WARNING\] Slow request in worker \(pid:\d+\): GET /sleep for \d")
        server.err.wait_for(r"in hang_in_sleep")
    assert server.err.text.count("Slow request") == 1, "once for each request"
    assert "/quick" not in server.err.text


def test_a_task_that_is_slow(serve):
    server = serve(*PATIENT, "--slow-request", "0.5", "-k", "asgi", ASGI)
    with server.connect() as client:
        client.send(http.head("GET", "/task"))
        server.err.wait_for(r"Slow request in worker \(pid:\d+\): GET /task for \d")
        server.err.wait_for(r"in waits_for_nothing")
