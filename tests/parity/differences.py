"""Where Podicorn's verdict is not Gunicorn's: on purpose, or because a feature is not there yet.

Both tables are tested: a row that is no longer true fails.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """What each of the two does, as ``verdict.contrast`` words it, and why Podicorn does otherwise."""

    gunicorn: str
    podicorn: str
    reason: str


HOST = "A request of HTTP/1.1 must name its Host (RFC 9112 §3.2). Gunicorn does not ask for it."
LENGTH = (
    "A body that ends before its Content-Length is incomplete (RFC 9112 §6.3, §8), and the app must not take it for "
    "the whole. Gunicorn calls the app with what has come."
)
AUTHORITY = (
    "The target of a CONNECT is a host and a port and has no path. Gunicorn splits it like a URL, so that what is "
    "left as the path depends on what the host looks like."
)
HTTPS = (
    "A trusted proxy may say by the target itself that its client came over TLS (RFC 9110 §7.4). Gunicorn looks at "
    "secure_scheme_headers only."
)

PROXY = (
    "What a proxy says of its client holds for the connection (proxy-protocol.txt, section 2). Gunicorn's gthread "
    "forgets it after the first request."
)

#: By the name of the case.
DIFFERENCES = {
    **dict.fromkeys(
        (
            "valid/004",
            "valid/005",
            "valid/006",
            "valid/007",
            "valid/010",
            "valid/011",
            "valid/012",
            "valid/013",
            "valid/014",
            "valid/021",
            "valid/025",
            "valid/025_line",
            "valid/028",
            "valid/029",
            "valid/030",
            "valid/031",
            "valid/031compat",
            "valid/031compat2",
            "valid/100",
            "valid/compat_obs_fold_huge",
        ),
        Difference("200", "400", HOST),
    ),
    **dict.fromkeys(("valid/018", "valid/023", "valid/pp_02"), Difference("200, 200", "400", HOST)),
    "valid/022": Difference("200, 200", "200, 400", HOST),
    "valid/pp_02 with Host": Difference("REMOTE_ADDR '127.0.0.1'", "REMOTE_ADDR '192.168.0.1'", PROXY),
    "valid/099": Difference("200", "400", LENGTH),
    "valid/rfc9112_target_absolute_https_01": Difference("wsgi.url_scheme 'http'", "wsgi.url_scheme 'https'", HTTPS),
    "valid/rfc9112_target_authority_connect_01": Difference("PATH_INFO '443'", "PATH_INFO ''", AUTHORITY),
    "valid/rfc9112_target_authority_ipv6_01": Difference("PATH_INFO '[::1]:443'", "PATH_INFO ''", AUTHORITY),
}

#: By the setting that a case names and that Podicorn refuses to start with.
NOT_YET: dict[str, str] = {}
