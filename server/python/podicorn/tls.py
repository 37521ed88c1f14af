"""TLS as the settings want it: for the engine, and for the types whose sockets are Python's."""

from __future__ import annotations

from podicorn.failure import Failure, first_line, traceback_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    from podicorn.settings import Settings


def engine_context(cfg: Settings) -> tuple[Any, str | None]:
    """What the engine's connections speak, and why that is Python's ssl; None, None: plain HTTP. Raises Failure."""
    if not cfg.is_ssl:
        return None, None
    certfile, context = certificate_file(cfg), None
    wanted: dict[str, Any] = {
        "keyfile": cfg.keyfile,
        "ca_certs": cfg.ca_certs,
        "verify": int(cfg.cert_reqs or 0),
        "ciphers": _resolved(cfg.ciphers) if cfg.ciphers else None,
    }
    if callable(cfg.ssl_context):
        # Imported where it is used: ssl is large, and rustls does without it.
        from podicorn import tls_recorder

        context = called(cfg, lambda: tls_recorder.default(cfg))
        why = tls_recorder.beyond_rustls(context)
        if why is not None:
            return _by_python(cfg, context), f"hook ssl_context {why}"
        certfile, wanted = tls_recorder.recorded(context)
    # The fork server says what is wrong where it cannot be imported, so nothing may import it before.
    from podicorn import _engine

    wanted |= {"protocols": protocols(cfg), "strict_ends": not cfg.suppress_ragged_eofs}
    try:
        return _engine.TlsContext(certfile, **wanted), None
    except _engine.NotInRustls as error:
        return _by_python(cfg, context), str(error.args[1])
    except ValueError as error:
        raise Failure.config(str(error)) from error


def _by_python(cfg: Settings, context: ssl.SSLContext | None) -> Any:
    """For the engine: the hook's context, or one that is made here, and made anew where its files have changed."""
    from podicorn import _engine, tls_python

    def made() -> ssl.SSLContext:
        fault = _fault(cfg)
        if fault is not None and not isinstance(fault, _engine.NotInRustls):
            raise Failure.config(str(fault))
        try:
            return tls_python.made(cfg)
        except (OSError, ValueError) as error:
            raise _clear(cfg, error) from error

    if context is not None:
        return tls_python.engine_context(cfg, context, None)
    return tls_python.engine_context(cfg, made(), made)


def python_context(cfg: Settings) -> ssl.SSLContext | None:
    """A context as Gunicorn makes it, of the hook `ssl_context` if there is one; None: plain HTTP. Raises Failure."""
    if not cfg.is_ssl:
        return None
    import ssl

    certfile = certificate_file(cfg)

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
        raise _clear(cfg, error) from error


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


def protocols(cfg: Settings) -> list[str]:
    """What ALPN offers, the best first. Who does not ask for h2 is served HTTP/1.1 in any case, as by Gunicorn."""
    two = "h2" in (cfg.http_protocols or ()) and cfg.worker_type in ("gthread", "gevent", "eventlet", "asgi")
    offered = ["h2", "http/1.1"] if two else ["http/1.1"]
    if cfg.http_protocols and cfg.http_protocols[0] == "h1":
        offered.reverse()
    return offered


def certificate_file(cfg: Settings) -> str:
    """The setting `certfile`. Raises Failure where there is none."""
    if not cfg.certfile:
        raise Failure.config(
            f"keyfile {cfg.keyfile!r} is set without certfile; name the file of the certificate by certfile, "
            "which may hold both"
        )
    return str(cfg.certfile)


def _fault(cfg: Settings) -> ValueError | None:
    """What the engine finds wrong in the files of the settings."""
    from podicorn import _engine

    verify = int(cfg.cert_reqs or 0)
    try:
        _engine.TlsContext(certificate_file(cfg), keyfile=cfg.keyfile, ca_certs=cfg.ca_certs, verify=verify)
    except ValueError as fault:
        return fault
    return None


def _clear(cfg: Settings, error: Exception) -> Failure:
    """In the engine's words, which are clearer than OpenSSL's, where it finds a fault in the same files."""
    fault = _fault(cfg)
    if fault is not None:
        return Failure.config(str(fault.args[0]))
    return Failure.config(
        f"certfile {certificate_file(cfg)!r} and what belongs to it cannot be used: {first_line(error)}"
    )


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
