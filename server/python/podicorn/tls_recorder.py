"""The hook `ssl_context` on the engine types: what it does to a context of Python's is carried over to the engine.

As long as that works the engine speaks TLS by rustls, and the context itself serves nobody. It notes what cannot be
read from it later: its files, and what rustls has nothing for, which makes the engine use the context (`tls_python`).
"""

from __future__ import annotations

import os
import ssl

from podicorn.failure import Failure
from podicorn.tls import certificate_file, protocols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from podicorn.settings import Settings


class Recorder(ssl.SSLContext):
    """A context that knows what was done to it."""

    def __init__(self, *arguments: Any) -> None:
        #: Certificate file, key file, and whether there was a passphrase.
        self.chains: list[tuple[str, str | None, bool]] = []
        #: The certificate of its only file, as DER; empty: there are several, or none.
        self.certificate = b""
        #: Why there is no certificate yet.
        self.without_key: Failure | None = None
        #: What rustls cannot do, as far as the context itself does not tell.
        self.beyond: str | None = None

    def load_cert_chain(self, certfile: Any, keyfile: Any = None, password: Any = None) -> None:
        """As in `ssl.SSLContext`, but nobody is asked for a passphrase on a terminal."""

        def refuse() -> NoReturn:
            raise Failure.config(
                f"the private key in {os.fsdecode(keyfile or certfile)!r} is encrypted, and there is nobody to ask for "
                "its passphrase; give it to load_cert_chain in the hook ssl_context, or decrypt it by `openssl pkey`"
            )

        super().load_cert_chain(certfile, keyfile, refuse if password is None else password)
        key = None if keyfile is None else os.fsdecode(keyfile)
        self.chains.append((os.fsdecode(certfile), key, password is not None))
        only = len({certificate for certificate, _, _ in self.chains}) == 1
        self.certificate = _first_certificate(certfile) if only else b""

    def load_verify_locations(self, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        """As in `ssl.SSLContext`."""
        super().load_verify_locations(cafile, capath, cadata)
        if capath is not None:
            self.beyond = "loads authorities from a directory"

    def set_alpn_protocols(self, alpn_protocols: Any) -> None:
        """As in `ssl.SSLContext`."""
        super().set_alpn_protocols(alpn_protocols)
        self.beyond = "sets protocols of ALPN"

    def set_ecdh_curve(self, name: Any) -> None:
        """As in `ssl.SSLContext`."""
        super().set_ecdh_curve(name)
        self.beyond = "sets the curve of the key exchange"

    def load_dh_params(self, path: Any) -> None:
        """As in `ssl.SSLContext`."""
        super().load_dh_params(path)
        self.beyond = "loads parameters for Diffie-Hellman"

    def set_psk_server_callback(self, *arguments: Any, **options: Any) -> None:
        """As in `ssl.SSLContext` (Python 3.13)."""
        super().set_psk_server_callback(*arguments, **options)  # type: ignore[misc]
        self.beyond = "sets a callback for keys that are shared beforehand"


def _first_certificate(path: Any) -> bytes:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    with open(path, encoding="ascii", errors="replace") as file:
        text = file.read().partition(begin)[2].partition(end)[0]
    return ssl.PEM_cert_to_DER_cert(f"{begin}{text}{end}") if text else b""


def default(cfg: Settings) -> Recorder:
    """What `default_ssl_context_factory` gives. A key with a passphrase is left out: the hook may know that."""
    context = Recorder(ssl.PROTOCOL_TLS_SERVER)
    if cfg.ca_certs:
        context.load_verify_locations(cfg.ca_certs)
    try:
        context.load_cert_chain(certificate_file(cfg), cfg.keyfile)
    except Failure as failure:
        context.without_key = failure
    context.verify_mode = ssl.VerifyMode(int(cfg.cert_reqs or 0))
    if cfg.ciphers:
        context.set_ciphers(cfg.ciphers)
    context.set_alpn_protocols(protocols(cfg))
    context.beyond = None
    return context


def beyond_rustls(context: ssl.SSLContext) -> str | None:
    """What of the hook's context only Python's ssl can do; None: nothing. Raises Failure if it has no certificate."""
    if not isinstance(context, Recorder):
        return "gives a context that it has made by itself"
    if context.without_key is not None and not context.chains:
        raise context.without_key
    what = context.beyond
    if any(encrypted for _, _, encrypted in context.chains):
        what = "loads a key with a passphrase"
    elif len(set(context.chains)) != 1:
        what = "loads more than one certificate"
    elif context.sni_callback is not None:
        what = "sets sni_callback"
    elif context.verify_flags & (ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_CRL_CHECK_CHAIN):
        what = "asks for revocation lists"
    elif getattr(context, "keylog_filename", None):
        what = "sets keylog_filename"
    elif context.post_handshake_auth:
        what = "asks for certificates after the handshake"
    return what


def recorded(context: ssl.SSLContext) -> tuple[str, dict[str, Any]]:
    """The certificate file, and the other arguments of the engine's context."""
    assert isinstance(context, Recorder)
    certfile, keyfile, _ = context.chains[-1]
    verify = int(context.verify_mode)
    return certfile, {
        "keyfile": keyfile,
        "authorities": context.get_ca_certs(binary_form=True) if verify else None,
        "verify": verify,
        "ciphers": [cipher["name"] for cipher in context.get_ciphers()],
        "older": _allows(context, ssl.TLSVersion.TLSv1_2, ssl.OP_NO_TLSv1_2),
        "newer": _allows(context, ssl.TLSVersion.TLSv1_3, ssl.OP_NO_TLSv1_3),
    }


def _allows(context: ssl.SSLContext, version: ssl.TLSVersion, switch: int) -> bool:
    lowest, highest = context.minimum_version, context.maximum_version
    above = lowest == ssl.TLSVersion.MINIMUM_SUPPORTED or lowest <= version
    below = highest == ssl.TLSVersion.MAXIMUM_SUPPORTED or highest >= version
    return above and below and not context.options & switch
