"""The client's socket in the hands of the app: `environ["gunicorn.socket"]`."""

from __future__ import annotations

import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


class Residue:
    """Goes before a class of sockets, and first gives what the server has already read after the request."""

    _residue = b""

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """What is left over, then what comes."""
        if not self._residue:
            received: bytes = super().recv(bufsize, flags)  # type: ignore[misc]
            return received
        taken = self._residue[:bufsize]
        if not flags & socket.MSG_PEEK:
            self._residue = self._residue[bufsize:]
        return taken

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv`, into a buffer."""
        if not self._residue:
            count: int = super().recv_into(buffer, nbytes, flags)  # type: ignore[misc]
            return count
        view = memoryview(buffer).cast("B")
        taken = self.recv(nbytes or len(view), flags)
        view[: len(taken)] = taken
        return len(taken)


class ClientSocket(Residue, socket.socket):
    """The one of apps on threads: it blocks."""

    def __init__(self, fileno: int, residue: bytes) -> None:
        super().__init__(fileno=fileno)
        self._residue = residue
        self.setblocking(True)


class SecureSocket:
    """What stands in `gunicorn.socket` over TLS: what the session is like, and nothing to read from or to write to."""

    _VERSIONS: ClassVar[dict[int, str]] = {0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}

    def __init__(
        self,
        version: int | None,
        cipher: str | None,
        grade: tuple[str, int] | None,
        protocol: str | None,
        chain: list[bytes],
    ) -> None:
        self._version = version
        self._cipher = cipher
        #: What OpenSSL says of version and bits; None: it was not asked.
        self._grade = grade
        self._protocol = protocol
        self._chain = chain

    def version(self) -> str | None:
        """As `ssl.SSLSocket.version`."""
        return self._VERSIONS.get(self._version or 0)

    def cipher(self) -> tuple[str, str, int] | None:
        """As `ssl.SSLSocket.cipher`: name, version, bits of the key."""
        version = self.version()
        if self._cipher is None or version is None:
            return None
        if self._grade is not None:
            return (self._cipher, *self._grade)
        bits = 128 if "128" in self._cipher else 256
        return (self._cipher, "TLSv1.3" if version == "TLSv1.3" else "TLSv1.2", bits)

    def selected_alpn_protocol(self) -> str | None:
        """As `ssl.SSLSocket.selected_alpn_protocol`."""
        return self._protocol

    def getpeercert(self, binary_form: bool = False) -> bytes | dict[str, Any] | None:
        """As `ssl.SSLSocket.getpeercert`: the client's certificate; None: it has sent none."""
        if not self._chain:
            return None
        return self._chain[0] if binary_form else _decoded(self._chain[0])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(
            f"gunicorn.socket.{name}: over TLS the connection stays the engine's; there are version(), cipher(), "
            "selected_alpn_protocol() and getpeercert()"
        )


def _decoded(certificate: bytes) -> dict[str, Any]:
    """A certificate as the dict of `getpeercert`. Python makes it only of a session of its own, or of a file."""
    # Imported where they are used: large, and rarely wanted.
    import ssl
    from _ssl import _test_decode_cert  # type: ignore[attr-defined]

    file = os.memfd_create("podicorn-certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, ssl.DER_cert_to_PEM_cert(certificate).encode())
        decoded: dict[str, Any] = _test_decode_cert(f"/proc/self/fd/{file}")
        return decoded
    finally:
        os.close(file)
