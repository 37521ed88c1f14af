"""Every CPython from 3.10 on that this machine has: built, installed into a virtualenv, served from it.

``make test`` builds the server once for the interpreter of its own environment. The others are built here when
PODTEST_PYTHONS=1 says so (each takes some minutes when nothing is cached); otherwise the run says which were left out.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from podtest import http
from podtest.server import TESTS, Server
from podtest.waiting import wait_until

OLDEST = (3, 10)


def version_of(python: str) -> tuple[int, int] | None:
    """(3, 12) for a CPython that works, None for anything else."""
    code = "import sys, venv; print(sys.implementation.name, sys.version_info[0], sys.version_info[1])"
    try:
        said = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    name, _, rest = said.stdout.strip().partition(" ")
    if said.returncode or name != "cpython":
        return None
    major, minor = rest.split()
    return int(major), int(minor)


def pythons() -> dict[tuple[int, int], str]:
    """One interpreter for each version, ours excepted."""
    found: dict[tuple[int, int], str] = {}
    names = [f"python3.{minor}" for minor in range(OLDEST[1], 20)]
    candidates = [shutil.which(name) for name in names]
    candidates += sorted(str(path) for path in Path.home().glob(".pyenv/versions/*/bin/python3"))
    for python in filter(None, candidates):
        version = version_of(python)
        if version and version >= OLDEST and version != sys.version_info[:2]:
            found.setdefault(version, python)
    return dict(sorted(found.items()))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("version", "python"), [pytest.param(v, p, id=f"{v[0]}.{v[1]}") for v, p in pythons().items()])
def test_builds_and_serves(version, python, tmp_path):
    if os.environ.get("PODTEST_PYTHONS") != "1":
        pytest.skip(f"CPython {version[0]}.{version[1]} is here; PODTEST_PYTHONS=1 builds for it, too")
    if "PODICORN_BIN" in os.environ:
        pytest.skip("PODICORN_BIN names one build")
    environment = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", str(environment)], check=True)
    built = subprocess.run(
        [environment / "bin" / "pip", "install", "--quiet", "--no-input", str(TESTS.parent / "server")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-4000:]
    with Server(
        "probe:app", "--workers", "2", "--preload", executable=[str(environment / "bin" / "podicorn")]
    ) as server:
        server.wait_ready()
        identity = server.get("/identity").json()
        assert identity["prefix"] == str(environment)
        assert server.post("/echo", b"body").body == b"body"
        assert server.stop() == 0
    # Without uvloop here. Eager tasks are what differs between versions.
    with Server(
        "probe:app", "-k", "asgi", "--asgi-eager", executable=[str(environment / "bin" / "podicorn")]
    ) as server:
        server.wait_ready()
        assert server.get("/loop").text == "asyncio.unix_events"
        with server.connect() as client:
            client.send(
                b"".join(http.head("GET", f"/{name}") for name in ("context/a", "context/b", "raise-after", "pid"))
            )
            assert client.read_response().json() == {"before": "", "after": "a", "task": True}
            assert client.read_response().json() == {"before": "", "after": "b", "task": True}
            assert client.read_response().body == b"all is well\n"
            assert client.read_response().status == 200
        assert server.post("/echo", b"body").body == b"body"
        gone = server.connect()
        gone.send(http.head("GET", "/ignores-disconnect"))
        wait_until(lambda: server.admin.workers()[0]["inFlight"] == 1, "the request")
        gone.close()
        server.out.wait_for("cancelled after")
        assert server.stop() == 0
        assert "the app raised behind its response" in server.err.text
        assert ("no effect" in server.err.text) is (version < (3, 12))


def test_another_interpreter_by_flag(tmp_path):
    """--python: the app runs in an environment of its own that has the server's package too."""
    if "PODICORN_BIN" in os.environ:
        pytest.skip("PODICORN_BIN names one build")
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", environment], check=True)
    # A virtualenv of a virtualenv sees the base's packages only: point it at ours.
    site = next(environment.glob("lib/python3*/site-packages"))
    ours = next(Path(sys.prefix).glob("lib/python3*/site-packages"))
    (site / "ours.pth").write_text(f"{ours}\n")
    with Server("probe:app", "--python", str(environment / "bin" / "python")) as server:
        server.wait_ready()
        assert server.get("/identity").json()["prefix"] == str(environment)
        assert server.stop() == 0


def test_as_a_module_of_a_chosen_interpreter(serve):
    """``python -m podicorn`` runs the app in that very interpreter; the process becomes the arbiter."""
    if "PODICORN_BIN" in os.environ:
        pytest.skip("PODICORN_BIN names one build")
    server = serve("probe:app", executable=[sys.executable, "-m", "podicorn"])
    assert server.get("/identity").json()["prefix"] == sys.prefix
    assert "python" not in os.path.basename(os.readlink(f"/proc/{server.pid}/exe"))
    assert server.stop() == 0
