"""Apps that cannot start. The exit codes are Gunicorn's; the message says what and where."""

import re
import shutil

import pytest
from podtest.server import APPS
from podtest.waiting import wait_until


def boots(server) -> int:
    return server.err.text.count("Booting worker with pid")


@pytest.mark.parity
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("faults.import_raises:application", "RuntimeError: the database is not there"),
        ("faults.import_missing:application", "No module named 'a_package_that_is_not_installed'"),
        ("faults.no_application:factory_that_fails()", "LookupError: no tenant is configured"),
    ],
)
def test_an_exception_at_import_exits_at_once(serve, spec, said, preload):
    server = serve(spec, *(["--preload"] if preload else []), ready=False)
    code = server.wait_exit()
    server.err.join()
    if preload and server.program == "gunicorn":
        assert code == 1  # Gunicorn's master itself dies there, at times without a traceback
        return
    assert said in server.err.text
    assert "Traceback" in server.err.text
    assert code == 3
    assert boots(server) <= 1


@pytest.mark.parity
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("faults.no_application:missing", "missing"),
        ("faults.no_application", "application"),
        ("faults.no_application:something", "callable"),
        ("faults.no_application:factory_returns_nothing()", "factory_returns_nothing|None|callable"),
        ("hello:create(", "create"),
        ("hello:app.attribute", "app.attribute"),
        ("hello:create(os.getcwd())", "literal"),
    ],
)
def test_no_such_app_exits_with_4(serve, spec, said, preload):
    server = serve(spec, *(["--preload"] if preload else []), ready=False)
    code = server.wait_exit()
    server.err.join()
    assert re.search(said, server.err.text), server.err.text
    assert code == (1 if preload and server.program == "gunicorn" else 4)


@pytest.mark.parity
def test_a_module_that_does_not_exist(serve):
    server = serve("no_such_module_anywhere:app", ready=False)
    code = server.wait_exit()
    server.err.join()
    assert "no_such_module_anywhere" in server.err.text
    assert code == 3


@pytest.mark.parity
def test_a_file_name_in_place_of_a_module_gets_a_hint(serve):
    server = serve("hello.py", ready=False)
    assert server.wait_exit() in (3, 4)
    server.err.join()
    assert re.search(r"hello:app|`hello`|'hello'|hello:", server.err.text)


@pytest.mark.parity
def test_a_syntax_error_is_shown_with_its_line(serve, tmp_path):
    shutil.copy(APPS / "faults" / "syntax_error.txt", tmp_path / "broken.py")
    server = serve("broken", ready=False, cwd=tmp_path)
    assert server.wait_exit() == 3
    server.err.join()
    assert "broken.py" in server.err.text
    assert "line 3" in server.err.text
    assert "SyntaxError" in server.err.text


def test_many_workers_that_fail_alike(serve):
    server = serve("faults.import_raises:application", "--workers", "16", ready=False)
    assert server.wait_exit() == 3
    server.err.join()
    assert "RuntimeError: the database is not there" in server.err.text
    assert not server.family()


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_a_segfault_at_import_backs_off_and_ends(serve, as_pid1, preload):
    server = serve(
        "faults.import_segfaults:application", *(["--preload"] if preload else []),
        ready=False, pid1=as_pid1, expect=("Fatal Python error: Segmentation fault",),
    )  # fmt: skip
    wait_until(lambda: (server.admin.status("/startupz") or 0) == 503, "a first answer")

    def cause() -> bool:
        text = server.admin.get("/startupz").text
        return "SIGSEGV" in text or "signal 11" in text

    wait_until(cause, lambda: f"the cause on /startupz: {server.admin.get('/startupz').text}")
    assert server.admin.status("/livez") == 200
    assert server.admin.status("/readyz") == 503
    assert server.wait_exit(150) == 3
    server.err.join()
    assert 2 <= len(re.findall(r"Boot failed: .*SIGSEGV", server.err.text)) <= 8
    if not preload:
        assert 2 <= boots(server) <= 8
    assert not server.family()


@pytest.mark.parametrize("code", [0, 7])
def test_an_exit_at_import_is_a_failed_boot(serve, code):
    """Gunicorn starts such a worker for ever."""
    server = serve("faults.import_exits:application", ready=False, environment={"EXIT_CODE": str(code)})
    assert server.wait_exit(150) == 3
    server.err.join()
    assert boots(server) <= 8


@pytest.mark.parametrize("code", [3, 4])
def test_an_app_that_exits_with_the_codes_of_a_boot_error(serve, code):
    server = serve("faults.import_exits:application", ready=False, environment={"EXIT_CODE": str(code)})
    assert server.wait_exit(150) in (3, code)


def test_a_failed_boot_after_a_good_one_does_not_end_the_server(serve, tmp_path):
    """The file breaks on disk while the server runs: the living worker serves on, new ones are tried with back-off."""
    import os
    import signal

    source = tmp_path / "shop.py"
    source.write_text("from probe import application\n")
    server = serve("shop", "--workers", "2", cwd=tmp_path)
    server.admin.wait_workers(2)
    source.write_text("raise RuntimeError('half an upload')\n")
    victim, survivor = server.worker_pids()
    os.kill(victim, signal.SIGKILL)
    server.err.wait_for("half an upload")
    assert server.get("/pid").text == str(survivor)
    assert server.admin.status("/readyz") == 200
    source.write_text("from probe import application\n")
    server.admin.wait_workers(2)
    assert server.running()
