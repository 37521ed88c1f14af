"""The config file: what is read, what is plain, what is refused."""

import enum
import pathlib
import sys

import pytest

from podicorn import config_file
from podicorn.config_file import NotPlain, plain
from podicorn.failure import Failure

from hooks_known import KNOWN


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(text, name="gunicorn.conf.py", path=None):
        (tmp_path / name).write_text(text)
        return config_file.load(path, path is not None, KNOWN)

    yield run
    sys.modules.pop(config_file.MODULE_NAME, None)


def refusal(load, text):
    with pytest.raises(Failure) as caught:
        load(text)
    assert (caught.value.kind, caught.value.exit_code) == ("config", 1)
    return caught.value


def test_only_known_names_are_settings(load, tmp_path):
    file = load("import os\nworkers = 3\nbind = ('a:1', 'b:2')\nWORKERS = 5\nmine = object()\n_private = 1\n")
    assert file.values == {"workers": 3, "bind": ["a:1", "b:2"]}
    assert file.python == {}
    assert file.path == str(tmp_path / "gunicorn.conf.py")


def test_hooks_stay_in_python(load):
    file = load("def post_fork(server, worker): return 7\n")
    assert file.values == {}
    assert file.python["post_fork"](None, None) == 7


@pytest.mark.parametrize("path", ["other.py", "file:other.py", "other.conf", "file:./other.conf"])
def test_paths(load, path):
    assert load("timeout = 5", name=path.removeprefix("file:"), path=path).values == {"timeout": 5}


def test_a_module(load, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    file = load("timeout = 6", name="settings_of_the_server.py", path="python:settings_of_the_server")
    assert file.values == {"timeout": 6}
    assert file.path == "python:settings_of_the_server"


def test_without_a_file_there_are_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = config_file.load(None, False, KNOWN)
    assert (file.path, file.values, file.python) == (None, {}, {})


def test_a_file_that_was_asked_for_must_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failure, match=r"the config file .*/conf/x\.py does not exist") as caught:
        config_file.load("conf/x.py", True, KNOWN)
    assert caught.value.exit_code == 1


def test_a_directory_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failure, match=r"cannot read config file .*: Is a directory"):
        config_file.load(".", True, KNOWN)


def test_a_second_version_within_the_same_second_counts(load):
    assert load("timeout = 11").values == {"timeout": 11}
    assert load("timeout = 12").values == {"timeout": 12}


def test_a_syntax_error_says_its_line(load, tmp_path):
    said = refusal(load, "workers = 1\nbind = [\n")
    assert said.message.startswith(f"cannot read config file {tmp_path}/gunicorn.conf.py: SyntaxError line 2: ")
    assert "bind = [" in said.traceback


def test_an_exception_comes_with_its_traceback(load):
    said = refusal(load, "def f():\n    return 1 / 0\nf()\n")
    assert said.message.endswith("ZeroDivisionError: division by zero")
    assert "return 1 / 0" in said.traceback
    assert "config_file.py" not in said.traceback


def test_an_exit_is_refused(load):
    assert "SystemExit: 3" in refusal(load, "import sys; sys.exit(3)").message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def post_fork(worker): pass", "hook post_fork has 1 parameter; it is called as post_fork(server, worker)"),
        ("def on_exit(server, x=1): pass", "hook on_exit has 2 parameters; it is called as on_exit(server)"),
        ("def nworkers_changed(*a): pass", "hook nworkers_changed has 0 parameters"),
        ("def post_request(worker): pass", "hook post_request has 1 parameter"),
        ("when_ready = None", "hook when_ready: None is not callable"),
        ("when_ready = 'nodots'", "hook when_ready: 'nodots' is not a function, nor the name of one"),
        ("when_ready = 'os.nothing'", "hook when_ready: the module 'os' has no 'nothing'"),
        ("when_ready = 'no_such_module.x'", "hook when_ready: ModuleNotFoundError: No module named 'no_such_module'"),
        ("timeout = float('nan')", "timeout: nan is not a number that a setting can have"),
        ("pidfile = '\\udcff'", "not valid UTF-8"),
        ("def worker_class(): return 1 / 0", "worker_class: ZeroDivisionError"),
    ],
)
def test_wrong_values(load, text, message):
    assert message in refusal(load, text).message


def test_forms_of_hooks(load):
    file = load(
        """
import functools
class Hook:
    def __call__(self, server): return "instance"
    def method(self, server, worker): return "method"
on_starting = Hook()
pre_fork = Hook().method
on_exit = functools.partial(lambda prefix, server: prefix, "partial")
when_ready = lambda server: "lambda"
worker_int = "os.fspath"
def post_request(worker, req): return (worker, req)
"""
    )
    call = file.python
    assert call["on_starting"](0) == "instance"
    assert call["pre_fork"](0, 0) == "method"
    assert call["on_exit"](0) == "partial"
    assert call["when_ready"](0) == "lambda"
    assert call["worker_int"]("x") == "x"
    assert call["post_request"](1, 2, 3, 4) == (1, 2)


def test_a_decorated_hook_counts_as_what_it_wraps(load):
    file = load(
        """
import functools
def logged(f):
    @functools.wraps(f)
    def inner(*args): return f(*args)
    return inner
@logged
def post_fork(server, worker): return "called"
"""
    )
    assert file.python["post_fork"](0, 0) == "called"


def test_classes_are_told_by_name_and_kept(load):
    file = load("class Mine: pass\nworker_class = Mine\n")
    assert file.values == {"worker_class": "__config__:Mine"}
    assert file.python["worker_class"].__name__ == "Mine"
    file = load("class Mine: pass\ndef worker_class(): return Mine\n")
    assert file.values == {"worker_class": "__config__:Mine"}
    assert load("worker_class = 'gthread'").values == {"worker_class": "gthread"}


def test_objects_stay_in_python(load):
    file = load("import io\nlogconfig_dict = {'stream': io.StringIO()}\npidfile = object()\n")
    assert file.values == {}
    assert set(file.python) == {"logconfig_dict", "pidfile"}


class Level(enum.IntEnum):
    ONE = 1


class Word(str, enum.Enum):
    YES = "yes"


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, None),
        (True, True),
        (Level.ONE, 1),
        (1.5, 1.5),
        (Word.YES, "yes"),
        (pathlib.Path("/run/x"), "/run/x"),
        ({"b", "a"}, ["a", "b"]),
        ((n for n in (1, 2)), [1, 2]),
        ({"k": ("v", [None])}, {"k": ["v", [None]]}),
        ({"k": 1}.keys(), ["k"]),
    ],
)
def test_plain(value, result):
    found = plain(value)
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize("value", [b"bytes", object(), {1: 2}, [object()], print, int])
def test_not_plain(value):
    with pytest.raises(NotPlain):
        plain(value)
