"""The hook `ssl_context` on the engine types: what it does to a context of Python's is carried over to the engine.

The engine speaks TLS by rustls, so the context itself serves nobody. It notes the files that it was given; the rest can
be read from it. What the engine has nothing for is refused.
"""

from __future__ import annotations

import os
import ssl

from podicorn.failure import Failure
from podicorn.tls import called

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from podicorn.settings import Settings

_INSTEAD = "use the tornado worker type, which has Python's ssl itself, or terminate TLS in front of the pod"


class Recorder(ssl.SSLContext):
    """A context that knows its files."""

    #: Certificate file, key file, and whether there was a passphrase.
    chains: list[tuple[str, str | None, bool]]
    has_directory: bool

    def load_cert_chain(self, certfile: Any, keyfile: Any = None, password: Any = None) -> None:
        """As in `ssl.SSLContext`."""
        super().load_cert_chain(certfile, keyfile, password)
        key = None if keyfile is None else os.fsdecode(keyfile)
        self.chains.append((os.fsdecode(certfile), key, password is not None))

    def load_verify_locations(self, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        """As in `ssl.SSLContext`."""
        super().load_verify_locations(cafile, capath, cadata)
        self.has_directory |= capath is not None


def recorded(cfg: Settings) -> tuple[str, dict[str, Any]]:
    """Calls the hook; the certificate file, and the other arguments of the engine's context. Raises Failure."""

    def default() -> Recorder:
        context = Recorder(ssl.PROTOCOL_TLS_SERVER)
        context.chains = []
        context.has_directory = False
        if cfg.ca_certs:
            context.load_verify_locations(cfg.ca_certs)
        context.load_cert_chain(certfile=cfg.certfile, keyfile=cfg.keyfile)
        context.verify_mode = ssl.VerifyMode(int(cfg.cert_reqs or 0))
        if cfg.ciphers:
            context.set_ciphers(cfg.ciphers)
        return context

    context = called(cfg, default)
    if not isinstance(context, Recorder):
        raise Failure.config(
            "hook ssl_context gave a context of its own, which the engine cannot look into: change and return the one "
            f"that default_ssl_context_factory() makes, or {_INSTEAD}"
        )
    _refuse(context)
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


def _refuse(context: Recorder) -> None:
    what = None
    if any(encrypted for _, _, encrypted in context.chains):
        what = "loads a key with a passphrase; decrypt it with `openssl pkey`, or"
    elif len(context.chains) != 1 and len(set(context.chains)) != 1:
        what = "loads more than one certificate;"
    elif context.sni_callback is not None:
        what = "sets sni_callback, and the engine has one certificate for all names;"
    elif context.has_directory:
        what = "loads authorities from a directory; put them into one file, or"
    elif context.verify_flags & (ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_CRL_CHECK_CHAIN):
        what = "asks for revocation lists, which the engine does not read;"
    elif getattr(context, "keylog_filename", None):
        what = "sets keylog_filename, and the engine writes no keys;"
    if what is not None:
        raise Failure.config(f"hook ssl_context {what} {_INSTEAD}")
