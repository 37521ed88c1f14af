"""What happens to pods, as the apiserver tells it: every change of their state, with its time."""

import json
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from charts.cluster import Cluster


@dataclass(frozen=True)
class Event:
    """One change."""

    at: float
    pod: str
    what: str


class Pods(threading.Thread):
    """Follows the pods of a namespace by `kubectl get --watch`."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        super().__init__(daemon=True)
        self.events: list[Event] = []
        self.addresses: dict[str, str] = {}
        self._seen: set[tuple[str, str]] = set()
        command = ["get", "pods", "--namespace", namespace, "--watch", "--output=json"]
        self._process = subprocess.Popen(
            [cluster.programs / "kubectl", "--kubeconfig", cluster.kubeconfig(), *command],
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self) -> None:
        """Reads one object after the other until kubectl ends."""
        decoder, text = json.JSONDecoder(), ""
        for line in self._process.stdout:
            text += line
            # Each object ends with a brace at the margin.
            if line == "}\n":
                pod, _ = decoder.raw_decode(text)
                text = ""
                self._look(pod)

    def end(self) -> None:
        """Ends kubectl, and with it the thread."""
        self._process.kill()
        self._process.wait()
        self.join()

    def _look(self, pod: dict) -> None:
        name, status = pod["metadata"]["name"], pod["status"]
        self.addresses.setdefault(name, status.get("podIP", ""))
        if status.get("podIP"):
            self.addresses[name] = status["podIP"]
        self._note(name, "created")
        if status.get("podIP"):
            self._note(name, f"has the address {status['podIP']}")
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))
        if ready:
            self._note(name, "ready")
        if pod["metadata"].get("deletionTimestamp"):
            self._note(name, "told to end")
            if not ready:
                self._note(name, "not ready any more")
        for container in status.get("containerStatuses", []):
            ended = container["state"].get("terminated")
            if ended:
                self._note(name, f"ended with exit code {ended['exitCode']}")
            if container["restartCount"]:
                self._note(name, f"restarted ({container['restartCount']})")

    def _note(self, pod: str, what: str) -> None:
        if (pod, what) not in self._seen:
            self._seen.add((pod, what))
            self.events.append(Event(time.time(), pod, what))

    def of(self, pod: str) -> list[str]:
        """What happened to one pod, in its order."""
        return [event.what for event in list(self.events) if event.pod == pod]


class Log:
    """What a pod says, from now until it is gone: `kubectl logs --follow`."""

    def __init__(self, cluster: Cluster, namespace: str, pod: str, path: Path) -> None:
        self.path = path
        with path.open("w") as output:
            self._process = subprocess.Popen(
                [
                    *(cluster.programs / "kubectl", "--kubeconfig", cluster.kubeconfig()),
                    *("logs", pod, "--namespace", namespace, "--follow", "--timestamps", "--tail=0"),
                ],
                stdout=output,
            )

    def lines(self) -> list[tuple[float, str]]:
        """So far, each with its time."""
        found = []
        for line in self.path.read_text().splitlines():
            at, _, said = line.partition(" ")
            # Nanoseconds are more than Python 3.10 reads.
            found.append((datetime.fromisoformat(at[:26] + "+00:00").timestamp(), said))
        return found

    def end(self) -> None:
        """Ends kubectl."""
        self._process.kill()
        self._process.wait()
