"""The documents: every link leads somewhere, and what they call metrics and commands exists."""

import re
import subprocess
from pathlib import Path

import pytest
from podtest.server import TESTS, program_path

ROOT = TESTS.parent
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """All Markdown of the project; not what a build or a tool has left in the checkout."""
    left = {"target", "build", "node_modules", "__pycache__"}
    found = []
    for path in sorted(ROOT.rglob("*.md")):
        parts = path.relative_to(ROOT).parts[:-1]
        if not any(part in left or part.startswith(".") for part in parts):
            found.append(path)
    assert len(found) > 10
    return found


def anchors(path: Path) -> set[str]:
    """The names that a browser of the repository gives to headings."""
    names: dict[str, int] = {}
    made = set()
    for line in FENCE.sub("", path.read_text()).splitlines():
        heading = re.match(r"#{1,6} +(.*?) *#*$", line)
        if heading:
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            count = names.get(slug, 0)
            names[slug] = count + 1
            made.add(f"{slug}-{count}" if count else slug)
        made.update(re.findall(r"""<a (?:name|id)=["']([^"']+)["']""", line))
    return made


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", path.read_text()))
    broken = []
    for found in LINK.finditer(text):
        link = found[1] or found[2]
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_metrics_that_are_named_exist():
    source = "".join(path.read_text() for path in (ROOT / "server").rglob("*.rs"))
    source += "".join(path.read_text() for path in (ROOT / "operator").rglob("*.rs"))
    unknown = []
    for path in documents():
        for name in re.findall(r"`(podicorn_[a-z_]+)`", path.read_text()):
            bare = re.sub(r"^podicorn_(operator_)?|(_seconds)?_(total|bucket|sum|count|info)$", "", name)
            if bare not in source:
                unknown.append(f"{path.relative_to(ROOT)}: {name}")
    assert unknown == []


def test_flags_of_the_guides_exist():
    said = subprocess.run([program_path(), "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"--[a-z][a-z0-9_-]*", said))
    unknown = []
    for name in ("getting-started", "signals", "troubleshooting"):
        path = ROOT / "docs" / f"{name}.md"
        for line in re.findall(r"^ {4}podicorn .*$|`--[^`]+`", path.read_text(), re.MULTILINE):
            if "podicorn ctl" in line:
                continue
            unknown += [f"{name}: {flag}" for flag in re.findall(r"--[a-z][a-z0-9_-]*", line) if flag not in known]
    assert unknown == []
