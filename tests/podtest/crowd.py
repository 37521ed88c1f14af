"""A crowd of clients that ask a server without a break while it is told to end, and what became of each request.

The clients are a program in Go (``clients/go/crowd``): it is quick enough not to be what is measured.
"""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from podtest import socket_types, types
from podtest.clients import PATIENCE, build_go_client
from podtest.server import Server
from podtest.waiting import DEADLINE

#: Every type with an app that it can serve, by the name that the table has. The third-party classes stop accepting in
#: their own ways; which promises hold for them, docs/workers.md says.
LINES: dict[str, tuple[str, ...]] = {
    **{name: (*line, "bodies:app") for name, line in types.ALL.items()},
    "tornado": ("-k", "tornado", "bodies:tornado()"),
    "tornado-wsgi": ("-k", "tornado", "bodies:wsgi"),
    "uvicorn.workers": ("-k", "uvicorn.workers.UvicornWorker", "bodies:asgi"),
    "uvicorn_worker": ("-k", "uvicorn_worker.UvicornWorker", "bodies:asgi"),
    "aiohttp": ("-k", "aiohttp.GunicornWebWorker", "bodies:aiohttp()"),
    "geventwebsocket": (*socket_types.ALL["geventwebsocket"][:2], "bodies:wsgi"),
    "sync-subclass": (*socket_types.ALL["sync-subclass"][:2], "bodies:wsgi"),
    "gthread-subclass": (*socket_types.ALL["gthread-subclass"][:4], "bodies:wsgi"),
}
#: Those that the server answers for as a whole.
OURS = (*types.ALL, "tornado", "tornado-wsgi")


@dataclass
class Report:
    """What a crowd has seen, of one termination or of several together."""

    responses: int = 0
    #: … of them after TERM.
    after_term: int = 0
    connections: int = 0
    #: Requests sent once more: on a connection that had carried others and gave no byte of an answer (RFC 9112 §9.3.1).
    retries: int = 0
    #: Users who found no server any more.
    refused: int = 0
    #: … although the server still accepted others later, or was not told to end.
    early: int = 0
    #: Responses after TERM that said that they were the last.
    closes: int = 0
    #: Requests that were lost, by how.
    errors: dict[str, int] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)
    seconds: float = 0.0
    terminations: int = 0

    def add(self, other: "Report") -> None:
        """Counts another one in."""
        for name in ("responses", "after_term", "connections", "retries", "refused", "early", "closes", "terminations"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for kind, count in other.errors.items():
            self.errors[kind] = self.errors.get(kind, 0) + count
        self.details += other.details
        self.seconds += other.seconds

    @property
    def lost(self) -> int:
        """Requests without a whole response."""
        return sum(self.errors.values())

    def rare(self) -> bool:
        """Whether one more try was seldom needed: less than one in a hundred users a termination."""
        return self.retries * 100 <= max(self.terminations, 1) * KEEPING


#: Users who keep their connections, and users who make one for each request.
KEEPING = 200
SINGLE = 200


def build(directory: Path) -> str:
    """The program."""
    return build_go_client(directory, "crowd")


def gather(
    program: str,
    address: str,
    *,
    process: int,
    warm: int,
    target: str = "/",
    length: int = 30_000,
    keeping: int = KEEPING,
    single: int = SINGLE,
    pause: int = 5,
    patience: float = DEADLINE,
) -> Report:
    """Lets a crowd ask ``target``; ``process`` gets TERM after ``warm`` responses (0: all go home then)."""
    order = {
        "network": "unix" if address.startswith("/") else "tcp",
        "address": address,
        "keeping": keeping,
        "single": single,
        "process": process,
        "warm": warm,
        "target": target,
        "length": length,
        "pause": pause,
        "patience": int(patience),
    }
    done = subprocess.run(
        [program], input=json.dumps(order), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, f"the crowd ended with {done.returncode}: {done.stderr}"
    report = Report(**json.loads(done.stdout))
    report.terminations = 1 if process else 0
    return report


def terminate(program: str, line: tuple[str, ...], *arguments: str, chunked: bool = False, warm: int = 2000) -> Report:
    """One server from its start to its end under a crowd."""
    with Server("--workers", "2", *arguments, *line) as server:
        server.wait_ready()
        server.admin.wait_workers(2)
        target = "/?chunked=1" if chunked else "/"
        report = gather(program, f"127.0.0.1:{server.port}", process=server.pid, warm=warm, target=target)
        code = server.wait_exit()
        if code != 0:
            report.errors[f"exit code {code}"] = 1
            report.details.append(server.err.text[-2000:])
        return report


def recycle(
    program: str, line: tuple[str, ...], *arguments: str, requests: int, replacements: int = 0
) -> tuple[Report, int]:
    """A crowd at workers that are replaced after 50 requests; how many were. Preloaded, they are there the sooner.

    A quick server answers ``requests`` before many have booted: the crowd comes again until ``replacements`` have.
    """
    with Server("--workers", "2", "--max-requests", "50", "--preload", *arguments, *line) as server:
        server.wait_ready()
        server.admin.wait_workers(2)
        address = f"127.0.0.1:{server.port}"
        options = {"process": 0, "warm": requests, "target": "/?size=3000&wait=0", "length": 3000}

        def booted() -> int:
            return server.err.text.count("Booting worker with pid") - 2

        report = gather(program, address, keeping=20, single=20, **options)
        while booted() < replacements and not report.errors:
            report.add(gather(program, address, keeping=20, single=20, **options))
        server.stop()
        # Not those that have ended: the last ones of them may still have had connections.
        return report, booted()
