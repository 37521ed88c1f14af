"""TLS as the settings want it: for the engine, and for the types whose sockets are Python's."""

from __future__ import annotations

from podicorn.failure import Failure, first_line, traceback_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    from podicorn.settings import Settings


def engine_context(cfg: Settings, *, hook: bool = True) -> Any:
    """What the engine's connections speak; None: plain HTTP. Raises Failure, in one sentence."""
    if not cfg.is_ssl:
        return None
    certfile = _certfile(cfg)
    wanted: dict[str, Any] = {
        "keyfile": cfg.keyfile,
        "ca_certs": cfg.ca_certs,
        "verify": int(cfg.cert_reqs or 0),
        "ciphers": _resolved(cfg.ciphers) if cfg.ciphers else None,
    }
    if hook and callable(cfg.ssl_context):
        # Imported where it is used: ssl is large, and rustls does without it.
        from podicorn.tls_recorder import recorded

        certfile, wanted = recorded(cfg)
    # The fork server says what is wrong where it cannot be imported, so nothing may import it before.
    from podicorn import _engine

    # Whoever does not ask for h2 is served HTTP/1.1, whatever http_protocols says, as by Gunicorn.
    protocols = ["h2", "http/1.1"] if _speaks_http2(cfg) else ["http/1.1"]
    if cfg.http_protocols and cfg.http_protocols[0] == "h1":
        protocols.reverse()
    wanted |= {"protocols": protocols, "strict_ends": not cfg.suppress_ragged_eofs}
    try:
        return _engine.TlsContext(certfile, **wanted)
    except ValueError as error:
        raise Failure.config(str(error)) from error


def python_context(cfg: Settings) -> ssl.SSLContext | None:
    """A context as Gunicorn makes it, of the hook `ssl_context` if there is one; None: plain HTTP. Raises Failure."""
    if not cfg.is_ssl:
        return None
    import ssl

    certfile = _certfile(cfg)

    def default() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cfg.ca_certs)
        context.load_cert_chain(certfile=certfile, keyfile=cfg.keyfile)
        context.verify_mode = ssl.VerifyMode(int(cfg.cert_reqs or 0))
        if cfg.ciphers:
            context.set_ciphers(cfg.ciphers)
        return context

    try:
        return called(cfg, default) if callable(cfg.ssl_context) else default()
    except (OSError, ValueError) as error:
        # The engine's words are clearer than OpenSSL's, where it finds the same fault.
        engine_context(cfg, hook=False)
        raise Failure.config(
            f"certfile {certfile!r} and what belongs to it cannot be used: {first_line(error)}"
        ) from error


def called(cfg: Settings, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """What the hook `ssl_context` gives."""
    import ssl

    try:
        context = cfg.ssl_context(cfg, default)
    except Failure:
        raise
    except Exception as error:
        raise Failure.config(f"hook ssl_context failed: {first_line(error)}", traceback_text(error)) from error
    if not isinstance(context, ssl.SSLContext):
        raise Failure.config(f"hook ssl_context gave {context!r}; it must return an ssl.SSLContext")
    return context


def _speaks_http2(cfg: Settings) -> bool:
    return "h2" in (cfg.http_protocols or ()) and cfg.worker_type in ("gthread", "gevent", "eventlet", "asgi")


def _certfile(cfg: Settings) -> str:
    if not cfg.certfile:
        raise Failure.config(
            f"keyfile {cfg.keyfile!r} is set without certfile; name the file of the certificate by certfile, "
            "which may hold both"
        )
    return str(cfg.certfile)


def _resolved(ciphers: str) -> list[str]:
    """OpenSSL knows what its cipher strings mean."""
    try:
        import ssl
    except ImportError as error:
        raise Failure.config(
            f"ciphers is read by Python's ssl, and this Python has none ({error}); leave ciphers out, "
            "or use a Python that is built with OpenSSL"
        ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError as error:
        raise Failure.config(
            f"ciphers {ciphers!r} is no cipher string that OpenSSL understands; see `openssl ciphers -v`"
        ) from error
    return [cipher["name"] for cipher in context.get_ciphers()]
