"""The operator on the node: from its chart, by Helm."""

from pathlib import Path

from podtest.waiting import wait_until

from charts import helm
from node.archives import OPERATOR
from node.machine import Machine

NAMESPACE = "podicorn-system"


class Operator:
    """Its pods and their processes."""

    def __init__(self, node: Machine) -> None:
        self.node = node

    def pods(self) -> list[dict]:
        """All of its pods."""
        return self.node.cluster.get("pods", "--namespace", NAMESPACE)["items"]

    def processes(self) -> list[int]:
        """The ids that its processes have here."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "comm").read_text().strip() == "podicorn-operat":
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def ready(self) -> bool:
        """Whether as many are ready as there should be."""
        (deployment,) = self.node.cluster.get("deployments", "--namespace", NAMESPACE)["items"]
        return deployment["status"].get("readyReplicas", 0) == deployment["spec"]["replicas"]


def installed(node: Machine, directory: Path) -> Operator:
    """Both charts, as docs/deploying.md says; Helm waits until the pods are ready."""
    environment = {
        "KUBECONFIG": str(node.cluster.kubeconfig()),
        "HELM_CACHE_HOME": str(directory / "cache"),
        "HELM_CONFIG_HOME": str(directory / "config"),
        "HELM_DATA_HOME": str(directory / "data"),
    }
    image, _, tag = OPERATOR.rpartition(":")
    values = [f"image.repository={image}", f"image.tag={tag}", "image.pullPolicy=Never", "tickSeconds=1"]
    helm.run(4, "install", "podicorn-crds", helm.CHARTS / "podicorn-crds", environment=environment)
    node.cluster.kubectl("create", "namespace", NAMESPACE)
    node.cluster.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    helm.run(
        4,
        "install",
        "podicorn-operator",
        helm.CHARTS / "podicorn-operator",
        f"--namespace={NAMESPACE}",
        *[part for value in values for part in ("--set", value)],
        environment=environment,
    )
    operator = Operator(node)
    wait_until(operator.ready, lambda: _state(node), every=0.5)
    return operator


def _state(node: Machine) -> str:
    described = node.cluster.kubectl("describe", "pods", "--namespace", NAMESPACE).stdout
    return f"{described[-4000:]}\n{node.tail('kubelet')}"
