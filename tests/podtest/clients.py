"""Real HTTP clients as programs, and the tools that load and attack a server; see tests/clients/README.md."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podtest.server import TESTS

CLIENTS = TESTS / "clients"

#: Seconds that a client or a tool may take; it ends what would hang.
PATIENCE = 240.0


def tool(name: str) -> str:
    """The path of a program that must be there: without it a test fails, it is not skipped."""
    path = shutil.which(name)
    assert path, f"{name} is not on PATH: as root on Debian `make venv-tests` installs it"
    return path


def build_go_client(target: Path, package: str = "") -> str:
    """Builds Go's client, or another program of that module; what the compiler keeps lies in the project's cache."""
    cache = Path(os.environ.get("PODICORN_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache.mkdir(parents=True, exist_ok=True)
    program = target / (package or "go-client")
    # Only what is here: no other toolchain, no modules from elsewhere, no C.
    environment = {"GOCACHE": str(cache / "podicorn-go-build"), "GOTOOLCHAIN": "local", "GOPROXY": "off"}
    environment |= {"GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}
    # The first build takes a minute of computing: the others wait for it instead of doing the same beside it.
    with (cache / "podicorn-go-build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(
            [tool("go"), "build", "-o", str(program), f"./{package}"],
            cwd=CLIENTS / "go",
            env=os.environ | environment,
            check=True,
        )
    return str(program)


def body(size: int) -> bytes:
    """The body of that size that every client sends."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@dataclass(frozen=True)
class Exchange:
    """A request that a client is to make. ``size``: of its body; None: it has none."""

    method: str
    target: str
    headers: Mapping[str, str] | None = None
    size: int | None = None
    chunked: bool = False
    after: str | None = None

    def order(self) -> dict[str, Any]:
        """As the clients read it."""
        sends = None if self.size is None else {"size": self.size, "chunked": self.chunked}
        return {
            "method": self.method,
            "target": self.target,
            "headers": dict(self.headers or {}),
            "body": sends,
            "after": self.after or "",
        }


@dataclass(frozen=True)
class Seen:
    """What a client saw; the keys are explained in tests/clients/README.md."""

    error: str | None
    status: int | None = None
    version: str | None = None
    headers: Mapping[str, str] | None = None
    length: int | None = None
    sha256: str | None = None
    text: str | None = None
    reused: bool | None = None
    attempts: int | None = None
    interim: Sequence[tuple[int, Mapping[str, str]]] | None = None
    continued: bool | None = None
    early: int | None = None

    def header(self, name: str) -> str | None:
        """A header's value."""
        return (self.headers or {}).get(name.lower())


@dataclass(frozen=True)
class Client:
    """A client and what it can tell."""

    name: str
    command: tuple[str, ...]
    #: Tells whether a connection was used before.
    tells_reuse: bool = True
    #: Connections that it may use for requests one after the other.
    connections: int = 1
    #: Takes chunks that break off for a whole body where the response says ``Connection: close``.
    trusts_cut_chunks: bool = False

    def run(self, url: str, exchanges: Sequence[Exchange], parallel: int = 1) -> list[Seen]:
        """Makes the exchanges and returns what became of each."""
        with self.start(url, exchanges, parallel) as running:
            return running.wait()

    @contextmanager
    def start(self, url: str, exchanges: Sequence[Exchange], parallel: int = 1) -> Iterator["Running"]:
        """The same, beside the test."""
        order = {"url": url, "parallel": parallel, "exchanges": [one.order() for one in exchanges]}
        process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            yield Running(process, order)
        finally:
            process.kill()
            process.communicate()


class Running:
    """A client at work."""

    def __init__(self, process: "subprocess.Popen[str]", order: Mapping[str, Any]) -> None:
        assert process.stdin
        self._process = process
        self._count = len(order["exchanges"])
        process.stdin.write(json.dumps(order))
        process.stdin.close()
        process.stdin = None

    def wait(self) -> list[Seen]:
        """What became of each exchange."""
        out, err = self._process.communicate(timeout=PATIENCE)
        assert self._process.returncode == 0, f"the client ended with {self._process.returncode}:\n{err}"
        results = [Seen(**one) for one in json.loads(out)]
        assert len(results) == self._count
        return results


def clients(go_program: str) -> dict[str, Client]:
    """All of them, by name."""
    return {
        "go": Client("go", (go_program,)),
        "node": Client("node", (tool("node"), str(CLIENTS / "node" / "client.mjs"))),
        "fetch": Client(
            "fetch",
            (tool("node"), str(CLIENTS / "node" / "client.mjs"), "fetch"),
            tells_reuse=False,
            connections=2,
            trusts_cut_chunks=True,
        ),
        "python": Client("python", (sys.executable, str(CLIENTS / "python" / "client.py"))),
    }


def run_tool(*command: str, deadline: float = PATIENCE, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Runs a tool to its end, with its output kept, whatever its exit code."""
    done = subprocess.run(
        [tool(command[0]), *command[1:]], capture_output=True, timeout=deadline, check=False, **options
    )
    shown = done.stdout if len(done.stdout) < 10_000 else done.stdout[:10_000] + b"..."
    print(f"--- {' '.join(command)}\nexit code {done.returncode}\n{shown!r}\n{done.stderr.decode(errors='replace')}")
    return done
