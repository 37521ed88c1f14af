"""App specs: Gunicorn's rules and exit codes."""

import sys

import pytest

from podicorn import app as loading
from podicorn.app import AppImportError, AppSpec, failure, import_app


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of a name that no other test uses, and makes it importable."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def write(name, text):
        path = tmp_path / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("m", ("m", "application", None)),
        ("m.n", ("m.n", "application", None)),
        ("m:app", ("m", "app", None)),
        ("m:make()", ("m", "make", ([], {}))),
        ("m:make(1, 'two', x=[3])", ("m", "make", ([1, "two"], {"x": [3]}))),
        ("m:make(':')", ("m", "make", ([":"], {}))),
    ],
)
def test_specs(spec, parts):
    parsed = AppSpec.parse(spec)
    assert (parsed.module, parsed.name, parsed.arguments) == parts


@pytest.mark.parametrize(
    "spec",
    [
        "m:",
        "m:a.b",
        "m:a.b()",
        "m:a b",
        "m:1",
        "m:make(x)",
        "m:make(**{'a': 1})",
        "m:make(*[1])",
        "m:make()()",
        "m:[a]",
    ],
)
def test_specs_that_name_no_app(spec):
    with pytest.raises(AppImportError, match="the app"):
        AppSpec.parse(spec)


def test_the_default_name_is_application(module):
    module("one", "def application(environ, start_response): return 'me'")
    assert import_app("one")({}, None) == "me"


def test_a_factory_gets_its_arguments(module):
    module("two", "def make(a, b=0):\n    return lambda environ, start_response: (a, b)")
    assert import_app("two:make('x', b=2)")({}, None) == ("x", 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "has no 'nothing'"),
        ("NONE", "is None"),
        ("NUMBER", "not callable: it is of type int"),
        ("make(1)", "takes 0 positional arguments but 1 was given"),
        ("make(x=1)", "unexpected keyword"),
        ("returns_none()", "is None"),
    ],
)
def test_what_is_no_app_exits_4(module, name, message):
    module("three", "NONE = None\nNUMBER = 1\ndef make(): return print\ndef returns_none(): return None\n")
    with pytest.raises(AppImportError, match=message) as caught:
        import_app(f"three:{name}")
    said = failure(f"three:{name}", caught.value)
    assert (said.kind, said.exit_code, said.traceback) == ("app_import", 4, None)


def test_a_type_error_inside_the_factory_is_its_own(module):
    module("four", "def make():\n    return len(5)\n")
    with pytest.raises(TypeError) as caught:
        import_app("four:make()")
    said = failure("four:make()", caught.value)
    assert (said.kind, said.exit_code) == ("app", 3)
    assert "return len(5)" in said.traceback


def fail(uri):
    try:
        import_app(uri)
    except BaseException as error:
        return failure(uri, error)
    raise AssertionError("it did not fail")


def test_a_module_that_is_not_there_exits_3_as_in_gunicorn(module):
    said = fail("no_such_module:app")
    assert (said.kind, said.exit_code, said.traceback) == ("app", 3, None)
    assert "cannot find the app 'no_such_module:app': No module named 'no_such_module'" in said.message


def test_a_submodule_that_is_not_there(module):
    module("five/__init__", "")
    assert "No module named 'five.missing'" in fail("five.missing:app").message
    assert "no_parent" in fail("no_parent.child:app").message


def test_a_file_name_gets_a_hint(module):
    module("six", "application = print")
    said = fail("six.py")
    assert said.exit_code == 3
    assert "did you mean 'six:application'?" in said.message
    module("sub/seven", "application = print")
    assert "did you mean 'sub.seven:app'?" in fail("sub/seven.py:app").message


def test_a_missing_dependency_is_shown_with_its_place(module):
    path = module("eight", "import first\n")
    module("first", "x = 1\nimport not_installed_anywhere\n")
    said = fail("eight:app")
    assert (said.kind, said.exit_code) == ("app", 3)
    assert "ModuleNotFoundError: No module named 'not_installed_anywhere'" in said.message
    assert str(path) in said.traceback
    assert "importlib" not in said.traceback
    assert loading.__file__ not in said.traceback


def test_a_syntax_error_says_the_line(module):
    path = module("nine", "def application(environ, start_response:\n    pass\n")
    said = fail("nine")
    assert "SyntaxError line 1" in said.message
    assert str(path) in said.traceback


def test_an_exit_at_import_is_a_failure(module):
    module("ten", "import sys\nsys.exit(0)\n")
    said = fail("ten")
    assert (said.kind, said.exit_code) == ("app", 3)
    assert "called sys.exit(0)" in said.message


@pytest.mark.parametrize("uri", [":app", ".relative:app", ""])
def test_no_module(uri):
    assert "names no module" in fail(uri).message
