"""What is logged, in which form, and what happens when nobody reads it."""

import json
import os
import re
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from podtest import http
from podtest.load import Load
from podtest.server import Server
from podtest.types import params
from podtest.waiting import wait_until

TEXT_LINE = re.compile(
    r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] \S"
)

ALL_ATOMS = (
    "h=%(h)s l=%(l)s u=%(u)s t=%(t)s r=%(r)s m=%(m)s U=%(U)s q=%(q)s H=%(H)s s=%(s)s B=%(B)s b=%(b)s f=%(f)s a=%(a)s "
    "T=%(T)s D=%(D)s M=%(M)s L=%(L)s p=%(p)s host=%({host}i)s none=%({x-none}i)s CASE=%({USER-AGENT}i)s "
    "type=%({content-type}o)s missing=%({x-missing}o)s env=%({REQUEST_METHOD}e)s envl=%({server_protocol}e)s pc=%%"
)


# ---- the error log ----


@pytest.mark.parity
def test_text_lines_look_like_gunicorns(serve):
    server = serve("hello:app")
    server.get()
    server.stop()
    lines = server.err.lines()
    assert lines
    odd = [line for line in lines if not TEXT_LINE.match(line)]
    assert not odd


def test_each_line_names_the_process_that_wrote_it(serve):
    server = serve("hello:app")
    worker = server.admin.pids()[0]
    server.err.wait_for(rf"\[{server.pid}\] \[INFO\] Listening at")
    server.err.wait_for(rf"\[{worker}\] \[INFO\] Booting worker with pid: {worker}")


def test_json_lines_are_json_all_of_them(serve):
    server = serve("probe:app", "--log-format", "json", "--access-logfile", "-", "--log-level", "debug")
    server.get("/raise")
    server.get("/errors")
    server.get("/")
    server.err.wait_for("the app raised before the head")
    assert server.stop() == 0
    records = [json.loads(line) for line in server.err.lines()]
    assert all({"time", "level", "message"} <= set(record) for record in records), records
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", record["time"]) for record in records)
    assert {record["level"] for record in records} <= {"debug", "info", "warning", "error", "critical"}
    shapes = {re.sub(r"\d", "0", record["time"]) for record in records}
    assert len(shapes) == 1, f"one log, one form of time: {shapes}"
    raised = [record for record in records if "RuntimeError: the app raised" in json.dumps(record)]
    assert len(raised) == 1, "a traceback is one record, not many lines"
    access = [json.loads(line) for line in server.out.lines()]
    assert len(access) == 3


@pytest.mark.parity
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_levels(serve, level):
    server = serve("probe:app", "--log-level", level)
    server.get("/raise")
    server.stop()
    order = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    seen = {match[1] for line in server.err.lines() if (match := TEXT_LINE.match(line))}
    assert seen <= set(order[order.index(level.upper()) :])
    if level in ("debug", "info"):
        assert "INFO" in seen
    if level != "critical":
        assert "RuntimeError: the app raised before the head" in server.err.text


@pytest.mark.parity
def test_a_traceback_of_the_app_is_in_the_error_log_and_not_at_the_client(serve):
    server = serve("probe:app")
    response = server.get("/raise")
    assert response.status == 500
    assert "Traceback" not in response.text
    assert "RuntimeError" not in response.text
    server.err.wait_for(r"\[ERROR\] Error handling request GET /raise")
    server.err.wait_for(r"RuntimeError: the app raised before the head")


@pytest.mark.parity
def test_wsgi_errors_goes_to_the_error_log(serve):
    server = serve("probe:app")
    assert server.get("/errors").status == 200
    for said in ("errors: written", "errors: a line", "errors: another line"):
        server.err.wait_for(said)


@pytest.mark.parity
def test_output_of_the_app_passes_through(serve):
    server = serve("probe:app")
    server.get("/print/42")
    server.out.wait_for(r"^printed out 42$")
    server.err.wait_for(r"^printed err 42$")


PRINTING = """
import logging, sys, threading
logging.basicConfig()
print("imported")

def application(environ, start_response):
    print("one", 2, end=" ")
    print("three")
    print("to stderr: \N{SNOWMAN}", file=sys.stderr)
    print('{"level":"warning","message":"of the app itself"}')
    try:
        1 / 0
    except ZeroDivisionError:
        logging.getLogger("shop").exception("divided")
    sys.stdout.buffer.write(b"bytes \\xff\\n")
    barrier = threading.Barrier(2)

    def halves(word):
        sys.stdout.write(word)
        barrier.wait()
        sys.stdout.write(word + "\\n")

    threads = [threading.Thread(target=halves, args=(word,)) for word in ("tick", "tock")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("the last line")
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_what_the_app_prints_is_json_as_well(serve, tmp_path, preload):
    (tmp_path / "printing.py").write_text(PRINTING)
    server = serve(
        "printing", "--pythonpath", str(tmp_path), "--log-format", "json", "--capture-output",
        *(["--preload"] if preload else []),
    )  # fmt: skip
    server.get("/")
    server.err.wait_for("the last line")
    (worker,) = server.admin.pids()
    server.stop()
    assert not server.out.text
    records = [json.loads(line) for line in server.err.lines()]
    said = {record["message"]: record for record in records}
    for message, logger in (
        ("one 2 three", "stdout"), ("to stderr: \N{SNOWMAN}", "stderr"), ("bytes \\xff", "stdout"),
        ("ticktick", "stdout"), ("tocktock", "stdout"),
    ):  # fmt: skip
        record = said[message]
        assert (record["logger"], record["level"], record["pid"]) == (logger, "info", worker), record
        assert set(record) == {"time", "level", "pid", "logger", "message"}
    # A traceback is one event, and what is JSON already stays as it is.
    (divided,) = [message for message in said if message.startswith("ERROR:shop:divided")]
    assert divided.endswith("ZeroDivisionError: division by zero")
    assert said["of the app itself"] == {"level": "warning", "message": "of the app itself"}
    assert said["imported"]["logger"] == "stdout"


@pytest.mark.parity
def test_error_log_to_a_file_and_reopen(serve, tmp_path):
    path = tmp_path / "error.log"
    server = serve("probe:app", "--error-logfile", str(path))
    server.get("/raise")
    wait_until(lambda: "the app raised" in path.read_text(), "the traceback in the file")
    path.rename(tmp_path / "error.log.1")
    server.send(signal.SIGUSR1)
    wait_until(path.exists, "a new file")
    wait_until(lambda: server.get("/raise") and "the app raised" in path.read_text(), "the traceback in the new file")


# ---- the access log ----


@pytest.mark.parity
def test_no_access_log_unless_asked(serve):
    server = serve("hello:app")
    server.get()
    server.stop()
    assert server.out.text == ""


@pytest.mark.parity
def test_the_default_access_line(serve):
    server = serve("hello:app", "--access-logfile", "-")
    server.get("/a/path?with=query", headers={"Referer": "http://ref/", "User-Agent": "tester/1"})
    server.out.wait_for(
        r"^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
        r'"GET /a/path\?with=query HTTP/1\.1" 200 6 "http://ref/" "tester/1"$'
    )


def atoms(line: str) -> dict[str, str]:
    """A line of ALL_ATOMS taken apart, with what differs from run to run made equal."""
    names = re.findall(r"(\w+)=%", ALL_ATOMS)
    pattern = " ".join(rf"{name}=(?P<{name}>.*)" for name in names)
    match = re.fullmatch(pattern, line)
    assert match, line
    found = match.groupdict()
    for name, form in {
        "t": r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]",
        "T": r"\d+",
        "D": r"\d+",
        "M": r"\d+",
        "L": r"\d+\.\d{6}",
        "p": r"<\d+>",
    }.items():
        assert re.fullmatch(form, found[name]), (name, found[name])
        found[name] = form
    return found


REQUESTS = [
    ("GET", "/", {}, None),
    ("GET", "/stream?n=3&size=7", {"User-Agent": "ua", "Referer": "http://x/y"}, None),
    ("POST", "/echo", {"Content-Type": "text/plain"}, b"12345"),
    ("HEAD", "/", {}, None),
    ("GET", "/no/such", {}, None),
    ("GET", "/no-body/204", {}, None),
    ("GET", "/empty/none", {}, None),
    ("GET", "/quote%22d?a=%22", {"User-Agent": 'say "hi"'}, None),
    ("GET", "/space%20and%C3%A9", {"User-Agent": "plain"}, None),
    ("GET", "/", {"Authorization": "Basic dXNlcjpwYXNz"}, None),
    ("GET", "/", {"Authorization": "Basic broken"}, None),
    ("OPTIONS", "/bytes/100", {}, None),
    ("GET", "//double//slash", {}, None),
]


@pytest.mark.parity
def test_every_atom_says_what_gunicorn_says(serve):
    lines = {}
    for program in ("gunicorn", "podicorn"):
        server = serve("probe:app", "--access-logfile", "-", "--access-logformat", ALL_ATOMS, program=program)
        for method, target, headers, body in REQUESTS:
            http.request(server.address, target, method, {"Host": "testserver", **headers}, body)
        wait_until(
            lambda server=server: len(server.out.lines()) >= len(REQUESTS),
            lambda server=server: f"{len(REQUESTS)} lines; there are {server.out.text}",
        )
        lines[program] = [atoms(line) for line in server.out.lines()]
    for request, ours, theirs in zip(REQUESTS, lines["podicorn"], lines["gunicorn"], strict=True):
        assert ours == theirs, request


def test_every_atom_through_python_is_the_engines(serve, tmp_path):
    """The same line, whether the engine writes it or a logger in Python."""
    (tmp_path / "ownlogs.py").write_text(
        "from gunicorn.glogging import Logger as Base\nclass Logger(Base):\n    pass\n"
    )
    lines = {}
    for way in (("--logger-class", "ownlogs.Logger"), ()):
        app = serve(
            "probe:app", "--pythonpath", str(tmp_path), *way, "--access-logfile", "-", "--access-logformat", ALL_ATOMS
        )
        for method, target, headers, body in REQUESTS:
            http.request(app.address, target, method, {"Host": "testserver", **headers}, body)
        wait_until(lambda app=app: len(app.out.lines()) >= len(REQUESTS), lambda app=app: app.out.text)
        lines[way] = [atoms(line) for line in app.out.lines()]
    through_python, by_the_engine = lines.values()
    for request, one, other in zip(REQUESTS, through_python, by_the_engine, strict=True):
        assert one == other, request


def test_a_client_cannot_forge_a_line(serve):
    server = serve("hello:app", "--access-logfile", "-", "--access-logformat", '%(U)s "%(r)s" "%(a)s"')
    server.get("/%0A%0D%1B127.0.0.1", headers={"User-Agent": 'x" 200 0 "forged'})
    server.out.wait_for("forged")
    assert server.out.text.count("\n") == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", server.out.text)


@pytest.mark.parametrize("kind", params("sync", "asgi"))
def test_whatever_a_client_sends_is_json(serve, kind):
    server = serve("probe:app", *kind, "--log-format", "json", "--access-logfile", "-")
    agent = 'quote " backslash \\ tab \t and \xe9\xff, the end"'
    before = datetime.now(UTC)
    server.get("/%00%0A%22%5C%C3%A9?%22", headers={"User-Agent": agent})
    server.out.wait_for("the end")
    (line,) = server.out.lines()
    assert not re.search(r"[\x00-\x1f\x7f]", line)
    record = json.loads(line)
    assert record["user_agent"] == agent
    # What PEP 3333 calls a native string, of a path in UTF-8.
    assert record["path"] == '/\x00\n"\\\xc3\xa9'
    assert record["query"] == "%22"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["time"])
    assert before <= datetime.fromisoformat(record["time"]) <= datetime.now(UTC)


@pytest.mark.parity
def test_access_log_to_a_file_and_reopen(serve, tmp_path):
    path = tmp_path / "access.log"
    server = serve("hello:app", "--access-logfile", str(path))
    server.get("/first")
    wait_until(lambda: "/first" in path.read_text(), "the first line")
    moved = path.rename(tmp_path / "access.log.1")
    server.send(signal.SIGUSR1)
    wait_until(path.exists, "a new file")
    wait_until(lambda: server.get("/second") and "/second" in path.read_text(), "a line in the new file")
    assert "/first" not in path.read_text()
    assert "/first" in moved.read_text()


# ---- nobody reads ----


def fill(server: Server, fd: int) -> int:
    """Fill the pipe behind a descriptor of the server to the last byte, without changing its flags."""
    end = os.open(f"/proc/{server.pid}/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK)
    written = 0
    for size in (65536, 4096, 1):
        try:
            while True:
                written += os.write(end, b"\n" * size)
        except BlockingIOError:
            continue
    os.close(end)
    return written


def test_inherited_pipes_stay_blocking(serve):
    """O_NONBLOCK would be set for every process that shares the pipe."""
    server = serve("hello:app", "--access-logfile", "-")
    server.get()
    for pid in (server.pid, *server.worker_pids(), *server.fork_servers()):
        for fd in (1, 2):
            info = Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
            flags = int(re.search(r"^flags:\s+(\d+)", info, re.MULTILINE)[1], 8)
            assert not flags & os.O_NONBLOCK, (pid, fd)


def test_a_blocked_access_log_costs_lines_and_no_request(serve):
    """Every line is either written in the end or counted as dropped."""
    server = serve("hello:app", "--workers", "2", "--access-logfile", "-", "--access-logformat", "%(U)s " + "x" * 900)
    server.admin.wait_workers(2)
    server.out.pause()
    count = 4000
    with Load(server.address, clients=4, target=lambda n: f"/{n}", limit=count) as load:
        load.join()
    assert not load.failures()
    assert server.admin.status("/livez") == server.admin.status("/readyz") == 200
    server.out.resume()

    def accounted() -> bool:
        dropped = server.admin.pool()["totals"]["accessLogLinesDropped"]
        return len(server.out.lines()) + dropped == count

    wait_until(
        accounted,
        lambda: f"{len(server.out.lines())} written + {server.admin.pool()['totals']['accessLogLinesDropped']} dropped",
    )
    assert all(re.fullmatch(r"/\d+ x{900}", line) for line in server.out.lines()), "no line is torn"


def test_a_blocked_error_log_stops_neither_probes_nor_requests(serve, as_pid1):
    server = serve("hello:app", "--workers", "2", pid1=as_pid1)
    server.admin.wait_workers(2)
    server.err.pause()
    fill(server, 2)
    for _ in range(200):
        server.send(signal.SIGUSR1)  # each is worth a line
    for _ in range(50):
        assert server.admin.status("/livez") == 200
        assert server.admin.status("/readyz") == 200
        assert server.admin.status("/metrics") == 200
        assert server.get().status == 200
    server.err.resume()
    server.err.wait_for("Handling signal: usr1")
    assert server.stop() == 0


def test_a_blocked_error_log_does_not_stop_the_end(serve, as_pid1):
    server = serve("hello:app", "--workers", "2", "--graceful-timeout", "5", pid1=as_pid1)
    server.admin.wait_workers(2)
    server.err.pause()
    fill(server, 2)
    assert server.stop() == 0


def test_a_closed_error_log_hurts_nobody(serve, as_pid1):
    """The reader of the pipe is gone: EPIPE, and no SIGPIPE."""
    server = serve("hello:app", "--workers", "2", pid1=as_pid1)
    server.admin.wait_workers(2)
    server.err.hang_up()
    server.send(signal.SIGTTIN)
    server.admin.wait_workers(3)
    assert server.get().status == 200
    assert server.stop() == 0
