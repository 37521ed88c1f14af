//! TLS.

use super::{DefaultValue, Kind, Section, Setting, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Tls, kind, help)
}

/// What means nothing where the server speaks plain HTTP.
pub(crate) const NEED_CERTIFICATE: &[&str] =
    &["ca_certs", "cert_reqs", "ciphers", "suppress_ragged_eofs", "do_handshake_on_connect", "ssl_context"];

pub(super) const SETTINGS: &[Setting] = &[
    setting("keyfile", Kind::Text, "Private key, as PEM; not set: it is in certfile.")
        .flags(&["--keyfile"])
        .metavar("FILE")
        .example("/tls/tls.key")
        .details(
            "RSA of 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519, without a passphrase. It is read before \
             the user is dropped; to follow later changes, workers must be able to read it.",
        ),
    setting("certfile", Kind::Text, "Certificate and those of its issuers, as PEM: the server speaks HTTPS.")
        .flags(&["--certfile"])
        .metavar("FILE")
        .example("/tls/tls.crt")
        .details(
            "The server's own comes first. TLS 1.2 and 1.3 are spoken, on all listeners. A changed file is in use \
             for new connections within a second or two, without a reload (on tornado and third-party classes with \
             a reload).",
        ),
    setting("ca_certs", Kind::Text, "Certificates of those who issue certificates for clients, as PEM.")
        .flags(&["--ca-certs"])
        .metavar("FILE"),
    setting(
        "cert_reqs",
        Kind::Int { min: 0, max: 2, prefixed: false },
        "Whether clients need a certificate: 0 no, 1 if they have one it must be valid, 2 yes.",
    )
    .flags(&["--cert-reqs"])
    .metavar("N")
    .default(DefaultValue::Int(0))
    .details(
        "1 and 2 need ca_certs. The certificate is in the extension tls of ASGI scopes, and in \
         environ[\"gunicorn.socket\"].getpeercert().",
    ),
    setting("ciphers", Kind::Text, "Cipher suites of TLS 1.2, as OpenSSL's cipher string.")
        .flags(&["--ciphers"])
        .metavar("NAMES")
        .details(
            "Of those that OpenSSL makes of it the engine has the ones with ECDHE and AES-GCM or ChaCha20. If none is \
             left, TLS is by Python's ssl, which is slower, and has them all. Those of TLS 1.3 are always there.",
        ),
    setting("ssl_version", Kind::Any, "Protocol version; Gunicorn ignores it, too.")
        .flags(&["--ssl-version"])
        .default(DefaultValue::Int(2))
        .no_effect("Gunicorn ignores it, too"),
    setting("suppress_ragged_eofs", Kind::Flag, "An end without close_notify counts as an end.")
        .flags(&["--suppress-ragged-eofs"])
        .default(DefaultValue::Flag(true))
        .details("Off: it is an error, and what was being sent is not answered."),
    setting("do_handshake_on_connect", Kind::Flag, "Do the handshake while accepting; for third-party classes.")
        .flags(&["--do-handshake-on-connect"])
        .details("The other types do it as its bytes come, whatever this says, so that no client holds a worker."),
];
