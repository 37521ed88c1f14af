"""The images: built from this checkout, small, and content with the least that a container can have."""

import os
import re
import subprocess
import threading
import time

import pytest
from podtest.waiting import wait_until

from charts import helm
from images import containers, pod

#: Building takes some ten minutes on a machine with two cores, and an hour where others want them, too.
pytestmark = pytest.mark.timeout(3 * 3600)
DOCS = containers.ROOT / "docs" / "deploying.md"
MARKS = ("<!-- images:begin -->\n", "<!-- images:end -->")
measured: dict[str, str] = {}


@pytest.fixture(scope="session", autouse=True)
def possible():
    reason = containers.available()
    assert reason is None, reason


@pytest.fixture(scope="session")
def base():
    return containers.app_base()


@pytest.fixture(scope="session")
def shop(base):
    directory = containers.ROOT / "tests" / "images" / "app"
    return containers.build(str(directory / "Dockerfile"), "localhost/shop:test", directory, BASE=base)


@pytest.fixture(scope="session")
def operator():
    return containers.operator()


@pytest.fixture(scope="session")
def example(base):
    """An app with requirements, by a Dockerfile that docs/deploying.md has as the pattern."""
    directory = containers.ROOT / "examples" / "flask"
    return containers.build(str(directory / "Dockerfile"), "localhost/example-flask:test", directory, BASE=base)


def _wait_ready(running):
    # Each look costs a process or two, so that the time found is a little too long.
    wait_until(lambda: running.get(9099, "/readyz")[0] == 200, running.logs, every=0.01)
    return time.monotonic() - running.started


def test_app_serves_with_the_least_of_rights(shop):
    # KUBERNETES_SERVICE_HOST is what switches the admin port on in a pod.
    options = [*containers.RESTRICTED, "--env=KUBERNETES_SERVICE_HOST=10.0.0.1", "--env=PODICORN_BIND=0.0.0.0:8000"]
    with containers.container(shop, options=options) as running:
        seconds = _wait_ready(running)
        assert running.get(8000, "/") == (200, "uid 1000710000, parent 1")
        status, text = running.get(8000, "/write")
        assert status == 200 and "/app/file: Read-only file system" in text and "/tmp/file: written" in text
        ids = running.ids()
        assert ids["CapEff"] == ids["CapBnd"] == "0" * 16
        assert ids["NoNewPrivs"] == "1"
        assert ids["Name"] == "podicorn", "PID 1 is the server itself"
        metrics = running.get(9099, "/metrics")[1]
        assert f'podicorn_cgroup_memory_bytes{{kind="limit"}} {256 << 20}' in metrics, "the limit is seen"
        assert re.search(r"podicorn_cgroup_cpu_quota_cores 1\.0", metrics), "the quota is seen"
        assert running.get(9099, "/livez")[0] == running.get(9099, "/startupz")[0] == 200
    measured["app"] = f"{seconds:.1f} s"


def test_app_with_requirements_serves_with_the_least_of_rights(example):
    options = [*containers.RESTRICTED, "--env=KUBERNETES_SERVICE_HOST=10.0.0.1", "--env=PODICORN_BIND=0.0.0.0:8000"]
    with containers.container(example, options=options) as running:
        _wait_ready(running)
        assert running.get(8000, "/")[0] == 200
        assert running.ids()["Uid"].split() == ["1000710000"] * 4


def test_dockerfile_of_the_docs_is_that_of_the_example():
    steps = re.search(r"^```dockerfile\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)[1].splitlines()
    example = (containers.ROOT / "examples" / "django" / "Dockerfile").read_text().splitlines()
    kinds = ("COPY", "USER", "RUN")
    assert [line for line in steps if line.startswith(kinds)] == [line for line in example if line.startswith(kinds)]


def test_term_finishes_what_runs(shop):
    options = [*containers.RESTRICTED, "--env=KUBERNETES_SERVICE_HOST=10.0.0.1", "--env=PODICORN_BIND=0.0.0.0:8000"]
    with containers.container(shop, options=options) as running:
        _wait_ready(running)
        answers = []
        client = threading.Thread(target=lambda: answers.append(running.get(8000, "/slow")))
        client.start()
        wait_until(lambda: "podicorn_requests_in_flight 1" in running.get(9099, "/metrics")[1], "the request runs")
        containers.podman("kill", "--signal=TERM", running.name)
        client.join()
        assert answers == [(200, "slow")]
        wait_until(lambda: running.inspect()["State"]["Status"] == "exited", "the end")
        assert running.inspect()["State"]["ExitCode"] == 0


def test_pod_of_the_chart_runs(shop):
    """The Deployment that Helm renders, run as it says: its probes, its drain, and the pod of `helm test`."""
    name, _, tag = shop.rpartition(":")
    values = ["--set", f"image.repository={name}", "--set", f"image.tag={tag}", "--set", "app=shop:app"]
    rendered = helm.objects(helm.template(4, "podicorn", *values, "--set", "settings.drain_delay=1"))
    spec = helm.only(rendered, "Deployment")["spec"]["template"]["spec"]
    (web,) = spec["containers"]
    assert web["image"] == shop
    with containers.container(shop, *pod.arguments(web), options=pod.options(spec, web)) as running:
        for check in ("startupProbe", "readinessProbe", "livenessProbe"):
            wait_until(lambda check=check: running.get(*pod.probe(web, check))[0] == 200, running.logs)
        assert running.get(8000, "/")[1] == "uid 10001, parent 1"
        assert f'kind="limit"}} {512 << 20}' in running.get(9099, "/metrics")[1]
        assert running.get(9099, "/workers")[0] in (401, 403, 404), "no token, no control"

        tester = helm.only(rendered, "Pod")["spec"]
        (request,) = tester["containers"]
        *command, url = pod.arguments(request)
        # There is no Service here: the name stands for what it would lead to.
        url = url.replace("shop-podicorn.apps.svc:80", "127.0.0.1:8000")
        options = pod.options(tester, request)
        options[options.index("--network=none")] = f"--network=container:{running.name}"
        done = containers.podman("run", "--rm", *containers.limits(), *options, request["image"], *command, url)
        assert done.stdout == f"{url} 200\n"

        containers.podman("stop", f"--time={spec['terminationGracePeriodSeconds']}", running.name)
        assert running.inspect()["State"]["ExitCode"] == 0


def test_image_has_what_it_says(base):
    config = containers.json.loads(containers.podman("image", "inspect", base).stdout)[0]["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["podicorn"]
    assert set(config["ExposedPorts"]) == {"8000/tcp", "9099/tcp"}
    version = containers.podman("run", "--rm", *containers.limits(), "--network=none", base, "--version").stdout
    assert f'version = "{version.split()[-1].strip(")")}"' in (containers.ROOT / "Cargo.toml").read_text()
    measured["base"] = _megabytes(containers.size(base) - containers.size(containers.python_image()))


def test_nothing_of_the_build_is_left(base):
    found = containers.podman(
        "run",
        "--rm",
        *containers.limits(),
        "--network=none",
        "--entrypoint=python3",
        base,
        "-c",
        "import os; print([p for p in ('/src', '/target', '/usr/local/cargo', '/root/.cargo') if os.path.exists(p)])",
    ).stdout
    assert found.strip() == "[]"


def test_operator_is_one_small_static_program(operator):
    assert containers.size(operator) < 25_000_000
    container = containers.buildah("from", operator).stdout.strip()
    try:
        mount = containers.Path(containers.buildah("mount", container).stdout.strip())
        files = sorted(str(path.relative_to(mount)) for path in mount.rglob("*") if path.is_file())
        assert files == ["etc/ssl/certs/ca-certificates.crt", "podicorn-operator"]
        linked = subprocess.run(["ldd", mount / "podicorn-operator"], capture_output=True, text=True, check=False)
        assert "statically linked" in linked.stdout + linked.stderr
    finally:
        containers.buildah("rm", container)
    measured["operator"] = _megabytes(containers.size(operator))


def test_operator_runs_with_the_least_of_rights(operator):
    options = [option for option in containers.RESTRICTED if not option.startswith("--tmpfs")]
    done = containers.podman("run", "--rm", *containers.limits(), *options, operator, "--version")
    assert "podicorn-operator" in done.stdout
    wrong = containers.podman(
        "run", "--rm", *containers.limits(), *options, operator, "run", "--bind=nowhere", ok=False
    )
    assert wrong.returncode == 2


def test_measured_values_are_in_the_docs(request):
    """UPDATE=1 writes them. They differ from machine to machine: here only that the table has them all."""
    if os.environ.get("UPDATE") and {"base", "operator", "app"} <= set(measured):
        text = DOCS.read_text()
        before, rest = text.split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        rows = [
            "| | |",
            "|---|---|",
            f"| what podicorn adds to the Python image | {measured['base']} |",
            f"| the operator's image | {measured['operator']} |",
            f"| from `podman run` to ready, WSGI app, 1 CPU, 256 MiB | {measured['app']} |",
        ]
        DOCS.write_text(before + MARKS[0] + "\n" + "\n".join(rows) + "\n\n" + MARKS[1] + after)
    table = DOCS.read_text().split(MARKS[0])[1].split(MARKS[1])[0]
    assert len(re.findall(r"\| [0-9.]+ (MB|s) \|", table)) == 3


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
