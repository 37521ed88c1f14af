"""The commands of README.md's section "In a pod" do what it says, as printed but for the ports."""

import os
import re
import subprocess

import pytest
from podtest import processes
from podtest.ports import free_port
from podtest.server import TESTS, program_path
from podtest.waiting import DEADLINE

ROOT = TESTS.parent


def block() -> str:
    """The shell commands."""
    section = (ROOT / "README.md").read_text().split("## In a pod\n")[1]
    found = re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found
    return found.group(1)


@pytest.mark.pid1
@pytest.mark.skipif(os.getuid() != 0, reason="the section says: as root")
def test_the_commands_of_in_a_pod(namespaces):
    mark = f"readme-{os.getpid()}"
    script = block()
    for port in ("8000", "9099"):
        assert port in script
        script = script.replace(port, str(free_port()))
    path = f"{os.path.dirname(program_path())}:{os.environ['PATH']}"
    try:
        done = subprocess.run(
            ["sh", "-ec", script],
            cwd=ROOT,
            env={"PATH": path, "PODTEST_MARK": mark, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            check=False,
        )
    finally:
        processes.kill_marked(f"PODTEST_MARK={mark}")
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    for said in ("readyz check passed", "not-draining: the server is shutting down", "HTTP/1.1 200 OK", "4 s"):
        assert said in done.stdout
    assert "Handling signal: term" in done.stderr
    assert "killing it" not in done.stderr
