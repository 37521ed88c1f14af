"""The images of the suite as archives that containerd imports: `python -m node.archives` builds what is missing.

It runs before the namespaces are made, because pip and cargo need the machine's network.
"""

import subprocess
from pathlib import Path

from images import containers

ARCHIVES = containers.STORE / "archives"
PAUSE, OPERATOR = "localhost/pause:1", "localhost/podicorn-operator:test"
RELEASES = ("localhost/django:1", "localhost/django:2")


def _pause() -> str:
    program = containers.STORE / "pause"
    containers.run("cc", "-static", "-Os", "-s", "-o", program, containers.ROOT / "tests" / "node" / "pause.c")
    container = containers.buildah("from", "scratch").stdout.strip()
    containers.buildah("add", "--quiet", container, program, "/pause")
    containers.buildah("config", "--entrypoint", '["/pause"]', "--user=65535:65535", container)
    containers.buildah("commit", "--quiet", container, PAUSE)
    containers.buildah("rm", container)
    return PAUSE


def _release(site: str, image: str) -> str:
    """The same site, that says another number. For buildah 1.28 a build argument would not make it another image."""
    container = containers.buildah("from", site).stdout.strip()
    containers.buildah("config", f"--env=RELEASE={image.rpartition(':')[2]}", container)
    containers.buildah("commit", "--quiet", container, image)
    containers.buildah("rm", container)
    return image


def _archive(image: str) -> Path:
    """Written anew only where the image has become another."""
    name = ARCHIVES / image.rpartition("/")[2].replace(":", "-")
    archive, stamp = name.with_suffix(".tar"), name.with_suffix(".id")
    identity = containers.podman("image", "inspect", "--format={{.Id}}", image).stdout
    if not archive.exists() or not stamp.exists() or stamp.read_text() != identity:
        archive.unlink(missing_ok=True)
        containers.podman("save", "--quiet", f"--output={archive}", image)
        stamp.write_text(identity)
    return archive


def build() -> list[Path]:
    """All of them."""
    reason = containers.available()
    assert reason is None, reason
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    base = containers.app_base()
    tests = containers.ROOT / "tests"
    dockerfile = str(tests / "node" / "app" / "Dockerfile")
    site = containers.build(dockerfile, "localhost/django:site", tests, BASE=base)
    images = [_pause(), containers.operator(), *(_release(site, image) for image in RELEASES)]
    return [_archive(image) for image in images]


if __name__ == "__main__":
    try:
        print(*build(), sep="\n")
    except (AssertionError, subprocess.SubprocessError) as error:
        raise SystemExit(f"The images could not be built: {error}") from None
