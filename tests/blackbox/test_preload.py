"""--preload: imported once, frozen, shared."""

import re
from pathlib import Path

import pytest
from podtest.waiting import wait_until


@pytest.mark.parity
def test_the_app_is_imported_once(serve, tmp_path):
    (tmp_path / "counted.py").write_text("import os\nos.write(2, b'imported\\n')\nfrom hello import application\n")
    server = serve("counted", "--preload", "--workers", "3", cwd=tmp_path)
    wait_until(lambda: len(re.findall(r"Booting worker", server.err.text)) == 3, "three workers")
    assert server.get().status == 200
    assert server.err.text.count("imported\n") == 1


@pytest.mark.parity
def test_without_it_each_worker_imports(serve, tmp_path):
    (tmp_path / "counted.py").write_text("import os\nos.write(2, b'imported\\n')\nfrom hello import application\n")
    server = serve("counted", "--workers", "3", cwd=tmp_path)
    wait_until(lambda: server.err.text.count("imported\n") == 3, "three imports")


def test_what_was_imported_is_frozen(serve):
    """gc.freeze keeps the collector from writing into shared pages."""
    server = serve("faults.large:application", "--preload")
    assert int(server.get("/collect").text) > 100_000


def private(pid: int) -> int:
    """KiB that the process shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def test_workers_share_the_apps_memory(serve):
    sizes = {}
    for flags in ((), ("--preload",)):
        server = serve("faults.large:application", "--workers", "3", *flags)
        server.admin.wait_workers(3)
        seen: set[str] = set()
        for _ in range(60):
            seen.add(server.get("/collect").text)
        sizes[flags] = max(private(pid) for pid in server.worker_pids())
    # The app's objects are some 30 MiB; a worker that shares them has its own interpreter state and stacks only.
    assert sizes["--preload",] < sizes[()] / 2, sizes


def test_every_reload_freezes_and_shares_again(serve):
    import signal

    server = serve("faults.large:application", "--preload")
    server.send(signal.SIGHUP)
    wait_until(lambda: server.admin.pool()["generation"] == 2, "the second generation")
    assert int(server.get("/collect").text) > 100_000


def test_respawned_workers_are_forked_from_the_same_import(serve, tmp_path):
    import os
    import signal

    (tmp_path / "counted.py").write_text("import os\nos.write(2, b'imported\\n')\nfrom hello import application\n")
    server = serve("counted", "--preload", "--workers", "2", cwd=tmp_path)
    server.admin.wait_workers(2)
    for _ in range(5):
        victim = server.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda victim=victim: victim not in server.admin.pids(), "its end")
        server.admin.wait_workers(2)
    assert server.err.text.count("imported\n") == 1
