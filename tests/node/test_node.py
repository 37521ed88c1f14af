"""The operator, and Django in pods, on a real node."""

import collections
import json
import os
import signal
import time

import pytest
from podtest.waiting import wait_until

from node import app as django
from node.archives import RELEASES
from node.traffic import Endpoints, Traffic
from node.watching import Log, Pods

#: The control plane, the operator and the pods start within this; builds were made before.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def app(node, operator, namespace):
    """Applied and ready."""
    app = django.App(node, namespace)
    app.apply(django.spec())
    app.wait_ready(2)
    return app


@pytest.fixture
def endpoints(app):
    """The Service's ready endpoints, followed."""
    following = Endpoints(app.cluster, app.namespace, django.NAME)
    following.start()
    wait_until(lambda: len(following.ready) == 2, lambda: f"two endpoints; there are {following.ready}\n{app.state()}")
    yield following
    following.ending.set()
    following.join()


def test_operator_runs_as_its_chart_says(node, operator):
    """Found through the address of the service, by the certificate that the pod was given; with the chart's rights."""
    pods = operator.pods()
    assert len(pods) == 2
    for pod in pods:
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    version = node.cluster.get("nodes")["items"][0]["status"]["nodeInfo"]["kubeletVersion"]
    assert version.startswith("v1."), version
    for pid in operator.processes():
        with open(f"/proc/{pid}/status") as status:
            text = status.read()
        assert "Uid:\t65532\t65532\t65532\t65532" in text
        assert "CapEff:\t0000000000000000" in text


def test_django_is_served_with_the_least_of_rights(app):
    (pod, _) = app.ready()
    answer = app.json(pod, "/release/")
    assert answer["release"] == "1" and answer["notes"] == 10
    assert answer["uid"] == 1000710000
    assert answer["parent"] == 1, "workers are the arbiter's own children"
    assert answer["pod"] == pod["metadata"]["name"]
    assert app.json(pod, "/writes/") == {"root": "Read-only file system"}
    first = dict(
        line.split(":\t", 1)
        for line in app.python(pod, "print(open('/proc/1/status').read())").splitlines()
        if ":\t" in line
    )
    assert first["Name"] == "podicorn"
    assert first["CapEff"] == first["CapBnd"] == "0" * 16
    assert first["NoNewPrivs"] == "1" and first["Seccomp"] == "2"
    metrics = app.get(pod, "/metrics", 9099)[1]
    assert f'podicorn_cgroup_memory_bytes{{kind="limit"}} {django.MEMORY}' in metrics
    assert "podicorn_cgroup_cpu_quota_cores 1" in metrics
    status = app.status()
    conditions = {one["type"]: one["status"] for one in status["conditions"]}
    assert conditions["Ready"] == "True", status


def test_orphans_are_reaped_by_pid_1(app):
    (pod, _) = app.ready()
    left = app.json(pod, "/orphans/20/")["orphans"]
    assert len(left) == 20
    look = (
        "import os; print(*[pid for pid in os.listdir('/proc') if pid.isdigit() and "
        "open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[0] == 'Z'])"
    )
    # The shell of `kubectl exec` sees what PID 1 has not reaped as zombies.
    wait_until(lambda: not app.python(pod, look).split(), "the end of all zombies")
    exist = f"import os; print(*[pid for pid in {left} if os.path.exists(f'/proc/{{pid}}')])"
    assert not app.python(pod, exist).split()


def test_rolling_update_loses_nothing(app, endpoints, capsys, tmp_path):
    before = {pod["metadata"]["name"] for pod in app.ready()}
    watching = Pods(app.cluster, app.namespace)
    watching.start()
    logs = {name: Log(app.cluster, app.namespace, name, tmp_path / name) for name in before}
    with Traffic(endpoints, "/release/?ms=50") as traffic:
        wait_until(lambda: traffic.counts()[200] >= 100, lambda: f"traffic: {traffic.counts()}")
        began = time.time()
        app.apply(django.spec(RELEASES[1]))
        wait_until(
            lambda: before <= {event.pod for event in watching.events if event.what.startswith("ended")},
            app.state,
        )
        app.wait_ready(2)
        wait_until(
            lambda: {one.body["release"] for one in traffic.answers[-40:] if one.status == 200} == {"2"},
            "answers of the new release alone",
        )
        at_end = len(traffic.answers)
        wait_until(lambda: len(traffic.answers) >= at_end + 100, "some more traffic")
    watching.end()
    for log in logs.values():
        log.end()
    with capsys.disabled():
        print("\n" + _report(began, watching, endpoints, traffic, logs))
    assert traffic.failed() == []
    assert {answer.body["release"] for answer in traffic.answers} == {"1", "2"}
    for name in before:
        happened = watching.of(name)
        order = [happened.index(what) for what in ("ready", "told to end", "ended with exit code 0")]
        assert order == sorted(order), happened
        # Nobody is sent to it any more before it ends; it answers until then.
        address = watching.addresses[name]
        left = next(at for at, ready in endpoints.history if at > began and address not in ready)
        ended = next(event.at for event in watching.events if event.pod == name and "ended" in event.what)
        assert left < ended


def _report(began, watching, endpoints, traffic, logs):
    """The log of a rolling update, by seconds from the change of the image."""
    lines = [(event.at, f"{event.pod}: {event.what}") for event in watching.events if event.at >= began]
    lines += [
        (at, f"the Service leads to {', '.join(ready) or 'nothing'}") for at, ready in endpoints.history if at >= began
    ]
    for name, log in logs.items():
        lines += [(at, f"{name} says: {said.partition('] ')[2]}") for at, said in log.lines() if at >= began]
        sent = [answer.began for answer in traffic.answers if answer.address == watching.addresses[name]]
        if sent:
            lines.append((max(sent), f"{name}: the last request is sent to it"))
    seconds = collections.Counter(int(answer.began - began) for answer in traffic.answers)
    text = ["Rolling update under load; seconds from the change of the image"]
    text += [f"{at - began:7.2f}  {what}" for at, what in sorted(lines)]
    text.append(f"requests: {dict(traffic.counts())}, {min(seconds.values())} to {max(seconds.values())} a second; ")
    text.append(f"failed: {len(traffic.failed())}; sent again on a new connection: {traffic.sent_again}")
    return "\n".join(text)


def test_workers_follow_the_load(app, endpoints, capsys):
    assert app.status()["workers"]["target"] <= 8
    with Traffic(endpoints, "/release/?ms=200", clients=12) as traffic:
        wait_until(
            lambda: app.status()["workers"]["ready"] >= 6,
            lambda: f"six of eight workers: {json.dumps(app.status())}\n{app.state()}",
            every=0.5,
        )
        with capsys.disabled():
            print(f"\n{json.dumps(app.status()['workers'])} {app.status()['scaling']}")
    assert traffic.failed() == []
    assert len(app.ready()) == 2, "workers, not pods"


def test_worker_that_the_kernel_kills_is_named_and_the_pod_goes_on(app):
    (pod, other) = app.ready()
    with pytest.raises(OSError):
        app.get(pod, "/hoard/")
    wait_until(lambda: "was killed by the kernel: out of memory" in app.logs(pod), lambda: app.logs(pod))
    (line,) = [line for line in app.logs(pod).splitlines() if "was killed by the kernel" in line]
    assert f"(the container's limit is {django.MEMORY >> 20} MiB)" in line
    assert "while serving GET /hoard" in line
    wait_until(lambda: app.get(pod, "/release/")[0] == 200, "the pod to serve again")
    assert _restarts(app) == [0, 0]
    assert {one["metadata"]["name"] for one in app.wait_ready(2)} == {
        pod["metadata"]["name"],
        other["metadata"]["name"],
    }


def _restarts(app):
    """How often the kubelet has started each pod's container anew."""
    return [pod["status"]["containerStatuses"][0]["restartCount"] for pod in app.pods()]


def test_killed_operator_changes_nothing_for_the_pods(app, operator, endpoints):
    before = {pod["metadata"]["uid"] for pod in app.ready()}
    generation = app.cluster.get("deployment", django.NAME, "--namespace", app.namespace)["metadata"]["generation"]
    with Traffic(endpoints, "/release/?ms=50") as traffic:
        wait_until(lambda: traffic.counts()[200] >= 50, lambda: f"traffic: {traffic.counts()}")
        killed = operator.processes()
        assert len(killed) == 2
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not set(killed) & set(operator.processes()), "the end of the operator")
        # The kubelet starts it again; what it then finds is as it should be.
        wait_until(
            lambda: (
                operator.ready()
                and all(pod["status"]["containerStatuses"][0]["restartCount"] for pod in operator.pods())
            ),
            "the operator's return",
            every=0.5,
        )
        so_far = len(traffic.answers)
        wait_until(lambda: len(traffic.answers) >= so_far + 100, "some more traffic")
    assert traffic.failed() == []
    assert {pod["metadata"]["uid"] for pod in app.ready()} == before
    assert _restarts(app) == [0, 0]
    deployment = app.cluster.get("deployment", django.NAME, "--namespace", app.namespace)
    assert deployment["metadata"]["generation"] == generation
