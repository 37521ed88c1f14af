"""A second preloaded app has to fit beside the first one: a reload that would not is refused, with the figures."""

import signal

from podtest.waiting import wait_until

APP = """
import probe
BALLAST = b"x" * (96 << 20)
application = probe.application
"""


def test_a_reload_that_does_not_fit_is_refused_with_the_figures(confined, tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    server, group = confined(192, "shop", "--preload", "--workers", "2", cwd=tmp_path)
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

    group.grow(512)
    server.send(signal.SIGHUP)
    wait_until(lambda: server.admin.pool()["generation"] > 1, "a generation that fits")
    server.admin.wait_workers(2)
    assert not set(before) & set(server.admin.pids())
    assert group.kills == 0
    if not group.v2:
        assert int((group.path / "memory.failcnt").read_text()) == 0
    assert server.stop() == 0
