"""What a kubelet makes of a pod's container, as options of podman: as much of it as the charts use.

Not here: volumes other than an emptyDir, environment from Secrets, more than one container.
"""

#: The suffixes of Kubernetes' quantities that the charts use.
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def options(spec: dict, container: dict) -> list[str]:
    """The options that come before the image."""
    pod, own = spec.get("securityContext", {}), container.get("securityContext", {})
    given = ["--network=none", "--env=KUBERNETES_SERVICE_HOST=10.0.0.1", "--read-only-tmpfs=false"]
    given += [f"--env={entry['name']}={entry['value']}" for entry in container.get("env", [])]
    if own.get("readOnlyRootFilesystem"):
        given.append("--read-only")
    if own.get("allowPrivilegeEscalation") is False:
        given.append("--security-opt=no-new-privileges")
    given += [f"--cap-drop={name}" for name in own.get("capabilities", {}).get("drop", [])]
    user = own.get("runAsUser", pod.get("runAsUser"))
    if user is not None:
        given.append(f"--user={user}:{pod.get('runAsGroup', 0)}")
    limits = container.get("resources", {}).get("limits", {})
    if "memory" in limits:
        given.append(f"--memory={_bytes(limits['memory'])}")
    if "cpu" in limits:
        given.append(f"--cpus={limits['cpu']}")
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        size = _bytes(volumes[mount["name"]]["emptyDir"]["sizeLimit"])
        given.append(f"--tmpfs={mount['mountPath']}:rw,size={size}")
    command = container.get("command", [])
    return [*given, *([f"--entrypoint={command[0]}"] if command else [])]


def arguments(container: dict) -> list[str]:
    """What comes after the image."""
    return [*container.get("command", [])[1:], *container.get("args", [])]


def probe(container: dict, name: str) -> tuple[int, str]:
    """Port and path of a probe."""
    get = container[name]["httpGet"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    return ports.get(get["port"], get["port"]), get["path"]


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]
