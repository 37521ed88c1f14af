"""Gunicorn's own requests, valid and invalid, read from the source distribution of the version that is the oracle.

They are not copied into this repository: pip fetches the archive once, checked by its hash, into the cache. A case is
``NAME.http``, the bytes in an escaped form, and ``NAME.py``, which names settings and says what the parser must make
of them.
"""

import fcntl
import functools
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from gunicorn import config
from gunicorn.util import split_request_uri

VERSION = "27.0.1"
ARCHIVE = f"gunicorn-{VERSION}.tar.gz"
SHA256 = "b1514965361c8b7e8107a80aa2a92636878df1ccfac6dd204a676426e04d9e3e"
FOLDER = f"gunicorn-{VERSION}/tests/requests/"

#: What a ``.http`` file writes with a backslash. Its line ends are only layout.
ESCAPE = re.compile(rb"\\(?:(r\\n)|(0)|(n)|(t)|x([0-9A-Fa-f]{2}))")

Settings = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Case:
    """One file of the corpus."""

    name: str
    data: bytes
    #: What the companion sets, by name.
    settings: Settings
    #: The requests that must come out, in the corpus' own terms; of a valid case.
    requests: tuple[dict[str, Any], ...] = ()
    #: The name of the exception that ends an invalid case.
    error: str | None = None


def cache() -> Path:
    """The directory that the Makefile builds in, too."""
    home = os.environ.get("PODICORN_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / f"podicorn-gunicorn-{VERSION}"


def digest(path: Path) -> str:
    """The file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def archive() -> Path:
    """The source distribution; fetched if it is not there."""
    path = cache() / ARCHIVE
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other processes of a run want it at the same time
        if not path.exists() or digest(path) != SHA256:
            fetch(path)
    return path


def fetch(path: Path) -> None:
    """Lets pip get the archive from wherever it is set up to get packages."""
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        requirement = Path(directory, "requirement.txt")
        requirement.write_text(f"gunicorn=={VERSION} --hash=sha256:{SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--no-binary", ":all:", "--require-hashes", "--requirement", str(requirement)]
        done = subprocess.run([*command, "--dest", directory], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Gunicorn's requests could not be fetched by {' '.join(command)}:\n{done.stderr}")
        os.replace(Path(directory, ARCHIVE), path)


@functools.cache
def cases() -> tuple[Case, ...]:
    """The whole corpus, in the order of the names."""
    installed = importlib.metadata.version("gunicorn")
    if installed != VERSION:
        raise RuntimeError(f"the requests are those of Gunicorn {VERSION}, but {installed} is installed")
    with tarfile.open(archive()) as files:
        text = {
            member.name.removeprefix(FOLDER): files.extractfile(member).read()  # type: ignore[union-attr]
            for member in files
            if member.isfile() and member.name.startswith(FOLDER)
        }
    names = sorted(name.removesuffix(".http") for name in text if name.endswith(".http"))
    unread = set(text) - {name + end for name in names for end in (".http", ".py")}
    if unread or not names:
        raise RuntimeError(f"the corpus is not laid out as this module reads it: {sorted(unread)}")
    return tuple(case(name, text[name + ".http"], text[name + ".py"]) for name in names)


def case(name: str, http: bytes, companion: bytes) -> Case:
    """Reads one pair of files."""
    settings: dict[str, object] = {}
    scope = {"__name__": name, "uri": uri, "cfg": config.Config()}
    with mock.patch.object(config.Config, "set", lambda _, setting, value: settings.update({setting: value})):
        exec(compile(companion, f"{FOLDER}{name}.py", "exec"), scope)
    said = scope["request"]
    frozen = tuple(sorted(settings.items()))
    if name.startswith("invalid/"):
        return Case(name, unescape(http), frozen, error=said.__name__)
    return Case(name, unescape(http), frozen, tuple(said if isinstance(said, list) else [said]))


def uri(raw: str) -> dict[str, str]:
    """What companions call ``uri``: the parts of a target that WSGI shows."""
    parts = split_request_uri(raw)
    return {"raw": raw, "path": parts.path, "query": parts.query}


def unescape(text: bytes) -> bytes:
    """The bytes that a ``.http`` file stands for."""

    def byte(match: re.Match[bytes]) -> bytes:
        crlf, nul, newline, tab, code = match.groups()
        if code:
            return bytes([int(code, 16)])
        return b"\r\n" if crlf else b"\0" if nul else b"\n" if newline else b"\t" if tab else b""

    data = ESCAPE.sub(byte, text.replace(b"\n", b""))
    if b"\\" in data:
        raise RuntimeError(f"an escape that is not known: {data!r}")
    return data


#: The head of an HTTP/1.1 message, as far as it can be told: its first line, perhaps after a proxy's, then its fields.
HEAD = re.compile(rb"(?:\A|(?<=\r\n\r\n))((?:PROXY [^\r\n]*\r\n)?[^\r\n]*HTTP/1\.1\r\n)((?:[^\r\n]+\r\n)*)")
HOST = re.compile(rb"^host[ \t]*:", re.IGNORECASE | re.MULTILINE)
LENGTH = re.compile(rb"(?<=\r\nContent-Length: )[0-9]+(?![^\r])")


def with_host(original: Case) -> Case | None:
    """The case with a Host in each head of HTTP/1.1 that has none; None where all have one."""

    def add(head: re.Match[bytes]) -> bytes:
        return head[0] if HOST.search(head[2]) else head[1] + b"Host: a\r\n" + head[2]

    data = HEAD.sub(add, original.data)
    return None if data == original.data else Case(f"{original.name} with Host", data, original.settings)


def with_length(original: Case) -> Case | None:
    """A valid case with the Content-Length that its body has; None where it is right, or is none."""
    head, _, body = original.data.partition(b"\r\n\r\n")
    said = LENGTH.search(head)
    if original.error or said is None or int(said[0]) <= len(body):
        return None
    data = LENGTH.sub(b"%d" % len(body), original.data, count=1)
    return Case(f"{original.name} with its length", data, original.settings)


def repaired() -> tuple[Case, ...]:
    """Cases freed of what Podicorn refuses on purpose, which may hide what they are about."""
    made = [repair(one) for one in cases() for repair in (with_host, with_length)]
    return tuple(one for one in made if one)
