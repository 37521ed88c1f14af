"""`podicorn migrate`: what becomes of a Gunicorn config file, in text and JSON, and the exit codes."""

import json

import pytest
from podtest import server

MIXED = """
import os
print("the file may print")
DATABASE = "none of ours"
bind = "127.0.0.1:0"
workers = 2
timeout = 60
worker_tmp_dir = "/dev/shm"
dirty_workers = 0
def post_fork(server, worker):
    pass
"""


def migrate(path: str, *arguments: str):
    return server.run("migrate", path, *arguments)


def verdicts(path: str) -> dict[str, str]:
    done = migrate(path, "--format", "json")
    return {one["name"]: one["verdict"] for one in json.loads(done.stdout)["settings"]}


def test_a_file_that_can_be_taken_over(config):
    done = migrate(config(MIXED), "--format", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["counts"] == {"refused": 0, "ignored": 1, "better": 1, "same": 4}
    found = {one["name"]: one for one in report["settings"]}
    assert set(found) == {"bind", "workers", "timeout", "worker_tmp_dir", "dirty_workers", "post_fork"}
    assert found["worker_tmp_dir"] == {
        "name": "worker_tmp_dir", "value": "'/dev/shm'", "verdict": "ignored",
        "note": found["worker_tmp_dir"]["note"],
    }  # fmt: skip
    assert "shared memory" in found["worker_tmp_dir"]["note"]
    assert found["post_fork"]["value"] == "a callable"
    assert "the file may print" in done.stderr, "and not where the report is"


def test_what_is_refused_comes_first_and_says_what_to_do(config):
    path = config(MIXED + "daemon = True\nthreads = 'many'\n")
    done = migrate(path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"{path}: 2 refused, 1 ignored, 1 better, 4 same"
    assert lines[2] == "refused  daemon = True"
    assert "foreground" in lines[3]
    assert lines[4] == "refused  threads = 'many'"
    assert "it must be a whole number" in lines[5]


@pytest.mark.parametrize(
    ("text", "said"),
    [("workers = (", "SyntaxError"), ("import no_such_module", "no_such_module"), (None, "does not exist")],
)
def test_a_file_that_cannot_be_read(tmp_path, config, text, said):
    path = str(tmp_path / "missing.py") if text is None else config(text)
    done = migrate(path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_wrong_arguments_and_help():
    assert server.run("migrate", "--format", "xml").returncode == 2
    done = server.run("migrate", "--help")
    assert done.returncode == 0
    assert "Exit code 0" in done.stdout


def test_the_verdicts_are_the_servers(config):
    """What the report lets pass, the server starts with; what it refuses, the server refuses."""
    for text in ("daemon = True\n", "paste = 'x.ini'\n", "workers = 'x'\n"):
        path = config(text)
        assert set(verdicts(path).values()) == {"refused"}
        assert server.run("--check-config", "-c", path, "hello:app").returncode == 1
    for text in (MIXED, "logconfig_dict = {'version': 1, 'handlers': {'x': {'()': print}}}\n", "daemon = False\n"):
        path = config(text)
        assert "refused" not in verdicts(path).values()
    assert server.run("--check-config", "-c", config(MIXED), "hello:app").returncode == 0
