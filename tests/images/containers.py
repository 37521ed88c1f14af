"""buildah and podman, with a store of their own in the cache, and base images made by debootstrap.

Nothing comes from a registry of images. What stands for `python:3.13-slim` is Debian trixie with its Python 3.13; what
stands for `rust` is the machine's own toolchain. pip and cargo take from their registries what the build needs.
"""

import contextlib
import functools
import hashlib
import json
import os
import resource
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STORE = Path(os.environ.get("PODICORN_CACHE") or Path.home() / ".cache") / "podicorn-images"
CONFIGURATION = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
PYTHON = [
    "python3-minimal",
    "python3.13",
    "libpython3.13",
    "python3.13-venv",
    "dash",
    "coreutils",
    "libc6",
    "base-files",
    "ca-certificates",
]
#: The machine's own, so that pip and cargo trust in a build what they trust outside.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
COMPILER = ["gcc", "libc6-dev", "make", "mawk", "bash", "sed", "grep", "findutils", "diffutils", "tar"]


def limits() -> list[str]:
    """Options for `podman run`: its own limits may be above what this machine lets anybody set."""
    kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    hard = {name: resource.getrlimit(kind)[1] for name, kind in kinds.items()}
    # podman gives up what is beyond the number of process ids, and with it the right to give it to others.
    hard["nproc"] = min(hard["nproc"], int(Path("/proc/sys/kernel/pid_max").read_text()))
    return [f"--ulimit={name}={value}:{value}" for name, value in hard.items()]


def run(
    *command: str | Path, ok: bool = True, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program with the store's configuration."""
    STORE.mkdir(parents=True, exist_ok=True)
    configuration = STORE / "containers.conf"
    configuration.write_text(CONFIGURATION)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"CONTAINERS_CONF": str(configuration)} | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ok or done.returncode == 0, f"{command}: {done.stderr[-4000:]}{done.stdout[-2000:]}"
    return done


def _store() -> list[str]:
    return ["--root", str(STORE / "storage"), "--runroot", str(STORE / "run")]


def buildah(*arguments: str | Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs buildah."""
    # What `RUN --mount=type=cache` keeps lies in TMPDIR: beside the store, a build of an hour later finds it again.
    kept = STORE / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    return run("buildah", *_store(), *arguments, ok=ok, environment={"TMPDIR": str(kept)})


def podman(*arguments: str | Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs podman."""
    return run("podman", *_store(), "--cgroup-manager=cgroupfs", *arguments, ok=ok)


def _present(image: str) -> bool:
    return buildah("inspect", "--type=image", image, ok=False).returncode == 0


def _import(image: str, *contents: tuple[Path, str], command: list[str]) -> None:
    """An image of one layer: each directory or tar at its place, and what a command does there."""
    container = buildah("from", "scratch").stdout.strip()
    for source, place in contents:
        buildah("add", "--quiet", container, source, place)
    if command:
        buildah("run", "--isolation=chroot", container, "--", *command)
    buildah("commit", "--quiet", container, image)
    buildah("rm", container)


def _debian(name: str, packages: list[str], command: list[str]) -> str:
    image = f"{name}-{hashlib.sha256(' '.join(packages + command).encode()).hexdigest()[:8]}"
    if not _present(image):
        archive = STORE / f"{image.rpartition('/')[2].replace(':', '-')}.tar"
        include = f"--include={','.join(packages)}"
        run("mmdebstrap", "--quiet", "--variant=extract", include, "trixie", archive)
        _import(image, (archive, "/"), (CERTIFICATES, "/etc/ssl/certs/"), command=command)
        archive.unlink()
    return image


@functools.cache
def python_image() -> str:
    """What an app runs on."""
    return _debian("localhost/python:slim", PYTHON, [])


@functools.cache
def build_image() -> str:
    """The same, with a compiler."""
    # Packages are unpacked, not configured: what makes gcc the compiler, and mawk awk, does not run.
    links = ["sh", "-c", "ln -s gcc /usr/bin/cc && ln -s mawk /usr/bin/awk"]
    return _debian("localhost/python:build", PYTHON + COMPILER, links)


def _said(*command: str) -> str:
    return run(*command).stdout.strip()


@functools.cache
def rust_image() -> str:
    """The machine's Rust, where the official image has it, on top of a compiler."""
    sysroot = Path(_said("rustc", "--print", "sysroot"))
    version = _said("rustc", "--version").split()[1]
    image = f"localhost/rust:{version}-{build_image().rpartition('-')[2]}"
    if not _present(image):
        container = buildah("from", build_image()).stdout.strip()
        for part in ("bin", "lib"):
            buildah("add", "--quiet", container, (sysroot / part).resolve(), f"/usr/local/cargo/{part}")
        (STORE / "rustup").mkdir(exist_ok=True)
        buildah("add", "--quiet", container, STORE / "rustup", "/usr/local/rustup")
        buildah("config", "--env", "PATH=/usr/local/cargo/bin:/usr/bin:/bin", container)
        buildah("config", "--env", "CARGO_HOME=/usr/local/cargo", container)
        buildah("commit", "--quiet", container, image)
        buildah("rm", container)
    return image


def build(file: str, image: str, directory: Path = ROOT, **arguments: str) -> str:
    """Builds a Dockerfile. The build has the machine's network, for pip and cargo."""
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    buildah(
        "build",
        "--isolation=chroot",
        "--format=docker",
        "--layers",
        f"--file={file}",
        f"--tag={image}",
        *options,
        directory,
    )
    return image


@functools.cache
def app_base() -> str:
    """deploy/Dockerfile, built."""
    return build(
        "deploy/Dockerfile",
        "localhost/podicorn:test",
        PYTHON_IMAGE=python_image(),
        BUILD_IMAGE=build_image(),
        RUST_IMAGE=rust_image(),
    )


@functools.cache
def operator() -> str:
    """deploy/operator.Dockerfile, built."""
    return build("deploy/operator.Dockerfile", "localhost/podicorn-operator:test", RUST_IMAGE=rust_image())


def size(image: str) -> int:
    """Bytes of all layers, unpacked."""
    return json.loads(podman("image", "inspect", image).stdout)[0]["Size"]


@dataclass
class Container:
    """A running container."""

    name: str
    started: float

    def inspect(self) -> dict:
        """What podman knows of it."""
        return json.loads(podman("container", "inspect", self.name).stdout)[0]

    def logs(self) -> str:
        """Both streams of its output."""
        done = podman("logs", self.name)
        return done.stdout + done.stderr

    def get(self, port: int, path: str) -> tuple[int, str]:
        """A request from within its network namespace; the status is 0 where nobody answers."""
        pid = str(self.inspect()["State"]["Pid"])
        url = f"http://127.0.0.1:{port}{path}"
        command = [
            "nsenter",
            f"--net=/proc/{pid}/ns/net",
            "curl",
            "-s",
            "--max-time",
            "10",
            "-w",
            "\n%{http_code}",
            url,
        ]
        body, _, status = run(*command, ok=False).stdout.rpartition("\n")
        return int(status or 0), body

    def ids(self, pid: str = "self") -> dict[str, str]:
        """/proc/PID/status of its first process."""
        pid = str(self.inspect()["State"]["Pid"])
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


#: As a pod of the chart is run: a limit for memory and CPU, nothing writable but /tmp, nobody's user, no capability.
RESTRICTED = [
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp:rw,size=64m",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--user=1000710000:1000710000",
    "--network=none",
    "--memory=256m",
    "--cpus=1",
]


@contextlib.contextmanager
def container(image: str, *arguments: str, options: list[str] = RESTRICTED) -> Iterator[Container]:
    """Runs an image and removes the container in the end."""
    name = f"podicorn-{secrets.token_hex(4)}"
    started = time.monotonic()
    podman("run", "--detach", f"--name={name}", *limits(), *options, image, *arguments)
    try:
        yield Container(name, started)
    finally:
        # podman loses a race against a container that ends of itself; then it is gone at the second try.
        if podman("rm", "--force", "--time=1", name, ok=False).returncode != 0:
            podman("rm", "--force", name)


def available() -> str | None:
    """Why this machine cannot do it, or nothing."""
    missing = [
        tool for tool in ("buildah", "podman", "runc", "mmdebstrap", "nsenter", "curl") if not shutil.which(tool)
    ]
    if missing:
        return f"these programs are missing: {', '.join(missing)}"
    return None if os.getuid() == 0 else "root is needed"
