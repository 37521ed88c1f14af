"""Fixtures of the black-box suites."""

import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from podtest.certificates import Authority
from podtest.cgroups import MemoryGroup, why_not
from podtest.gate import Gate
from podtest.server import Server, program_path

#: What no server may ever say, whatever a test did to it.
NEVER = ("panicked at", "Fatal Python error: Segmentation fault", "SystemError", "internal error: entered unreachable")

Serve = Callable[..., Server]


def program() -> str:
    """``podicorn``, or ``gunicorn`` for a run that checks the tests themselves against the oracle."""
    return os.environ.get("PODTEST_PROGRAM", "podicorn")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With the oracle as the program only what it can be compared in is run."""
    if program() == "podicorn":
        return
    for item in items:
        if item.get_closest_marker("parity") is None:
            item.add_marker(pytest.mark.skip(reason="no such thing in Gunicorn, or meant to differ from it"))
        elif "eventlet" in item.name:
            item.add_marker(pytest.mark.skip(reason="Gunicorn 26 dropped eventlet"))


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Starts servers that end with the test. ``ready=False`` does not wait; ``expect`` allows words of NEVER."""
    started: list[Server] = []
    allowed: list[str] = []

    def start(*arguments: str, ready: bool = True, expect: tuple[str, ...] = (), **options: object) -> Server:
        options.setdefault("program", program())
        server = Server(*arguments, **options)  # type: ignore[arg-type]
        started.append(server)
        allowed.extend(expect)
        return server.wait_ready() if ready else server

    yield start
    said = []
    for server in started:
        server.close()
        text = server.err.text
        print(f"--- {' '.join(server.command)}\n--- stderr\n{tail(text)}\n--- stdout\n{tail(server.out.text)}")
        said += [line for line in text.splitlines() if any(word in line for word in NEVER if word not in allowed)]
    assert not said, f"the server said what it must never say: {said}"


def tail(text: str, size: int = 8000) -> str:
    """The end of a long text."""
    return text if len(text) <= size else "…" + text[-size:]


@pytest.fixture
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gate whose socket every user may reach."""
    directory = tmp_path_factory.mktemp("gate")
    made = Gate(str(directory / "g"))
    yield made
    made.close()


@pytest.fixture
def open_files() -> Iterator[Callable[[int], None]]:
    """Raises the limit of open files for a test with so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def raise_to(count: int) -> None:
        assert hard == resource.RLIM_INFINITY or hard >= count, f"no more than {hard} open files: raise the limit"
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))

    yield raise_to
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    """Writes a config file and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "gunicorn.conf.py"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues certificates."""
    return Authority()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> tuple[str, ...]:
    """The command line's part of TLS: a certificate and its key."""
    certificate, key = authority.issue().write(tmp_path)
    return ("--certfile", certificate, "--keyfile", key)


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skips where this machine gives us no PID namespace."""
    from podtest.namespaces import why_not

    reason = why_not()
    if reason:
        if os.environ.get("CI"):
            pytest.fail(f"PID namespaces are needed here: {reason}")
        pytest.skip(f"no PID namespaces: {reason}")


@pytest.fixture(scope="session")
def django_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared database, made once a run; tests copy it."""
    import subprocess

    from podtest.server import APPS

    path = tmp_path_factory.mktemp("django") / "template.sqlite3"
    subprocess.run(
        [sys.executable, "-m", "django_site.prepare"],
        cwd=APPS,
        env=os.environ | {"DJANGO_DB": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    return path


@pytest.fixture
def django_db(django_template: Path, tmp_path: Path) -> Path:
    """A database of this test's own."""
    import shutil

    tmp_path.chmod(0o755)  # servers of other users read it, too
    return Path(shutil.copy(django_template, tmp_path / "site.sqlite3"))


@pytest.fixture(params=["ordinary", pytest.param("pid1", marks=pytest.mark.pid1)])
def as_pid1(request: pytest.FixtureRequest) -> bool:
    """Runs the test twice: the server as an ordinary process, and as PID 1."""
    if request.param == "pid1":
        request.getfixturevalue("namespaces")
    return request.param == "pid1"


@pytest.fixture
def group() -> Iterator[Callable[..., MemoryGroup]]:
    """Makes memory groups that end with the test; the servers in them must be closed before."""
    reason = why_not()
    if reason:
        if os.environ.get("CI"):
            pytest.fail(f"memory cgroups are needed here: {reason}")
        pytest.skip(f"no memory cgroups: {reason}")
    made: list[MemoryGroup] = []

    def make(mib: int, together: bool = False) -> MemoryGroup:
        made.append(MemoryGroup(mib, together))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def confined(group: Callable[..., MemoryGroup], serve: Serve) -> Iterator[Callable[..., tuple[Server, MemoryGroup]]]:
    """Serves in a group of so many MiB; the server, and the group."""
    servers: list[Server] = []

    def start(mib: int, *arguments: str, together: bool = False, **options: object) -> tuple[Server, MemoryGroup]:
        box = group(mib, together)
        name = str(options.get("program", "podicorn"))
        server = serve(*arguments, executable=box.entering(program_path(name)), **options)
        servers.append(server)
        return server, box

    yield start
    for server in servers:
        server.close()
