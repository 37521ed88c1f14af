"""Both majors of Helm, as built by dev/helm.sh, and the charts."""

import functools
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "charts"
MAJORS = (3, 4)
NAMES = ("podicorn", "podicorn-operator", "podicorn-crds")
#: Each chart with each of its ci values.
SCENARIOS = [(name, path) for name in NAMES for path in sorted((CHARTS / name / "ci").glob("*-values.yaml"))]
SCENARIO_IDS = [f"{name}-{path.name.removesuffix('-values.yaml')}" for name, path in SCENARIOS]


@functools.cache
def programs() -> Path:
    """The directory with helm3 and helm4."""
    built = subprocess.run([ROOT / "dev" / "helm.sh"], check=True, stdout=subprocess.PIPE, text=True)
    return Path(built.stdout.strip())


def run(
    major: int, *arguments: str | Path, environment: dict[str, str] | None = None, ok: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs Helm. It fails the test unless the exit code is what is expected."""
    done = subprocess.run(
        [programs() / f"helm{major}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (environment or {}),
    )
    if ok:
        assert done.returncode == 0, f"helm{major} {arguments}: {done.stderr}{done.stdout}"
    else:
        assert done.returncode != 0, f"helm{major} {arguments} should have failed: {done.stdout}"
    return done


def template(major: int, chart: str, *arguments: str | Path, namespace: str = "apps") -> str:
    """What a chart renders; without empty lines, which the two majors place differently."""
    rendered = run(major, "template", "shop", CHARTS / chart, "--namespace", namespace, *arguments).stdout
    return re.sub(r"\n\s*\n+", "\n", rendered).lstrip("\n")


def refused(major: int, chart: str, values: dict[str, object], tmp_path: Path) -> str:
    """The message with which values are refused."""
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    return run(major, "template", "shop", CHARTS / chart, "--values", path, ok=False).stderr


def objects(text: str) -> list[dict]:
    """The objects of a rendered chart."""
    return [document for document in yaml.safe_load_all(text) if document]


def only(found: Iterable[dict], kind: str) -> dict:
    """The one object of a kind."""
    (match,) = [one for one in found if one["kind"] == kind]
    return match
