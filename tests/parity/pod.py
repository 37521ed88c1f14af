"""What users of Gunicorn meet in pods, done to both servers; ``make parity-pod`` writes the outcome to README.md.

Each row starts servers of its own, does one thing to them and says in a few words what it saw. The black-box suites
hold Podicorn to what it shows here; Gunicorn's part is there to show that the row tells the truth.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from podtest import http
from podtest.gate import Gate
from podtest.namespaces import why_not
from podtest.server import Server

README = Path(__file__).with_name("README.md")
BEGIN = "<!-- written by `make parity-pod` -->\n"
END = "<!-- end of what `make parity-pod` writes -->\n"

#: What is done, then by whom; the answer is what was seen.
ROWS: dict[str, Callable[[str], str]] = {}

SITE = """
import os, time
{import_line}
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{version}"]
"""


def row(what: str) -> Callable[[Callable[[str], str]], Callable[[str], str]]:
    """Registers a row; the function gets the name of the program."""

    def register(function: Callable[[str], str]) -> Callable[[str], str]:
        ROWS[what] = function
        return function

    return register


def podicorn_only(program: str, *arguments: str) -> tuple[str, ...]:
    """Flags that only one of the two has."""
    return arguments if program == "podicorn" else ()


def write_site(directory: Path, version: str, import_line: str = "") -> None:
    """An app whose source is rewritten while it is served."""
    new = directory / "site_app.new"
    new.write_text(SITE.format(version=version, import_line=import_line))
    new.rename(directory / "site_app.py")


def answer(address: http.Address, target: str = "/", silence: float = 10) -> str:
    """What a client gets: a status, or what else."""
    try:
        with http.Connection(address, silence=silence) as client:
            client.send(http.head("GET", target, {"Connection": "close"}))
            return str(client.read_response().status)
    except http.ExchangeError as error:
        return "reset" if error.end is http.End.RESET else "closed"
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "nothing"


def until(condition: Callable[[], object], seconds: float) -> bool:
    """Whether it came true in time; a row tells what did not happen, too."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError, AssertionError):
            if condition():
                return True
        time.sleep(0.05)
    return False


def workers(server: Server) -> list[int]:
    """Living workers, booting ones included."""
    spared = server.fork_servers() if server.program == "podicorn" else []
    return [child.pid for child in server.children() if not child.zombie and child.pid not in spared]


@row("the app hangs at import (`-t 3`)")
def hung_import(program: str) -> str:
    boot = podicorn_only(program, "--boot-timeout", "3")
    with Server("-t", "3", *boot, "faults.import_hangs", program=program) as server:
        found = until(lambda: "TIMEOUT" in server.err.text, 12)
        named = until(lambda: "wait_for_the_database" in server.err.text, 1 if found else 0)
    if not found:
        return "not noticed in 12 s"
    return "found; the log shows where it hangs" if named else "found; the log does not say where"


@row("`-k gthread --threads 2`; two clients send `GET / HT` and stop, a third one asks")
def half_heads(program: str) -> str:
    return _half_heads(program, ("-k", "gthread", "--threads", "2", "hello:app"), clients=2)


@row("`-k asgi`; a client sends half a request line and stops")
def half_head_asgi(program: str) -> str:
    return _half_heads(program, ("-k", "asgi", "probe_asgi:app"), clients=1)


def _half_heads(program: str, line: tuple[str, ...], clients: int) -> str:
    with Server(*line, program=program) as server:
        server.wait_ready()
        slow = [server.connect() for _ in range(clients)]
        for client in slow:
            client.send(b"GET / HT")
        time.sleep(0.5)
        third = answer(server.address, silence=15) if clients > 1 else ""
        time.sleep(0 if third == "nothing" else 15)
        ends = []
        for client in slow:
            client.socket.settimeout(0.5)
            try:
                ends.append(client.read_to_end().partition(b"\r\n")[0].decode()[9:12] or "closed")
            except TimeoutError:
                ends.append("open")
            client.close()
    said = "after 15 s: " + ", ".join(ends)
    return f"the third gets {third}; {said}" if third else said


def ask(server: Server, count: int, target: str) -> list[http.Connection]:
    """So many clients that have sent a request each; a moment later."""
    clients = [server.connect() for _ in range(count)]
    for client in clients:
        client.send(http.head("GET", target))
    time.sleep(0.3)
    return clients


@row("one sync worker, four requests in flight or queued, TERM")
def four_requests(program: str) -> str:
    with Server("bodies:wsgi", program=program) as server:
        server.wait_ready()
        clients = ask(server, 4, "/?wait=700")
        server.send(signal.SIGTERM)
        seen = []
        for client in clients:
            try:
                seen.append(str(client.read_response().status))
            except (http.ExchangeError, OSError) as error:
                seen.append("reset" if getattr(error, "end", None) is http.End.RESET else "closed")
        return f"{', '.join(seen)}; exit {server.wait_exit()}"


@row("HUP with code that raises at import")
def broken_code(program: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        write_site(Path(name), "one")
        with Server("site_app", program=program, cwd=name) as server:
            server.wait_ready()
            write_site(Path(name), "two", "raise RuntimeError('half an upload')")
            server.send(signal.SIGHUP)
            until(lambda: not server.running() or "half an upload" in server.err.text, 10)
            if until(lambda: not server.running(), 5):
                return f"the server ends: exit {server.exit_code}"
            return f"it serves on ({answer(server.address)})" + _readyz(server)


def _readyz(server: Server) -> str:
    return f"; /readyz {server.admin.status('/readyz')}" if server.program == "podicorn" else ""


@row("HUP with an import of 4 s")
def slow_import(program: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        write_site(Path(name), "one")
        with Server("site_app", program=program, cwd=name) as server:
            server.wait_ready()
            write_site(Path(name), "two", "time.sleep(4)")
            server.send(signal.SIGHUP)
            worst, end, seen = 0.0, time.monotonic() + 12, b""
            while time.monotonic() < end and seen != b"two":
                began = time.monotonic()
                seen = http.request(server.address).body
                worst = max(worst, time.monotonic() - began)
                time.sleep(0.02)
        gap = "more than 3 s" if worst > 3 else "less than 1 s" if worst < 1 else f"{worst:.1f} s"
        return f"the slowest request takes {gap}; then it is {seen.decode()}"


@row("a segfault at import")
def segfault(program: str) -> str:
    with Server("faults.import_segfaults", program=program) as server:
        time.sleep(6)
        boots = server.err.text.count("Booting worker with pid")
    return "at most 8 boots in 6 s" if boots <= 8 else "more than 30 boots in 6 s" if boots > 30 else f"{boots} in 6 s"


@row("TTIN twice, then HUP")
def target_survives(program: str) -> str:
    with Server("hello:app", program=program) as server:
        server.wait_ready()
        for wanted in (2, 3):
            server.send(signal.SIGTTIN)
            until(lambda wanted=wanted: len(workers(server)) == wanted, 10)
        before = len(workers(server))
        old = set(workers(server))
        server.send(signal.SIGHUP)
        until(lambda: not old & set(workers(server)), 20)
        time.sleep(2)
        return f"{before} workers, then {len(workers(server))}"


@row("a busy worker and a younger idle one, TTOU")
def idlest_goes(program: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        gate = Gate(f"{name}/g")
        with Server("probe:app", "--timeout", "60", program=program, environment=gate.environment) as server:
            server.wait_ready()
            (old,) = workers(server)
            with server.connect() as client:
                client.send(http.head("GET", "/hold/busy"))
                gate.wait(1, "busy")
                server.send(signal.SIGTTIN)
                until(lambda: len(server.worker_pids()) == 2 and answer(server.address) == "200", 10)
                server.send(signal.SIGTTOU)
                until(lambda: len(workers(server)) == 1, 3)
                gate.open()
                until(lambda: len(workers(server)) == 1, 10)
                left = workers(server)
        gate.close()
    return "the busy one stays, the idle one goes" if left == [old] else "the busy one goes, the idle one stays"


@row("a probe with 1 s behind three requests of 2 s on one sync worker")
def probe_waits(program: str) -> str:
    with Server("bodies:wsgi", program=program) as server:
        server.wait_ready()
        clients = ask(server, 3, "/?wait=2000")
        port = server.admin_port if program == "podicorn" else server.port
        seen = answer(("127.0.0.1", port), "/readyz" if program == "podicorn" else "/", silence=1)
        for client in clients:
            client.close()
    return {"200": "passes", "nothing": "fails"}.get(seen, seen)


@row("`-k asgi --worker-connections 2`, five requests that wait")
def connections_bounded(program: str) -> str:
    with tempfile.TemporaryDirectory() as name:
        gate = Gate(f"{name}/g")
        line = ("-k", "asgi", "--worker-connections", "2", "probe_asgi:app")
        with Server(*line, program=program, environment=gate.environment) as server:
            server.wait_ready()
            time.sleep(0.5)
            clients = [server.connect() for _ in range(5)]
            for client in clients:
                client.send(http.head("GET", "/hold/x"))
            time.sleep(3)
            count = len(gate.seen)
            gate.open()
            for client in clients:
                client.close()
        gate.close()
    return f"{count} run at a time"


@row("in a pod, a kept connection is idle for 4 s and then carries a request")
def keepalive(program: str) -> str:
    with Server(
        "-k", "gthread", "hello:app", program=program, environment={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    ) as server:
        server.wait_ready()
        with server.connect() as client:
            client.send(http.head("GET", "/"))
            client.read_response()
            time.sleep(4)
            try:
                client.send(http.head("GET", "/"))
                return str(client.read_response().status)
            except (http.ExchangeError, OSError):
                return "lost: the server has closed it"


@row("a root file system that is read-only, and no /tmp")
def read_only(program: str) -> str:
    with Server("hello:app", program=program, pid1=True, read_only=True) as server:
        if until(lambda: answer(server.address, silence=2) == "200", 15):
            return "serves"
        ended = until(lambda: not server.running(), 5)
        return f"does not start: exit {server.exit_code}" if ended else "does not serve"


@row("PID 1; an orphan that it has adopted exits with code 3")
def orphans(program: str) -> str:
    with Server("faults.orphans:application", "--workers", "2", program=program, pid1=True) as server:
        server.wait_ready()
        before = sorted(workers(server))
        http.request(server.address, "/orphans/20?code=3")
        time.sleep(2)
        if not server.running():
            return f"the server ends: exit {server.exit_code}"
        same = sorted(workers(server)) == before
        return f"nothing changes ({answer(server.address)})" if same and not server.zombies() else "workers change"


def measure(names: list[str]) -> list[tuple[str, str, str]]:
    """Both servers through every row."""
    reason = why_not()
    if reason or os.getuid() != 0:
        raise SystemExit(f"this needs root and PID namespaces: {reason or 'not root'}")
    seen = []
    for name, act in ROWS.items():
        if names and not any(word in name for word in names):
            continue
        print(f"{name}", flush=True)
        results = []
        for program in ("gunicorn", "podicorn"):
            try:
                results.append(act(program))
            except Exception as error:
                results.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
            print(f"  {program:9} {results[-1]}", flush=True)
        seen.append((name, *results))
    return seen


def write(seen: list[tuple[str, str, str]]) -> None:
    """The block of README.md."""
    lines = ["", "| what is done | Gunicorn | Podicorn |", "|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for cells in seen]
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + "\n".join([*lines, "", ""]) + END + after)


def main() -> None:
    """All rows, or those whose name has one of the words given; only all are written down."""
    names = sys.argv[1:]
    seen = measure(names)
    if not names:
        write(seen)


if __name__ == "__main__":
    main()
