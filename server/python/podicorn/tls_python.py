"""TLS of the engine types by Python's ssl, for what rustls cannot take: slower, and under the GIL."""

from __future__ import annotations

import ssl
from _ssl import _SSLContext

from podicorn import _engine
from podicorn.failure import Failure, first_line
from podicorn.tls_recorder import Recorder, default

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from podicorn.settings import Settings

    #: The server's certificate, the client's and its issuers', version, number and name of the cipher suite, protocol.
    Facts = tuple[bytes, list[bytes], int | None, int | None, tuple[str, str, int] | None, str | None]

_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
#: Of cipher suites, by name.
_numbers: dict[str, int] = {}


def engine_context(cfg: Settings, context: ssl.SSLContext, remake: Callable[[], ssl.SSLContext] | None) -> Any:
    """For the engine. Raises Failure where the context can serve nobody."""
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    except (OSError, ValueError) as error:
        raise Failure.config(f"hook ssl_context gave a context that is for no server: {first_line(error)}") from error
    # gevent's contexts call it by way of something that only gevent's sockets have.
    vars(_SSLContext)["sni_callback"].__set__(context, context.sni_callback)
    files = [str(path) for path in (cfg.certfile, cfg.keyfile, cfg.ca_certs) if path]
    return _engine.PythonTlsContext(
        context, facts=facts, remake=remake, files=files, strict_ends=not cfg.suppress_ragged_eofs
    )


def made(cfg: Settings) -> ssl.SSLContext:
    """The context of the settings. Raises Failure, OSError, ValueError."""
    context = default(cfg)
    if context.without_key is not None:
        raise context.without_key
    return context


def facts(tls: ssl.SSLObject) -> Facts:
    """What the engine tells apps of a session."""
    cipher = tls.cipher()
    number = None
    if cipher is not None:
        if cipher[0] not in _numbers:
            _numbers.update((each["name"], each["id"] & 0xFFFF) for each in tls.context.get_ciphers())
        number = _numbers.get(cipher[0])
    version = _VERSIONS.get(tls.version() or "")
    own = tls.context.certificate if isinstance(tls.context, Recorder) else b""
    return own, _chain(tls), version, number, cipher, tls.selected_alpn_protocol()


def _chain(tls: ssl.SSLObject) -> list[bytes]:
    """The client's certificate and those behind it, as it has sent them."""
    first = tls.getpeercert(binary_form=True)
    if first is None:
        return []
    # Public since Python 3.13.
    get = getattr(tls, "get_unverified_chain", None) or vars(tls)["_sslobj"].get_unverified_chain
    sent = get()
    chain = [each if isinstance(each, bytes) else ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in sent or ()]
    return chain or [first]
