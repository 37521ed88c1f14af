"""Config files with the hook ``ssl_context``."""

#: A hook that makes its context by itself, with room for a line of its own.
OWN = (
    "context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)\n"
    "    context.load_cert_chain(conf.certfile, conf.keyfile)\n"
    "    {}\n"
    "    return context"
)
MADE_BY_ITSELF = OWN.format("")


def config_of(body: str = MADE_BY_ITSELF, more: str = "") -> str:
    """The file's text: the hook does ``body``, and ``more`` stands before it."""
    return f"import ssl\n{more}\ndef ssl_context(conf, default_ssl_context_factory):\n    {body}\n"
