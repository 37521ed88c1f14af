"""The node: a bridge, containerd, a kubelet and a scheduler, joined to the control plane of tests/charts."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml
from charts.cluster import CONTROLLERS, Cluster, Shape, control_plane
from podtest.ports import free_port
from podtest.waiting import wait_until

from node.archives import PAUSE

NAME = "node-1"
USER = f"system:node:{NAME}"
BRIDGE, GATEWAY, PODS = "pods0", "10.88.0.1", "10.88.0.0/24"
#: Where pods look for the apiserver: the first address of the range of services. It is one of this machine's here, so
#: that nobody has to translate it.
SERVICE = "10.0.0.1"
SHAPE = Shape(
    bind="0.0.0.0",
    address=SERVICE,
    advertise=GATEWAY,
    port=443,
    users={USER: "system:nodes", "scheduler": "system:masters"},
    authorization="Node,RBAC",
    admission="NodeRestriction",
    # Nodes are watched and tainted, and Services get their endpoints.
    controllers=f"{CONTROLLERS},node-lifecycle-controller,endpoints-controller,endpointslice-controller,"
    "endpointslice-mirroring-controller,ttl-controller",
    stand_in=False,
)
#: What a kubelet would set for the whole machine, and how. It gets files of its own for it: the machine stays as it is.
KERNEL = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
#: Where containerd, CNI and the kubelet write, whatever their configuration says.
FIXED = ("/run/containerd", "/run/netns", "/var/lib/cni", "/var/log/containers")
CNI = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "ipam": {"type": "host-local", "subnet": PODS, "routes": [{"dst": "0.0.0.0/0"}]},
        }
    ],
}
CONTAINERD = """\
version = 2
root = "{directory}/containerd"
state = "{directory}/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "{directory}/run/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # A machine may forbid root to make a process more important to the kernel.
  restrict_oom_score_adj = {restrict}
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{directory}/run/runc"
"""


def _said(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
    return done.stdout


def _may_lower_oom_score() -> bool:
    return bool(int(dict(_status())["CapEff"], 16) & 1 << 24)  # CAP_SYS_RESOURCE


def _status() -> Iterator[tuple[str, str]]:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()


def _network() -> None:
    """Everything that this network namespace has."""
    _said("ip", "link", "set", "lo", "up")
    _said("ip", "address", "add", f"{SERVICE}/32", "dev", "lo")
    _said("ip", "link", "add", BRIDGE, "type", "bridge")
    _said("ip", "address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
    _said("ip", "link", "set", BRIDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _mounts(directory: Path) -> None:
    _said("mount", "--make-rshared", "/")
    for fixed in FIXED:
        Path(fixed).mkdir(parents=True, exist_ok=True)
        _said("mount", "--types", "tmpfs", "node", fixed)
    (directory / "kernel").mkdir()
    for name, value in KERNEL.items():
        own = directory / "kernel" / name.replace("/", ".")
        own.write_text(f"{value}\n")
        _said("mount", "--bind", own, f"/proc/sys/{name}")


def _cgroups(name: str) -> None:
    """The root of the node's groups, in every hierarchy there is."""
    root = Path("/sys/fs/cgroup")
    hierarchies = (
        [root] if (root / "cgroup.controllers").exists() else [path for path in root.iterdir() if path.is_dir()]
    )
    for hierarchy in hierarchies:
        (hierarchy / name).mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / file).exists():
                (hierarchy / name / file).write_text((hierarchy / file).read_text())


def _plugins() -> Path:
    found = [path for path in ("/usr/lib/cni", "/opt/cni/bin") if (Path(path) / "bridge").exists()]
    assert found, "CNI's plugins are missing: apt-get install containernetworking-plugins"
    return Path(found[0])


class Machine:
    """The cluster with its node."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster, self.directory = cluster, directory

    def ctr(self, *arguments: str | Path) -> str:
        """containerd's own client, in the kubelet's namespace."""
        return _said("ctr", f"--address={self.directory}/run/containerd.sock", "--namespace=k8s.io", *arguments)

    def tail(self, program: str, lines: int = 20) -> str:
        """The end of a log."""
        text = (self.directory / f"{program}.log").read_text(errors="replace")
        return f"--- {program}\n" + "\n".join(text.splitlines()[-lines:])


def _kubelet(directory: Path, cgroup: str) -> dict:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # A machine with cgroup v1 is as good for what is shown here.
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": f"unix://{directory}/run/containerd.sock",
        "failSwapOn": False,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "maxOpenFiles": 20000,
        "address": GATEWAY,
        "healthzPort": 0,
        "podLogsDir": str(directory / "logs"),
        "volumePluginDir": str(directory / "plugins"),
        "registerNode": True,
        "nodeStatusUpdateFrequency": "2s",
        "imageGCHighThresholdPercent": 100,
        # The disk and the memory are the machine's, and others use them, too.
        "evictionHard": {"memory.available": "1Mi"},
    }


@contextlib.contextmanager
def _running(directory: Path, program: str | Path, *arguments: str) -> Iterator[subprocess.Popen]:
    with (directory / f"{Path(program).name}.log").open("w") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def machine(directory: Path) -> Iterator[Machine]:
    """Starts everything and ends it. The namespaces are made already."""
    missing = [name for name in ("containerd", "ctr", "runc", "ip", "openssl") if not shutil.which(name)]
    assert not missing, f"these programs are missing: {', '.join(missing)}"
    assert os.environ.get("PODICORN_NODE_CGROUP"), "run this by `make node`: it changes the network and the mounts"
    assert [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]] == ["lo"], (
        "this is no network namespace of its own: use `make node`"
    )
    _network()
    _mounts(directory)
    _cgroups(os.environ["PODICORN_NODE_CGROUP"])
    for name in ("cni", "run", "logs", "plugins"):
        (directory / name).mkdir()
    plugins = _plugins()
    CNI["plugins"][0]["ipam"]["dataDir"] = str(directory / "addresses")
    (directory / "cni" / "10-pods.conflist").write_text(json.dumps(CNI))
    (directory / "containerd.toml").write_text(
        CONTAINERD.format(
            directory=directory, pause=PAUSE, plugins=plugins, restrict=str(not _may_lower_oom_score()).lower()
        )
    )
    (directory / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(directory, os.environ["PODICORN_NODE_CGROUP"])))
    programs = Path(os.environ["PODICORN_NODE_ASSETS"])
    with contextlib.ExitStack() as stack:
        cluster, _ = stack.enter_context(control_plane(directory, SHAPE))
        stack.enter_context(_running(directory, "containerd", f"--config={directory}/containerd.toml"))
        node = Machine(cluster, directory)
        wait_until((directory / "run" / "containerd.sock").exists, lambda: node.tail("containerd"))
        for archive in os.environ["PODICORN_NODE_IMAGES"].split():
            node.ctr("images", "import", archive)
        stack.enter_context(
            _running(
                directory,
                programs / "kube-scheduler",
                f"--kubeconfig={cluster.kubeconfig('scheduler')}",
                "--leader-elect=false",
                "--authentication-skip-lookup=true",
                "--bind-address=127.0.0.1",
                f"--secure-port={free_port()}",
                f"--cert-dir={directory / 'scheduler'}",
            )
        )
        stack.enter_context(
            _running(
                directory,
                programs / "kubelet",
                f"--config={directory}/kubelet.yaml",
                f"--kubeconfig={cluster.kubeconfig(USER)}",
                f"--root-dir={directory}/kubelet",
                f"--cert-dir={directory}/kubelet-certificates",
                f"--hostname-override={NAME}",
                f"--node-ip={GATEWAY}",
                "--v=2",
            )
        )
        wait_until(lambda: _is_ready(cluster), lambda: node.tail("kubelet"), every=0.5)
        yield node


def _is_ready(cluster: Cluster) -> bool:
    for node in cluster.get("nodes")["items"]:
        conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", [])}
        if conditions.get("Ready") == "True" and not node["spec"].get("taints"):
            return True
    return False
