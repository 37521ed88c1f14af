"""Install, upgrade, roll back and uninstall, by both majors of Helm, against a real apiserver and its controllers.

The namespaces enforce the Pod Security standard `restricted`. Where a namespace's rights should do, the user has no
others.
"""

import base64

import pytest
import yaml
from podtest.waiting import wait_until

from charts import helm, others

APP = {"image": {"repository": "registry.example.com/shop", "tag": "1.0"}, "app": "shop:app"}
#: What an app's team has: everything in one namespace, and nothing else.
ADMIN_OF_NAMESPACE = "admin"


class Release:
    """One release, as a user of a namespace sees it."""

    def __init__(self, cluster, major, chart, namespace, user, tmp_path):
        self.cluster, self.major, self.namespace, self.tmp_path = cluster, major, namespace, tmp_path
        self.chart = chart
        self.environment = {
            "KUBECONFIG": str(cluster.kubeconfig(user, namespace)),
            "HELM_CACHE_HOME": str(tmp_path / "cache"),
            "HELM_CONFIG_HOME": str(tmp_path / "config"),
            "HELM_DATA_HOME": str(tmp_path / "data"),
        }

    def helm(self, *arguments, ok=True):
        return helm.run(self.major, *arguments, "--namespace", self.namespace, environment=self.environment, ok=ok)

    def upgrade(self, values, ok=True):
        path = self.tmp_path / "values.yaml"
        path.write_text(yaml.safe_dump(values))
        chart = helm.CHARTS / self.chart
        return self.helm("upgrade", "--install", "shop", chart, "--values", path, "--wait", "--timeout=60s", ok=ok)

    def get(self, *arguments):
        return self.cluster.get(*arguments, "--namespace", self.namespace)

    def names(self, kinds):
        done = self.cluster.kubectl("get", kinds, "--namespace", self.namespace, "--output=name")
        return done.stdout.split()


def _give_namespace(cluster, namespace):
    """The developer gets the rights of Kubernetes' own role `admin` in the namespace."""
    arguments = [f"--clusterrole={ADMIN_OF_NAMESPACE}", "--user=developer", "--namespace", namespace]
    cluster.kubectl("create", "rolebinding", "developer", *arguments)
    # A controller puts that role together, once.
    wait_until(lambda: cluster.get("clusterrole", ADMIN_OF_NAMESPACE)["rules"], "what the role admin allows", every=0.2)


@pytest.fixture(params=helm.MAJORS, ids=lambda major: f"helm{major}")
def app(request, cluster, pods, tmp_path):
    """A release of the chart podicorn, by a user who has rights in its namespace only."""
    namespace = cluster.namespace()
    _give_namespace(cluster, namespace)
    yield Release(cluster, request.param, "podicorn", namespace, "developer", tmp_path)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def _args(release):
    deployment = release.get("deployment", "shop-podicorn")
    return deployment["spec"]["template"]["spec"]["containers"][0]["args"]


def test_app_comes_changes_returns_and_goes(app):
    done = app.upgrade(APP)
    assert "would violate PodSecurity" not in done.stderr
    assert "rollout status deployment/shop-podicorn" in done.stdout
    assert app.get("deployment", "shop-podicorn")["status"]["readyReplicas"] == 1

    app.upgrade({**APP, "replicas": 3, "settings": {"workers": "2..8"}})
    assert app.get("deployment", "shop-podicorn")["status"]["readyReplicas"] == 3
    assert "--workers=2..8" in _args(app)

    app.helm("rollback", "shop", "1", "--wait", "--timeout=60s")
    assert "--workers=1..4" in _args(app)
    assert app.get("deployment", "shop-podicorn")["spec"]["replicas"] == 1

    app.helm("test", "shop", "--timeout=60s")

    app.helm("uninstall", "shop", "--wait", "--timeout=60s")
    kinds = "deployments,replicasets,pods,services,serviceaccounts,configmaps,secrets,ingresses"
    wait_until(
        lambda: set(app.names(kinds)) <= {"serviceaccount/default", "configmap/kube-root-ca.crt"},
        lambda: f"nothing left of the release: {app.names(kinds)}",
    )


def test_upgrade_leaves_the_autoscalers_number_alone(app):
    scaled = {**APP, "autoscaling": {"enabled": True}}
    app.upgrade(scaled)
    app.cluster.kubectl("scale", "deployment/shop-podicorn", "--replicas=5", "--namespace", app.namespace)
    app.upgrade({**scaled, "settings": {"threads": 4}})
    assert app.get("deployment", "shop-podicorn")["spec"]["replicas"] == 5
    assert "--threads=4" in _args(app)


def test_token_is_made_once_and_kept(app):
    with_token = {**APP, "adminToken": {"create": True}}
    app.upgrade(with_token)
    token = app.get("secret", "shop-podicorn-admin")["data"]["token"]
    assert len(base64.b64decode(token)) == 48
    app.upgrade({**with_token, "replicas": 2})
    assert app.get("secret", "shop-podicorn-admin")["data"]["token"] == token


def test_failed_migration_keeps_the_old_release(app, pods):
    migrating = {
        **APP,
        "migrations": {"enabled": True, "command": ["python", "manage.py", "migrate"], "backoffLimit": 0},
    }
    app.upgrade(migrating)
    assert app.get("job", "shop-podicorn-migrate")["status"]["succeeded"] == 1
    pods.failing.add("shop-podicorn-migrate")
    newer = {**migrating, "image": {**APP["image"], "tag": "2.0"}}
    app.upgrade(newer, ok=False)
    deployment = app.get("deployment", "shop-podicorn")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"].endswith("shop:1.0")
    assert deployment["status"]["readyReplicas"] == 1
    pods.failing.clear()
    app.upgrade(newer)
    deployment = app.get("deployment", "shop-podicorn")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"].endswith("shop:2.0")


@pytest.mark.parametrize("values", [path for name, path in helm.SCENARIOS if name == "podicorn"], ids=lambda p: p.stem)
def test_every_scenario_is_admitted(cluster, values):
    """Server-side dry run in a restricted namespace: validation, defaults and admission are the apiserver's own."""
    others.define(cluster)
    namespace = cluster.namespace()
    rendered = helm.template(4, "podicorn", "--values", values, namespace=namespace)
    # A dry run makes no priority class that a later object could name.
    rendered = rendered.replace("priorityClassName: high", "priorityClassName: system-cluster-critical")
    done = cluster.kubectl("apply", "--server-side", "--dry-run=server", "--filename=-", text=rendered)
    assert "PodSecurity" not in done.stderr, done.stderr
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("major", helm.MAJORS)
@pytest.mark.parametrize(
    "values", [path for name, path in helm.SCENARIOS if name == "podicorn-operator"], ids=lambda path: path.stem
)
def test_every_scenario_of_the_operator_is_admitted(cluster, major, values):
    others.define(cluster)
    namespace = cluster.namespace()
    for watched in ("shop", "board"):
        named = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": watched}}
        cluster.kubectl("apply", "--filename=-", text=yaml.safe_dump(named))
    rendered = helm.template(major, "podicorn-operator", "--values", values, namespace=namespace)
    done = cluster.kubectl("apply", "--server-side", "--dry-run=server", "--filename=-", text=rendered)
    assert "PodSecurity" not in done.stderr, done.stderr
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.parametrize("major", helm.MAJORS)
def test_operator_and_definitions(cluster, pods, tmp_path, major):
    """The operator goes and comes back; definitions and resources outlive upgrades and even the release."""
    namespace = cluster.namespace()
    crds = Release(cluster, major, "podicorn-crds", namespace, "admin", tmp_path)
    chart = helm.CHARTS / "podicorn-crds"
    crds.helm("upgrade", "--install", "crds", chart, "--take-ownership", "--wait", "--timeout=60s")
    resource = {
        "apiVersion": "podicorn.io/v1alpha1",
        "kind": "GunicornApp",
        "metadata": {"name": "shop", "namespace": namespace},
        "spec": {"image": "registry.example.com/shop:1.0", "app": "shop:app"},
    }
    cluster.kubectl("apply", "--filename=-", text=yaml.safe_dump(resource))
    uid = crds.get("gunicornapp", "shop")["metadata"]["uid"]

    operator = Release(cluster, major, "podicorn-operator", namespace, "admin", tmp_path)
    done = operator.upgrade({})
    assert "would violate PodSecurity" not in done.stderr
    assert operator.get("deployment", "shop-podicorn-operator")["status"]["readyReplicas"] == 2
    operator.helm("test", "shop", "--timeout=60s")
    operator.upgrade({"replicas": 3, "logLevel": "debug"})
    assert operator.get("deployment", "shop-podicorn-operator")["status"]["readyReplicas"] == 3
    crds.helm("upgrade", "crds", chart, "--set-string", "labels.team=platform", "--wait", "--timeout=60s")
    operator.helm("rollback", "shop", "1", "--wait", "--timeout=60s")
    assert operator.get("deployment", "shop-podicorn-operator")["spec"]["replicas"] == 2
    assert crds.get("gunicornapp", "shop")["metadata"]["uid"] == uid

    operator.helm("uninstall", "shop", "--wait", "--timeout=60s")
    cluster_wide = "clusterrole/shop-podicorn-operator"
    assert not cluster.kubectl("get", cluster_wide, "--ignore-not-found", "--output=name").stdout
    crds.helm("uninstall", "crds", "--wait", "--timeout=60s")
    definition = cluster.get("customresourcedefinition", "gunicornapps.podicorn.io")
    assert definition["metadata"]["labels"]["team"] == "platform"
    assert crds.get("gunicornapp", "shop")["metadata"]["uid"] == uid
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
