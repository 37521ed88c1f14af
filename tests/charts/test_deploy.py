"""The manifests under deploy/: as the charts render them, and as the apiserver takes them."""

import filecmp
import subprocess
from pathlib import Path

import pytest
import yaml
from podtest.waiting import wait_until

from charts import helm, others

DEPLOY = helm.ROOT / "deploy"
KUSTOMIZATIONS = sorted(path.parent for path in DEPLOY.rglob("kustomization.yaml"))


def _id(path: Path) -> str:
    return path.relative_to(DEPLOY).as_posix()


def test_manifests_are_what_the_charts_render(tmp_path):
    subprocess.run([helm.ROOT / "dev" / "render-deploy.sh", tmp_path], check=True)
    made = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert made
    stale = [path for path in made if not filecmp.cmp(tmp_path / path, DEPLOY / path, shallow=False)]
    assert not stale, "run dev/render-deploy.sh"


@pytest.mark.parametrize("directory", KUSTOMIZATIONS, ids=_id)
def test_kustomization_is_accepted(cluster, directory):
    """Built by kubectl, and applied for real: a dry run would not find the namespaces and kinds that come with it."""
    others.define(cluster)
    built = cluster.kubectl("kustomize", directory).stdout
    needed = {one["metadata"]["namespace"] for one in helm.objects(built) if "namespace" in one["metadata"]}
    for name in needed:
        text = yaml.safe_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        cluster.kubectl("apply", "--server-side", "--filename=-", text=text)
    apply = ["apply", "--server-side", "--force-conflicts", "--filename=-"]
    done = cluster.kubectl(*apply, text=built)
    assert "PodSecurity" not in done.stderr, done.stderr
    again = cluster.kubectl("diff", "--server-side", "--force-conflicts", "--filename=-", text=built)
    assert not again.stdout, "a second time changes nothing"
    kinds = [one for one in helm.objects(built) if one["kind"] in ("PodDisruptionBudget", "ClusterRole")]
    assert (
        directory.name not in ("one-replica", "namespaced")
        or not {
            "one-replica": [one for one in kinds if one["kind"] == "PodDisruptionBudget"],
            "namespaced": [one for one in kinds if one["kind"] == "ClusterRole"],
        }[directory.name]
    )
    policies = [one for one in helm.objects(built) if one["kind"].startswith("ValidatingAdmissionPolicy")]
    if policies:
        cluster.kubectl("delete", "--filename=-", text=yaml.safe_dump_all(policies))


@pytest.fixture
def guarded(cluster):
    """A namespace in a cluster with the policies, in force."""
    cluster.kubectl("apply", "--kustomize", DEPLOY / "policies")
    namespace = cluster.namespace(enforce="privileged")
    forbidden = yaml.safe_dump(_service("probe", "NodePort", 9099))
    wait_until(
        lambda: "Podicorn" in _apply(cluster, namespace, forbidden).stderr,
        "the policy in force",
        every=0.2,
    )
    yield namespace
    cluster.kubectl("delete", "--kustomize", DEPLOY / "policies")
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def _apply(cluster, namespace, text):
    return subprocess.run(
        [
            cluster.programs / "kubectl",
            "--kubeconfig",
            cluster.kubeconfig(),
            "create",
            "--dry-run=server",
            "--namespace",
            namespace,
            "--filename=-",
        ],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def _service(name, kind, port, target=None, **more):
    entry = {"name": "x", "port": port} | ({} if target is None else {"targetPort": target})
    spec = {"type": kind, "selector": {"app": "shop"}, "ports": [entry], **more}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _pod(ports, args=("--admin-bind=[::]:9099",), **more):
    container = {"name": "web", "image": "x", "args": list(args), "ports": ports}
    spec = {"containers": [container], **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}


def _ingress(port, default=False):
    backend = {"service": {"name": "shop", "port": port}}
    rule = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    spec = {"defaultBackend": backend} if default else {"rules": [rule]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop"}, "spec": spec}


def _named_admin(number):
    return {"name": "admin", "containerPort": number, "hostPort": number}


ADMIN = {"name": "admin", "containerPort": 9099}
FORBIDDEN = {
    "load balancer by name": _service("a", "LoadBalancer", 80, "admin"),
    "load balancer by number": _service("a", "LoadBalancer", 80, 9099),
    "node port": _service("a", "NodePort", 9099),
    "external address": _service("a", "ClusterIP", 80, 9099, externalIPs=["192.0.2.1"]),
    "host port": _pod([{**ADMIN, "hostPort": 9099}]),
    "host port, other number": _pod(
        [{"name": "admin", "containerPort": 9000, "hostPort": 9000}], ["--admin-bind=:9000"]
    ),
    "host network": _pod([ADMIN], hostNetwork=True),
    "ingress by name": _ingress({"name": "admin"}),
    "ingress by number": _ingress({"number": 9099}),
    "default backend": _ingress({"name": "admin"}, default=True),
}
ALLOWED = {
    "load balancer for the app": _service("a", "LoadBalancer", 80, "http"),
    "load balancer without targetPort": _service("a", "LoadBalancer", 80),
    "inside the cluster": _service("a", "ClusterIP", 9099, "admin"),
    "headless": _service("a", "ClusterIP", 9099, clusterIP="None"),
    "external name": {
        **_service("a", "ExternalName", 1),
        "spec": {"type": "ExternalName", "externalName": "example.com"},
    },
    "pod": _pod([ADMIN, {"name": "http", "containerPort": 8000, "hostPort": 8000}]),
    "pod without ports": _pod([]),
    "another's port named admin": _pod(
        [{"name": "admin", "containerPort": 9901, "hostPort": 9901}], ["-c", "envoy.yaml"]
    ),
    "ingress": _ingress({"name": "http"}),
    "ingress by another number": _ingress({"number": 80}, default=True),
}


def test_policies_keep_the_admin_port_in(cluster, guarded):
    for what, one in FORBIDDEN.items():
        done = _apply(cluster, guarded, yaml.safe_dump(one))
        assert done.returncode != 0 and "Podicorn's admin port" in done.stderr, f"{what}: {done.stdout}{done.stderr}"
    for what, one in ALLOWED.items():
        done = _apply(cluster, guarded, yaml.safe_dump(one))
        assert done.returncode == 0, f"{what}: {done.stderr}"


def test_policies_have_no_type_errors(cluster, guarded):
    """The controller-manager checks the expressions against the kinds that they are for."""

    def checked():
        found = cluster.get("validatingadmissionpolicies")["items"]
        found = [one for one in found if one["metadata"]["name"].startswith("podicorn-")]
        return found if all("typeChecking" in one.get("status", {}) for one in found) else None

    policies = wait_until(checked, "the policies' type check", every=0.2)
    assert len(policies) == 3
    for policy in policies:
        assert not policy["status"]["typeChecking"].get("expressionWarnings"), policy["status"]
