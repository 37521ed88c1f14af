"""`podicorn simulate`: the same bytes for the same arguments, and errors that say where."""

import pytest
from podtest.server import run

LINE = '10.0.0.1 - - [24/Nov/2026:16:40:{:02d} +0000] "GET / HTTP/1.1" 200 12 "-" "curl/8" {}'


def simulate(*arguments):
    return run("simulate", *arguments)


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    def once(name, seed):
        plot = tmp_path / name
        done = simulate("--trace", "flash", "--seed", seed, "--format", "markdown", "--plot", str(plot))
        assert done.returncode == 0, done.stderr
        return done.stdout, plot.read_bytes()

    first = once("a.svg", "3")
    assert first == once("b.svg", "3")
    assert first != once("c.svg", "4")
    table, svg = first
    for policy in ("podicorn", "fixed 2", "HPA on CPU", "Knative KPA", "uWSGI busyness", "php-fpm dynamic"):
        assert f"| {policy} |" in table
        assert policy.encode() in svg
    assert svg.startswith(b"<svg")


@pytest.mark.parametrize("field", ["41200", "0.041200"])
def test_an_access_log_is_replayed(tmp_path, field):
    log = tmp_path / "access.log"
    log.write_text("".join(LINE.format(number % 60, field) + "\n" for number in range(600)))
    done = simulate("--access-log", str(log))
    assert done.returncode == 0, done.stderr
    assert "access.log: 600 requests" in done.stdout
    # 600 times 41.2 ms.
    assert "25 s of workers" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LINE.format(1, "5") + "\nnonsense\n", "access.log:2: "),
        (LINE.format(1, "-") + "\n", "access.log:1: the last field"),
        ('{"time":"2026-11-24T16:40:08Z"}\n', 'access.log:1: the member "duration_us" is missing'),
        ("", "access.log has no requests"),
        (None, "cannot read "),
    ],
)
def test_a_log_that_cannot_be_read_is_named_with_its_line(tmp_path, text, said):
    log = tmp_path / "access.log"
    if text is not None:
        log.write_text(text)
    done = simulate("--access-log", str(log))
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trace", "square"], "square"),
        (["--workers", "4"], "MIN..MAX"),
        (["--workers", "4..2"], "MIN..MAX"),
        (["--seed", "x"], "--seed"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_wrong_arguments(arguments, said):
    done = simulate(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_help():
    done = simulate("--help")
    assert done.returncode == 0
    assert "--access-log" in done.stdout
