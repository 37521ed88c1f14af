"""--reload: changed files are new code, broken code is a page with its traceback, and the next change mends it."""

import contextlib
import os
import re
import sysconfig
from pathlib import Path

import pytest
from podtest import http, server, types
from podtest.waiting import wait_until

WSGI = """
def application(environ, start_response):
    body = {version!r}.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
ASGI = """
async def application(scope, receive, send):
    assert scope["type"] == "http"
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": {version!r}.encode()}})
"""


class Site:
    """A package whose files tests rewrite; each time they get another time of change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._time = 1_000_000_000

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        new = path.with_name("new")
        new.write_text(text)
        self._time += 10
        os.utime(new, (self._time, self._time))
        new.rename(path)
        return path


@pytest.fixture
def site(tmp_path: Path) -> Site:
    directory = tmp_path / "site"
    directory.mkdir()
    return Site(directory)


def answers(app: server.Server, text: str, status: int = 200) -> http.Response:
    """Waits until the app answers so."""
    found: list[http.Response] = []

    def look() -> bool:
        try:
            found[:] = [app.get()]
        except (OSError, http.ExchangeError):
            # Gunicorn's workers leave at once.
            return False
        return found[0].status == status and text in found[0].text

    wait_until(look, lambda: f"{status} {text!r}; the last answer: {found and (found[0].status, found[0].text)}")
    return found[0]


@pytest.mark.parity
@pytest.mark.parametrize("kind", types.params())
def test_a_change_is_new_code(serve, site, kind):
    page = ASGI if "asgi" in kind else WSGI
    site.write("changing.py", page.format(version="one"))
    app = serve("changing", "--reload", *kind, cwd=site.directory)
    answers(app, "one")
    app.err.wait_for("Reloader is on")
    site.write("changing.py", page.format(version="two"))
    answers(app, "two")
    app.err.wait_for(rf"Worker reloading: {re.escape(str(site.directory))}/changing.py modified")
    site.write("changing.py", page.format(version="three"))
    answers(app, "three")


SOCKET_TYPES = {
    "tornado": (("-k", "tornado"), WSGI),
    "sync-subclass": (("-k", "socket_types.worker_classes.Sync"), WSGI),
    "uvicorn.workers": (("-k", "uvicorn.workers.UvicornWorker"), ASGI.replace("    assert", "    #")),
}


@pytest.mark.parametrize("name", SOCKET_TYPES)
def test_a_change_is_new_code_on_socket_types(serve, site, name):
    flags, page = SOCKET_TYPES[name]
    page = page.replace("    # scope", '    if scope["type"] == "lifespan":\n        return\n    # scope')
    site.write("changing.py", page.format(version="one"))
    app = serve("changing", "--reload", *flags, cwd=site.directory)
    answers(app, "one")
    site.write("changing.py", page.format(version="two"))
    answers(app, "two")
    app.err.wait_for(r"changing\.py modified")


def test_a_page_under_tornado(serve, site):
    site.write("changing.py", "def broken(:\n")
    app = serve("changing", "--reload", "-k", "tornado", cwd=site.directory)
    answers(app, "SyntaxError", 500)
    site.write("changing.py", WSGI.format(version="mended"))
    answers(app, "mended")


@pytest.mark.parity
def test_modules_that_the_app_imports(serve, site):
    site.write("other.py", "VERSION = 'one'")
    site.write("changing.py", "import other\n" + WSGI.replace("{version!r}", "other.VERSION"))
    app = serve("changing", "--reload", "--reload-engine", "poll", "--workers", "2", cwd=site.directory)
    answers(app, "one")
    site.write("other.py", "VERSION = 'two'")
    answers(app, "two")


@pytest.mark.parity
@pytest.mark.parametrize("form", ["file", "pattern"])
def test_extra_files(serve, site, form):
    (site.directory / "templates").mkdir()
    site.write("templates/page.txt", "one")
    site.write(
        "changing.py",
        f"VERSION = open('{site.directory}/templates/page.txt').read()\n" + WSGI.replace("{version!r}", "VERSION"),
    )
    extra = "templates/page.txt" if form == "file" else "templates/**/*.txt"
    app = serve("changing", "--reload", "--reload-extra-file", extra, cwd=site.directory)
    answers(app, "one")
    site.write("templates/page.txt", "two")
    answers(app, "two")


@pytest.mark.parametrize(
    "kind",
    [
        *(pytest.param(types.ALL[name], marks=pytest.mark.parity, id=name) for name in ("sync", "gthread-4", "gevent")),
        # Gunicorn's page has no traceback here.
        pytest.param(types.ALL["asgi"], id="asgi"),
    ],
)
def test_a_syntax_error_is_a_page_until_it_is_mended(serve, site, kind):
    page = ASGI if "asgi" in kind else WSGI
    site.write("changing.py", page.format(version="one"))
    app = serve("changing", "--reload", *kind, cwd=site.directory)
    answers(app, "one")
    site.write("changing.py", "def broken(:\n")
    response = answers(app, "SyntaxError", 500)
    assert "changing.py" in response.text
    assert response.header("Content-Type").startswith("text/plain")
    app.err.wait_for("SyntaxError")
    site.write("changing.py", page.format(version="two"))
    answers(app, "two")


@pytest.mark.parity
def test_a_syntax_error_at_the_start(serve, site):
    site.write("other.py", "def broken(:\n")
    site.write("changing.py", "import other\n" + WSGI.format(version="mended"))
    app = serve("changing", "--reload", cwd=site.directory)
    answers(app, "SyntaxError", 500)
    site.write("other.py", "")
    answers(app, "mended")


@pytest.mark.parametrize("flags", [(), ("--preload",)], ids=["", "preload"])
def test_what_the_app_raises_is_a_page_too(serve, site, flags):
    """Gunicorn ends."""
    site.write("other.py", "raise RuntimeError('not yet')")
    site.write("changing.py", "import other\n" + WSGI.format(version="mended"))
    app = serve("changing", "--reload", *flags, cwd=site.directory)
    answers(app, "RuntimeError: not yet", 500)
    site.write("other.py", "")
    answers(app, "mended")
    site.write("changing.py", WSGI.format(version="again"))
    answers(app, "again")


def test_without_reload_no_traceback_is_served(serve, site):
    site.write("changing.py", "def broken(:\n")
    app = serve("changing", cwd=site.directory, ready=False)
    assert app.wait_exit() == 3


def test_a_missing_app_is_no_page(site):
    site.write("changing.py", "")
    ended = server.run("--bind", "127.0.0.1:0", "--reload", "changing:nothing", cwd=site.directory)
    assert ended.returncode == 4
    ended = server.run("--check-config", "--reload", "changing:nothing", cwd=site.directory)
    assert ended.returncode == 1


def test_check_config_finds_a_syntax_error_under_reload(site):
    site.write("changing.py", "def broken(:\n")
    ended = server.run("--check-config", "--reload", "changing", cwd=site.directory)
    assert ended.returncode == 1
    assert "SyntaxError" in ended.stderr


def test_the_config_file_is_watched_and_a_broken_one_changes_nothing(serve, site):
    site.write("changing.py", "import os\n" + WSGI.replace("{version!r}", "os.environ['VERSION']"))
    config = site.write("gunicorn.conf.py", "raw_env = ['VERSION=one']\nreload = True\n")
    app = serve("changing", "-c", str(config), cwd=site.directory)
    answers(app, "one")
    site.write("gunicorn.conf.py", "raw_env = [\n")
    app.err.wait_for("Reload failed, generation 1 keeps serving")
    answers(app, "one")
    site.write("gunicorn.conf.py", "raw_env = ['VERSION=two']\nreload = True\n")
    answers(app, "two")


def test_workers_of_another_user(serve, site):
    """They may not signal the arbiter themselves."""
    if os.geteuid() != 0:
        pytest.skip("only root can change the user")
    site.directory.parent.chmod(0o755)
    site.write("changing.py", WSGI.format(version="one")).chmod(0o644)
    app = serve("changing", "--reload", "--user", "65534", cwd=site.directory, for_others=True)
    answers(app, "one")
    site.write("changing.py", WSGI.format(version="two")).chmod(0o644)
    answers(app, "two")


def test_no_request_is_lost_when_code_changes(serve, site):
    from podtest.load import Load

    site.write("changing.py", WSGI.format(version="one"))
    app = serve("changing", "--reload", "--workers", "2", cwd=site.directory)
    with Load(app.address, clients=4) as load:
        site.write("changing.py", WSGI.format(version="two"))
        answers(app, "two")
    assert not load.failures()


@pytest.mark.parity
def test_inotify_without_its_package_ends_the_start(site):
    program = os.environ.get("PODTEST_PROGRAM", "podicorn")
    site.write("changing.py", WSGI.format(version="one"))
    ended = server.run(
        *("--bind", "127.0.0.1:0", "--reload", "--reload-engine", "inotify", "changing"),
        cwd=site.directory,
        program=program,
    )
    assert ended.returncode != 0
    assert "inotify" in ended.stderr


@pytest.mark.parity
@pytest.mark.parametrize("engine", ["inotify", "auto"])
def test_inotify_tells_of_changes(serve, site, engine):
    """The package is in a directory of its own, since `auto` takes it where it is found."""
    beside = Path(sysconfig.get_path("scripts")).parent / "inotify"
    environment = {"PYTHONPATH": f"{site.directory}{os.pathsep}{beside}"}
    site.write("changing.py", WSGI.format(version="one"))
    app = serve("changing", "--reload", "--reload-engine", engine, cwd=site.directory, environment=environment)
    answers(app, "one")
    assert any("inotify" in file for pid in app.family() for file in open_files(pid))
    # Gunicorn misses what changes before it watches the directory.
    server.settle(0.5 if app.program == "gunicorn" else 0)
    site.write("changing.py", WSGI.format(version="two"))
    answers(app, "two")


def open_files(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(link))
    return found


def test_an_extra_file_that_is_not_there(site):
    ended = server.run(
        *("--bind", "127.0.0.1:0", "--reload", "--reload-extra-file", "no-such.txt", "hello:app"),
    )
    assert ended.returncode == 1
    assert "no-such.txt" in ended.stderr


@pytest.mark.parity
@pytest.mark.parametrize("kind", types.params("sync", "gevent"))
def test_spew(serve, site, kind):
    site.write("changing.py", WSGI.format(version="one"))
    app = serve("changing", "--spew", *kind, cwd=site.directory)
    answers(app, "one")
    app.out.wait_for(r"^changing:3:     body = 'one'\.encode\(\)$")
