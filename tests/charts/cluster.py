"""A control plane for the charts: etcd, kube-apiserver, kube-controller-manager, and something that says that pods run.

The programs come from dev/cluster-assets.sh, or from KUBEBUILDER_ASSETS. There is no node: `Pods` sets the status of
each pod, Succeeded where it is to run once, else Running and ready. So what an apiserver and its controllers do is
real; that the containers work is not shown here.
"""

import contextlib
import json
import os
import secrets
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from podtest.ports import free_port
from podtest.waiting import wait_until

from charts import helm

CONTROLLERS = (
    "deployment-controller,replicaset-controller,garbage-collector-controller,namespace-controller,job-controller,"
    "serviceaccount-controller,root-ca-certificate-publisher-controller,disruption-controller,"
    "clusterrole-aggregation-controller,validatingadmissionpolicy-status-controller"
)


def programs() -> Path:
    """The directory with etcd, kube-apiserver, kube-controller-manager and kubectl."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if given and (Path(given) / "kube-apiserver").exists():
        return Path(given)
    built = subprocess.run([helm.ROOT / "dev" / "cluster-assets.sh"], check=True, stdout=subprocess.PIPE, text=True)
    return Path(built.stdout.strip())


@dataclass(frozen=True)
class Shape:
    """What differs between a control plane without nodes, and one that has some (tests/node)."""

    #: Where the apiserver listens, and where it is asked. Port 0: a free one.
    bind: str = "127.0.0.1"
    address: str = "127.0.0.1"
    advertise: str = "127.0.0.1"
    port: int = 0
    #: Users beside `admin` and `developer`, with their groups.
    users: dict[str, str] = field(default_factory=dict)
    authorization: str = "RBAC"
    admission: str = ""
    controllers: str = CONTROLLERS
    #: Whether something says that the pods run.
    stand_in: bool = True


@dataclass
class Cluster:
    """What a test needs to talk to the apiserver."""

    programs: Path
    directory: Path
    server: str
    tokens: dict[str, str] = field(default_factory=dict)

    def kubeconfig(self, user: str = "admin", namespace: str = "default") -> Path:
        """A kubeconfig of that user."""
        path = self.directory / f"{user.replace(':', '-')}-{namespace}.kubeconfig"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [
                        {"name": "test", "cluster": {"server": self.server, "insecure-skip-tls-verify": True}}
                    ],
                    "users": [{"name": user, "user": {"token": self.tokens[user]}}],
                    "contexts": [
                        {"name": "test", "context": {"cluster": "test", "user": user, "namespace": namespace}}
                    ],
                    "current-context": "test",
                }
            )
        )
        return path

    def kubectl(
        self, *arguments: str | Path, user: str = "admin", text: str | None = None, ok: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl; `text` is its standard input."""
        done = subprocess.run(
            [self.programs / "kubectl", "--kubeconfig", self.kubeconfig(user), *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == ok, f"kubectl {arguments}: {done.stderr}{done.stdout}"
        return done

    def get(self, *arguments: str) -> dict:
        """An object or a list."""
        return json.loads(self.kubectl("get", *arguments, "--output", "json").stdout)

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        """One request as the administrator."""
        request = urllib.request.Request(
            self.server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.tokens['admin']}",
                "Content-Type": "application/strategic-merge-patch+json" if method == "PATCH" else "application/json",
            },
        )
        with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=30) as answer:
            return json.load(answer)

    def namespace(self, *, enforce: str = "restricted") -> str:
        """A new namespace that enforces a Pod Security standard, with its default account."""
        name = f"n{secrets.token_hex(4)}"
        self.kubectl(
            "apply",
            "--filename=-",
            text=yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Namespace",
                    "metadata": {
                        "name": name,
                        "labels": {
                            "pod-security.kubernetes.io/enforce": enforce,
                            "pod-security.kubernetes.io/warn": enforce,
                        },
                    },
                }
            ),
        )
        wait_until(
            lambda: self.kubectl("get", "serviceaccounts", "--namespace", name, "--output=name").stdout,
            f"the default account of {name}",
        )
        return name


class Pods(threading.Thread):
    """Stands for the nodes: gives every pod the status that it would have if all went well."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.ending = threading.Event()
        #: Names of pods that fail, by what they begin with.
        self.failing: set[str] = set()

    def run(self) -> None:
        """Looks five times a second."""
        while not self.ending.wait(0.2):
            with contextlib.suppress(OSError):
                for pod in self.cluster.call("GET", "/api/v1/pods")["items"]:
                    if pod["status"].get("phase") == "Pending" and "deletionTimestamp" not in pod["metadata"]:
                        self.set_status(pod)

    def set_status(self, pod: dict) -> None:
        """Running and ready, or how a pod that runs once has ended."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        once = pod["spec"]["restartPolicy"] == "Never"
        failed = any(name.startswith(prefix) for prefix in self.failing)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        status = {"phase": ("Failed" if failed else "Succeeded") if once else "Running", "startTime": now}
        if not once:
            status["conditions"] = [
                {"type": kind, "status": "True", "lastTransitionTime": now}
                for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ]
        with contextlib.suppress(urllib.error.HTTPError):
            self.cluster.call("PATCH", f"/api/v1/namespaces/{namespace}/pods/{name}/status", {"status": status})


@contextlib.contextmanager
def control_plane(directory: Path, shape: Shape = Shape()) -> Iterator[tuple[Cluster, Pods]]:
    """Starts everything and ends it."""
    found = programs()
    port = shape.port or free_port()
    cluster = Cluster(found, directory, f"https://{shape.address}:{port}")
    users = {"admin": "system:masters", "developer": ""} | shape.users
    cluster.tokens = {user: secrets.token_hex(16) for user in users}
    lines = [
        f"{cluster.tokens[user]},{user},{user}" + (f',"{groups}"' if groups else "") for user, groups in users.items()
    ]
    (directory / "tokens.csv").write_text("\n".join(lines) + "\n")
    subprocess.run(["openssl", "genrsa", "-out", directory / "accounts.key", "2048"], check=True, capture_output=True)
    with contextlib.ExitStack() as stack:
        for program, arguments in _commands(directory, shape, cluster, port).items():
            log = stack.enter_context((directory / f"{program}.log").open("w"))
            process = subprocess.Popen([found / program, *arguments], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            if program == "kube-apiserver":
                wait_until(lambda: _ready(cluster), lambda: f"the apiserver:\n{_tail(directory)}", every=0.2)
        pods = Pods(cluster)
        if shape.stand_in:
            pods.start()
            stack.callback(pods.ending.set)
        yield cluster, pods


def _commands(directory: Path, shape: Shape, cluster: Cluster, port: int) -> dict[str, list[str]]:
    etcd, peer = free_port(), free_port()
    key, certificates = directory / "accounts.key", directory / "certificates"
    return {
        "etcd": [
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            f"--data-dir={directory / 'etcd'}",
            "--unsafe-no-fsync=true",
        ],
        "kube-apiserver": [
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--secure-port={port}",
            f"--bind-address={shape.bind}",
            f"--advertise-address={shape.advertise}",
            f"--cert-dir={certificates}",
            f"--token-auth-file={directory / 'tokens.csv'}",
            f"--service-account-issuer=https://127.0.0.1:{port}/",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.0.0.0/16",
            f"--authorization-mode={shape.authorization}",
            *([f"--enable-admission-plugins={shape.admission}"] if shape.admission else []),
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",
        ],
        "kube-controller-manager": [
            f"--kubeconfig={cluster.kubeconfig()}",
            "--authentication-skip-lookup=true",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            f"--cert-dir={directory / 'controllers'}",
            f"--controllers={shape.controllers}",
            f"--service-account-private-key-file={key}",
            # What the apiserver made for itself holds its authority, too; pods get it to know the apiserver by.
            f"--root-ca-file={certificates / 'apiserver.crt'}",
            "--use-service-account-credentials=false",
            "--leader-elect=false",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
        ],
    }


def _ready(cluster: Cluster) -> bool:
    command = [cluster.programs / "kubectl", "--kubeconfig", cluster.kubeconfig(), "get", "--raw", "/readyz"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _tail(directory: Path) -> str:
    return "\n".join((directory / "kube-apiserver.log").read_text().splitlines()[-20:])
