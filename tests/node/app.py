"""The Django app on the node, as a GunicornApp."""

import http.client
import json

import yaml
from charts.cluster import Cluster
from podtest.waiting import wait_until

from node.archives import RELEASES
from node.machine import Machine

NAME = "django"
MEMORY = 320 << 20
LABELS = f"app.kubernetes.io/instance={NAME}"


def spec(image: str = RELEASES[0]) -> dict:
    """Two pods of one to four workers."""
    return {
        "apiVersion": "podicorn.io/v1alpha1",
        "kind": "GunicornApp",
        "metadata": {"name": NAME},
        "spec": {
            "image": image,
            "imagePullPolicy": "Never",
            "app": "django_site.wsgi",
            "replicas": 2,
            "workers": {"min": 1, "max": 4},
            "drain": {"delaySeconds": 3, "gracefulTimeoutSeconds": 30},
            "probes": {"readiness": {"periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 5}},
            "resources": {
                # What the kernel shares out by: with little a pod would get nothing on a machine that others use, too.
                "requests": {"cpu": "500m", "memory": "64Mi"},
                "limits": {"cpu": "1", "memory": f"{MEMORY >> 20}Mi"},
            },
            # As OpenShift would choose a user: nobody's, and not the image's.
            "podTemplate": {
                "spec": {
                    "containers": [
                        {"name": "web", "securityContext": {"runAsUser": 1000710000, "readOnlyRootFilesystem": True}}
                    ]
                }
            },
        },
    }


class App:
    """What the tests ask about it."""

    def __init__(self, node: Machine, namespace: str) -> None:
        self.node, self.namespace = node, namespace

    @property
    def cluster(self) -> Cluster:
        """The apiserver."""
        return self.node.cluster

    def apply(self, wanted: dict) -> None:
        """Applies the resource, as kubectl does."""
        text = yaml.safe_dump(wanted)
        self.cluster.kubectl("apply", "--namespace", self.namespace, "--filename=-", text=text)

    def status(self) -> dict:
        """The resource's status."""
        return self.cluster.get("gunicornapp", NAME, "--namespace", self.namespace).get("status", {})

    def pods(self) -> list[dict]:
        """Pods that are not told to end."""
        found = self.cluster.get("pods", "--namespace", self.namespace, "--selector", LABELS)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self) -> list[dict]:
        """Those that are ready."""
        return [
            pod
            for pod in self.pods()
            if any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))
        ]

    def wait_ready(self, count: int) -> list[dict]:
        """Waits until so many are."""
        return wait_until(lambda: (ready := self.ready()) and len(ready) == count and ready, self.state, every=0.3)

    def get(self, pod: dict, path: str, port: int = 8000) -> tuple[int, str]:
        """One request to a pod."""
        connection = http.client.HTTPConnection(pod["status"]["podIP"], port, timeout=60)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def json(self, pod: dict, path: str) -> dict:
        """The same, for what answers JSON."""
        status, body = self.get(pod, path)
        assert status == 200, body
        return json.loads(body)

    def python(self, pod: dict, program: str) -> str:
        """Runs a program in the pod's container, by `kubectl exec`."""
        name = pod["metadata"]["name"]
        command = ["exec", name, "--namespace", self.namespace, "--", "/venv/bin/python", "-c", program]
        return self.cluster.kubectl(*command).stdout

    def logs(self, pod: dict) -> str:
        """What the pod has said, as `kubectl logs` gives it."""
        return self.cluster.kubectl("logs", pod["metadata"]["name"], "--namespace", self.namespace).stdout

    def state(self) -> str:
        """For the report of a failure."""
        described = [
            self.cluster.kubectl("describe", kind, "--namespace", self.namespace).stdout[-3000:]
            for kind in ("gunicornapps", "pods")
        ]
        return "\n".join([*described, self.node.tail("kubelet")])
