"""What holds for the pods of every rendered chart, whatever the values."""

import pytest

from charts import helm


def _pods(text: str) -> list[tuple[dict, dict]]:
    """Objects that have or make pods, with the pod's spec."""
    found = []
    for one in helm.objects(text):
        if one["kind"] == "Pod":
            found.append((one, one["spec"]))
        elif "template" in one.get("spec", {}):
            found.append((one, one["spec"]["template"]["spec"]))
    return found


@pytest.mark.parametrize(("chart", "values"), helm.SCENARIOS, ids=helm.SCENARIO_IDS)
def test_pods_are_restricted(chart, values):
    for one, spec in _pods(helm.template(4, chart, "--values", values)):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, one["metadata"]["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_app_pods_get_no_token_and_no_service_variables():
    rendered = helm.template(4, "podicorn", "--values", helm.CHARTS / "podicorn" / "ci" / "django-values.yaml")
    pods = _pods(rendered)
    assert {one["kind"] for one, _ in pods} == {"Deployment", "Job", "Pod"}
    for _, spec in pods:
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False


@pytest.mark.parametrize("graceful", [5, 30, 900])
def test_grace_period_is_the_servers_own_and_nothing_sleeps(graceful):
    values = helm.CHARTS / "podicorn" / "ci" / "minimal-values.yaml"
    rendered = helm.template(4, "podicorn", "--values", values, "--set", f"settings.graceful_timeout={graceful}")
    spec = helm.only(helm.objects(rendered), "Deployment")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == graceful
    (container,) = spec["containers"]
    assert f"--graceful-timeout={graceful}" in container["args"]
    assert "lifecycle" not in container


def test_probes_ask_the_admin_port():
    values = helm.CHARTS / "podicorn" / "ci" / "minimal-values.yaml"
    rendered = helm.template(4, "podicorn", "--values", values, "--set", "ports.admin=9999")
    (container,) = helm.only(helm.objects(rendered), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert "--admin-bind=[::]:9999" in container["args"]
    assert {"name": "admin", "containerPort": 9999, "protocol": "TCP"} in container["ports"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == "admin"
    service = helm.only(helm.objects(rendered), "Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"], "the admin port is nobody's else"


@pytest.mark.parametrize("flag", ["autoscaling.enabled=true", "externalAutoscaler=true"])
def test_no_replicas_where_an_autoscaler_sets_them(flag):
    values = helm.CHARTS / "podicorn" / "ci" / "minimal-values.yaml"
    assert "\n  replicas: 1\n" in helm.template(4, "podicorn", "--values", values)
    rendered = helm.template(4, "podicorn", "--values", values, "--set", flag)
    assert "replicas" not in helm.only(helm.objects(rendered), "Deployment")["spec"]


def test_service_selects_the_apps_pods_alone():
    rendered = helm.template(4, "podicorn", "--values", helm.CHARTS / "podicorn" / "ci" / "django-values.yaml")
    found = helm.objects(rendered)
    selector = helm.only(found, "Service")["spec"]["selector"]
    deployment, job, test = (helm.only(found, kind) for kind in ("Deployment", "Job", "Pod"))
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"] == selector
    assert not selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert not selector.items() <= test["metadata"]["labels"].items()


def _identity(one: dict) -> tuple[str, str | None, str]:
    return one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]


@pytest.mark.parametrize("chart", ["podicorn", "podicorn-operator"])
def test_long_names_stay_names(chart):
    values = sorted((helm.CHARTS / chart / "ci").glob("*-values.yaml"))[-1]
    if chart == "podicorn":
        values = helm.CHARTS / chart / "ci" / "django-values.yaml"
    rendered = helm.template(4, chart, "--values", values, "--set", f"fullnameOverride={'n' * 63}")
    names = [_identity(one) for one in helm.objects(rendered)]
    # Names of pods and Services become labels and host names; those of roles may be longer.
    assert all(len(name) <= 63 for kind, _, name in names if not kind.startswith(("Role", "Cluster"))), names
    assert len(set(names)) == len(names)


def test_operator_in_some_namespaces_has_no_cluster_role():
    values = helm.CHARTS / "podicorn-operator" / "ci" / "namespaced-values.yaml"
    kinds = [one["kind"] for one in helm.objects(helm.template(4, "podicorn-operator", "--values", values))]
    assert "ClusterRole" not in kinds and "ClusterRoleBinding" not in kinds
    assert kinds.count("Role") == 3
