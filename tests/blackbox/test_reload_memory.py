"""A second preloaded app has to fit beside the first one: a reload that would not is refused, with the figures."""

import os
import signal
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from podtest.server import program_path
from podtest.waiting import wait_until

ROOT = Path("/sys/fs/cgroup/memory")
APP = """
import probe
BALLAST = b"x" * (96 << 20)
application = probe.application
"""


class Container:
    """A memory cgroup (v1) of this test's own."""

    def __init__(self, limit: int) -> None:
        self.path = ROOT / f"podtest-{uuid.uuid4()}"
        self.path.mkdir()
        self.limit(limit)

    def limit(self, mebibytes: int) -> None:
        """Sets the limit."""
        (self.path / "memory.limit_in_bytes").write_text(str(mebibytes << 20))

    @property
    def executable(self) -> list[str]:
        """Runs the server in it."""
        return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$0" "$@"', program_path()]

    def close(self) -> None:
        """Removes it, once its processes have gone."""

        def gone() -> bool:
            with suppress(OSError):
                self.path.rmdir()
            return not self.path.exists()

        wait_until(gone, "the group's end")


@pytest.fixture
def container():
    if os.getuid() != 0 or not (ROOT / "memory.limit_in_bytes").exists():
        reason = "this needs root and a memory cgroup of version 1 at /sys/fs/cgroup/memory"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    made = Container(192)
    yield made
    made.close()


def test_a_reload_that_does_not_fit_is_refused_with_the_figures(container, serve, tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    server = serve("shop", "--preload", "--workers", "2", cwd=tmp_path, executable=container.executable)
    before = server.admin.wait_workers(2)
    server.send(signal.SIGHUP)
    said = server.err.wait_for(r"no room for a second preloaded app: the present one holds (\d+) MiB .*")
    assert 96 <= int(said.group(1)) < 192
    assert "of its 192 MiB" in said.group(0)
    wait_until(lambda: server.admin.pool()["reloads"]["failed"] == 1, "the failure")
    assert "no room" in server.admin.pool()["reloads"]["lastError"]["message"]
    assert server.admin.pids() == before
    assert server.get("/").status == 200
    assert server.admin.status("/readyz") == 200

    container.limit(512)
    server.send(signal.SIGHUP)
    wait_until(lambda: server.admin.pool()["generation"] > 1, "a generation that fits")
    server.admin.wait_workers(2)
    assert not set(before) & set(server.admin.pids())
    assert int((container.path / "memory.failcnt").read_text()) == 0
    assert server.stop() == 0
