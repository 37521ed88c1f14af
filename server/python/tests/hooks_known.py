"""Names of settings that the arbiter sends as known, as far as tests use them."""

from podicorn.hooks import SIGNATURES

KNOWN = (
    *SIGNATURES,
    "bind",
    "workers",
    "worker_class",
    "raw_env",
    "pidfile",
    "secure_scheme_headers",
    "timeout",
    "logconfig_dict",
    "chdir",
    "wsgi_app",
)
