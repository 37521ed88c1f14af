"""A config file and an app, lived through by one of the two servers; its hooks leave a record."""

from pathlib import Path

from podtest import http
from podtest.server import APPS, TESTS, Server
from podtest.waiting import wait_until

PROGRAMS = ("gunicorn", "podicorn")
APP = "parity.projects.apps"


class Project:
    """One config file, lived through by one server."""

    def __init__(self, program: str, name: str, app: str, directory: Path, environment: dict[str, str]) -> None:
        self.record = directory / f"{program}.record"
        self.record.touch()
        self.server = Server(
            "--config", str(Path(__file__).parent / "projects" / f"{name}.py"), f"{APP}:{app}",
            program=program, bind=False, cwd=directory,
            environment={"PYTHONPATH": f"{TESTS}:{APPS}", "PROJECT_RECORD": str(self.record), **environment},
        )  # fmt: skip

    def noted(self, hook: str = "") -> list[str]:
        """What was recorded, of one hook or of all."""
        return [line for line in self.record.read_text().splitlines() if line.startswith(hook)]

    def wait_noted(self, hook: str, count: int) -> None:
        """Waits for a hook's lines."""
        wait_until(
            lambda: len(self.noted(hook)) >= count,
            lambda: f"{count} times {hook}; noted:\n{self.record.read_text()}\n{self.server.err.text}",
        )

    def wait_booted(self, count: int) -> None:
        """Waits for that many `post_worker_init`, and for the last of them to be over."""
        self.wait_noted("post_worker_init", count)
        if self.server.program == "podicorn":
            self.server.admin.wait_workers(len(self.workers()))

    def workers(self) -> list[int]:
        """Its workers' pids."""
        fork_servers = self.server.fork_servers() if self.server.program == "podicorn" else []
        return [child.pid for child in self.server.children() if not child.zombie and child.pid not in fork_servers]

    def end(self) -> None:
        """TERM; it ends well."""
        assert self.server.stop() == 0


def answered(address: http.Address) -> None:
    """Waits for a server that is ready when it answers."""

    def there() -> bool:
        try:
            return http.request(address, "/").status == 200
        except OSError:
            return False

    wait_until(there, f"an answer from {address}")
