"""deploy/examples: taken by the apiserver, and served by the real program as they say; with the code of examples/."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from podtest.ports import free_port
from podtest.server import program_path
from podtest.waiting import wait_until
from simple_websocket import Client

from charts import helm, others
from charts.test_monitoring import _text as text_of

EXAMPLES = helm.ROOT / "examples"
MANIFESTS = sorted((helm.ROOT / "deploy" / "examples").glob("*.yaml"))
APPS = [path for path in MANIFESTS if "\nkind: GunicornApp" in path.read_text()]


def _app(path: Path) -> dict:
    return helm.only(yaml.safe_load_all(path.read_text()), "GunicornApp")


def _identity(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", [p for p in MANIFESTS if "\nkind:" in p.read_text()], ids=_identity)
def test_example_is_accepted(cluster, path):
    others.define(cluster)
    crds = cluster.kubectl("kustomize", helm.ROOT / "deploy" / "crds").stdout
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", text=crds)
    cluster.kubectl("wait", "--for=condition=Established", "customresourcedefinition/gunicornapps.podicorn.io")
    namespace = cluster.namespace()
    arguments = ["--server-side", "--dry-run=server", "--validate=strict", "--namespace", namespace]
    done = cluster.kubectl("apply", *arguments, "--filename", path)
    assert "Warning" not in done.stderr, done.stderr
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("path", APPS, ids=_identity)
def test_image_is_one_that_the_checkout_builds(path):
    image = _app(path)["spec"]["image"]
    (name,) = re.fullmatch(r"podicorn/example-([a-z]+):0\.1", image).groups()
    dockerfile = (EXAMPLES / name / "Dockerfile").read_text()
    assert dockerfile.startswith(f"# docker build --tag {image} examples/{name}\n")
    assert _app(path)["spec"]["app"] in dockerfile


@contextlib.contextmanager
def _served(path: Path, directory: Path, **environment: str):
    """Serves the app with the settings of its GunicornApp, from a directory that is not the checkout."""
    spec = _app(path)["spec"]
    port, admin = free_port(), free_port()
    # Flags from the table of settings, as the chart has it.
    flags = yaml.safe_load((helm.CHARTS / "podicorn" / "files" / "settings.yaml").read_text())
    arguments = [f"{flags[name]['flag']}={value}" for name, value in spec.get("settings", {}).items()]
    arguments += [f"--worker-class={spec.get('workerClass', 'sync')}", f"--threads={spec.get('threads', 1)}"]
    arguments += ["--preload"] if spec.get("preload") else []
    arguments += [f"--bind=127.0.0.1:{port}", f"--admin-bind=127.0.0.1:{admin}", spec["app"]]
    name = re.fullmatch(r"podicorn/example-([a-z]+):0\.1", spec["image"])[1]
    clean = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"], **environment}
    with (directory / "log").open("w") as log:
        server = subprocess.Popen([program_path(), *arguments], cwd=EXAMPLES / name, env=clean, stdout=log, stderr=log)
    try:
        wait_until(lambda: text_of(f"http://127.0.0.1:{admin}/readyz"), lambda: (directory / "log").read_text())
        yield port
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("path", [path for path in APPS if path.stem != "django"], ids=_identity)
def test_app_serves(path, tmp_path):
    with _served(path, tmp_path) as port:
        assert "Hello from a pod" in text_of(f"http://127.0.0.1:{port}/")


def test_django_migrates_and_serves(tmp_path):
    path = helm.ROOT / "deploy" / "examples" / "django.yaml"
    environment = {"SECRET_KEY": "only for tests", "DATABASE_FILE": str(tmp_path / "notes.sqlite3")}
    python, *command = _app(path)["spec"]["migrations"]["command"]
    assert python == "python"
    clean = {"PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"], **environment}
    subprocess.run([sys.executable, *command], cwd=EXAMPLES / "django", env=clean, check=True, capture_output=True)
    check = [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"]
    subprocess.run(check, cwd=EXAMPLES / "django", env=clean, check=True, capture_output=True)
    with _served(path, tmp_path, **environment) as port:
        curl = ["curl", "-s", "-X", "POST", "--data", "milk", f"http://127.0.0.1:{port}/"]
        assert subprocess.run(curl, check=True, capture_output=True, text=True).stdout == '{"id": 1}'
        assert text_of(f"http://127.0.0.1:{port}/") == '{"notes": [{"id": 1, "text": "milk"}]}'


def test_gevent_answers_sockets(tmp_path):
    with _served(helm.ROOT / "deploy" / "examples" / "gevent.yaml", tmp_path) as port:
        clients = [Client.connect(f"ws://127.0.0.1:{port}/echo") for _ in range(20)]
        for number, client in enumerate(clients):
            client.send(f"hello {number}")
        assert [client.receive(timeout=30) for client in clients] == [f"hello {number}" for number in range(20)]
        for client in clients:
            client.close()
