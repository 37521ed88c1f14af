"""The kinds of Prometheus Operator, the Gateway API and KEDA: that they exist, with their fields unchecked."""

import yaml

from charts.cluster import Cluster


def define(cluster: Cluster) -> None:
    """Makes them, if they are not there, and waits until they can be used."""
    for group, version, kind, plural in [
        ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
        ("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
        ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
        ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
    ]:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": f"{plural}.{group}",
                "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
            },
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
            },
        }
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", text=yaml.safe_dump(definition))
        cluster.kubectl("wait", "--for=condition=Established", f"customresourcedefinition/{plural}.{group}")
