"""Gunicorn's own requests, put to both servers over sockets: the same verdict, or a difference with a reason."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from parity import promise, report
from parity.corpus import Case, Settings, cases, repaired
from parity.differences import DIFFERENCES, HOST, LENGTH, NOT_YET
from parity.verdict import ask, contrast
from podtest.http import End
from podtest.server import Server, run

#: Cases with the same settings stand together, so that two servers at a time are enough.
ALL = sorted((*cases(), *repaired()), key=lambda case: (repr(case.settings), case.name))
KEEPING = ("--worker-class", "gthread", "--threads", "1", "--keep-alive", "60")


class Servers:
    """Gunicorn, and Podicorn beside it, with the settings that are asked for; the last pair is kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._settings: Settings | None = None
        self._servers: list[Server] = []

    def config(self, settings: Settings) -> str:
        """A config file with just these settings."""
        path = self._directory / "gunicorn.conf.py"
        path.write_text("".join(f"{name} = {value!r}\n" for name, value in settings))
        return str(path)

    def of(self, settings: Settings) -> tuple[Server, ...]:
        """Gunicorn, then Podicorn where it has all of the settings."""
        if settings != self._settings:
            self.close()
            arguments = ("--config", self.config(settings), *KEEPING)
            # gunicorn_h1c, if somebody has installed it, is another parser than the one compared with.
            self._servers.append(Server(*arguments, "--http-parser", "python", "seen", program="gunicorn"))
            if not any(name in NOT_YET for name, _ in settings):
                self._servers.append(Server(*arguments, "seen"))
            for server in self._servers:
                server.wait_ready()
            self._settings = settings
        return tuple(self._servers)

    def close(self) -> None:
        """Ends the pair."""
        for server in self._servers:
            server.close()
            print(f"--- {' '.join(server.command)}\n{server.err.text}")
            assert "panicked at" not in server.err.text
        self._servers.clear()
        self._settings = None


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of the cases, one pair at a time."""
    made = Servers(tmp_path_factory.mktemp("corpus"))
    yield made
    made.close()


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_verdict_is_gunicorns(case: Case, servers: Servers) -> None:
    gunicorn, *podicorn = servers.of(case.settings)
    wanted = ask(gunicorn.address, case.data)
    if case.requests or case.error:
        assert promise.broken(case, wanted) == ""

    if setting := report.waits_for(case):
        checked = run("--check-config", "--config", servers.config(case.settings), "seen")
        assert checked.returncode == 1 and setting in checked.stderr, f"{setting} is there: take it out of NOT_YET"
        pytest.xfail(NOT_YET[setting])

    given = ask(podicorn[0].address, case.data)
    assert given.end is End.FIN
    known = DIFFERENCES.get(case.name)
    assert contrast(wanted, given) == (known and (known.gunicorn, known.podicorn)), f"{wanted!r}\n{given!r}"
    # However the bytes come, they mean the same.
    assert ask(podicorn[0].address, case.data, piece=1) == given


def test_the_differences_are_about_cases_that_exist() -> None:
    assert set(DIFFERENCES) <= {case.name for case in ALL}
    assert {name for case in ALL for name, _ in case.settings} >= set(NOT_YET)


@pytest.mark.parametrize(("reason", "repair"), [(HOST, "with Host"), (LENGTH, "with its length")])
def test_what_is_refused_on_purpose_is_compared_without_that_fault(reason: str, repair: str) -> None:
    refused = {name for name, difference in DIFFERENCES.items() if difference.reason == reason}
    compared = {case.name for case in repaired()} - refused
    assert refused and {f"{name} {repair}" for name in refused} <= compared


def test_the_readme_is_current(request: pytest.FixtureRequest) -> None:
    """Last, so that it is written only from what has just been seen."""
    text = report.current()
    if os.environ.get("PARITY_UPDATE"):
        assert not request.session.testsfailed, "not written: the tables in differences.py are not true"
        report.README.write_text(text)
    assert report.README.read_text() == text, "make parity UPDATE=1 writes it anew"
