"""REDbot, lint for HTTP: what it says of the demo app, of the admin API, and of a static file."""

import json
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from podtest.clients import PATIENCE, run_tool
from podtest.server import TESTS
from podtest.types import params

DEMO = TESTS.parent / "examples" / "demo"

#: Notes that are neither good nor mere information, and why they are right.
ACCEPTED = {
    ("/slow?seconds=x", "STATUS_BAD_REQUEST"): "the demo answers nonsense so",
    ("/", "CSP_UNSAFE_INLINE"): "the admin page is one file, and its policy forbids all other scripts",
    ("/static/board/style.css", "STORE_PUBLIC_UNNECESSARY"): "WhiteNoise's words",
}

Note = dict[str, Any]


@pytest.fixture(scope="module")
def redbot() -> str:
    path = Path(sysconfig.get_path("scripts")) / "redbot"
    assert path.exists(), "REDbot is not installed: it needs Python 3.11 or newer (PYTHON=… make venv-tests)"
    return str(path)


def every(notes: list[Note]) -> Iterator[Note]:
    for note in notes:
        yield note
        yield from every(note.get("subnotes", []))


def look(redbot: str, port: int, target: str) -> tuple[int, set[str]]:
    """The status and the names of all notes; those that REDbot warns of must be among the accepted."""
    done = run_tool(redbot, "-o", "har", f"http://127.0.0.1:{port}{target}", deadline=PATIENCE)
    entries = json.loads(done.stdout)["log"]["entries"]
    assert len(entries) == 1, f"REDbot got no whole response for {target}"
    notes = list(every(entries[0]["_red_messages"]))
    doubtful = [note for note in notes if note["level"] not in ("GOOD", "INFO")]
    assert not [note for note in doubtful if (target, note["note_id"]) not in ACCEPTED]
    return entries[0]["response"]["status"], {note["note_id"] for note in notes}


@pytest.mark.parametrize("kind", params("sync", "gthread-4"))
def test_the_demo(serve, redbot, kind):
    server = serve("demo", *kind, cwd=DEMO)
    pages = {"/": 200, "/environ": 200, "/slow?seconds=0": 200, "/slow?seconds=x": 400, "/none": 404, "/fail": 500}
    with ThreadPoolExecutor(2) as two:
        for target, (status, notes) in zip(
            pages, two.map(lambda target: look(redbot, server.port, target), pages), strict=True
        ):
            assert status == pages[target]
            # Our two: that they are missing, or others in their place, would be the server's fault.
            assert {"DATE_CORRECT", "CL_CORRECT"} <= notes
            assert notes & {"STORE_NO_STORE", "STORE_UNSTORABLE"}
    crashed = run_tool(redbot, f"http://127.0.0.1:{server.port}/crash")
    assert b"Error: " in crashed.stdout


@pytest.mark.parametrize("kind", params("sync", "gthread-4"))
def test_framing_without_a_length(serve, redbot, kind):
    """Chunks that are right get no note. What is said of the freshness is said of the probe app."""
    server = serve("probe:app", *kind)
    for target in ("/stream", "/early-hints"):
        done = run_tool(redbot, "-o", "har", f"http://127.0.0.1:{server.port}{target}")
        (entry,) = json.loads(done.stdout)["log"]["entries"]
        doubtful = {note["note_id"] for note in every(entry["_red_messages"]) if note["level"] not in ("GOOD", "INFO")}
        assert doubtful == {"FRESHNESS_HEURISTIC"}


def test_a_static_file_of_django(serve, redbot, django_db):
    """REDbot asks for it again with its validators."""
    server = serve("django_site.wsgi", "-k", "gthread", environment={"DJANGO_DB": str(django_db)})
    status, notes = look(redbot, server.port, "/static/board/style.css")
    assert status == 200
    assert {"INM_304", "IMS_304", "CL_CORRECT", "FRESHNESS_FRESH"} <= notes


def test_the_admin_api(serve, redbot):
    server = serve("demo", cwd=DEMO)
    targets = ["/", "/livez", "/readyz?verbose", "/metrics", "/workers", "/scale", "/config", "/openapi.json"]
    with ThreadPoolExecutor(2) as two:
        for status, notes in two.map(lambda target: look(redbot, server.admin_port, target), targets):
            assert status == 200
            assert {"DATE_CORRECT", "CL_CORRECT", "STORE_NO_STORE"} <= notes
