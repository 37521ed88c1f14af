"""`make pictures`: the dashboard and `podicorn ctl top` under load, for the documentation."""

import math
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from podtest.browser import browser_page, settle
from podtest.cgroups import MemoryGroup, why_not
from podtest.server import TESTS, Server, program_path

from demo.shop import a_page
from demo.terminal import Terminal
from demo.traffic import Traffic

DOCS = TESTS.parent / "docs"
SECONDS = 100


def rate(seconds: float) -> float:
    """A swell, and in its middle twice as many."""
    return 60 + 25 * math.sin(seconds / 9) + (70 if 45 < seconds < 75 else 0)


def main() -> int:
    """Takes the pictures into docs/, or the directory that is named."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    arguments = (
        "shop:application", "-k", "sync", "--workers", "2..16", "--preload", "--app-metrics", "--log-level", "warning",
    )  # fmt: skip
    with ExitStack() as stack:
        executable = None
        # Where this machine allows it, in a container's limit.
        if why_not() is None:
            group = MemoryGroup(512)
            stack.callback(group.close)
            executable = group.entering(program_path())
        environment = {"PYTHONPATH": str(TESTS / "demo")}
        server = stack.enter_context(
            Server(*arguments, cwd=TESTS / "demo", environment=environment, executable=executable)
        )
        server.wait_ready()
        with Traffic(server.address, rate, a_page), browser_page() as page:
            host, port = server.admin.address
            page.look_like(1240, 900, scale=1.5)
            page.open(f"http://{host}:{port}/")
            seconds = float(os.environ.get("PICTURES_AFTER", SECONDS))
            print(f"http://{host}:{port}/ is under load for {seconds:.0f} s")
            settle(page, seconds)
            page.screenshot(directory / "dashboard.png")
            top = [program_path(), "ctl", "--admin", f"{host}:{port}", "top"]
            with Terminal(top, 118, 24) as terminal:
                time.sleep(3.5)
                (directory / "ctl-top.svg").write_text(terminal.svg())
            assert not page.complaints, page.complaints
        server.stop()
    print(f"Written: {directory}/dashboard.png and {directory}/ctl-top.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
