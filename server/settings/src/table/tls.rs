//! TLS: known, not built yet.

use super::{DefaultValue, Kind, Section, Setting, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Tls, kind, help)
}

const INSTEAD: &str = "terminate TLS in front of the pod (ingress, load balancer or mesh)";
const WITHOUT: &str = "it has no effect without certfile and keyfile, which this version does not have";

pub(super) const SETTINGS: &[Setting] = &[
    setting("keyfile", Kind::Text, "Private key.").flags(&["--keyfile"]).metavar("FILE").unsupported(INSTEAD),
    setting("certfile", Kind::Text, "Certificate.")
        .flags(&["--certfile"])
        .metavar("FILE")
        .unsupported(INSTEAD),
    setting("ca_certs", Kind::Text, "Certificates of the authorities of clients.")
        .flags(&["--ca-certs"])
        .metavar("FILE")
        .no_effect(WITHOUT),
    setting(
        "cert_reqs",
        Kind::Int { min: 0, max: 2, prefixed: false },
        "Whether clients need a certificate: 0 no, 1 if they have one, 2 yes.",
    )
    .flags(&["--cert-reqs"])
    .default(DefaultValue::Int(0))
    .no_effect(WITHOUT),
    setting("ciphers", Kind::Text, "Cipher suites.").flags(&["--ciphers"]).no_effect(WITHOUT),
    setting("ssl_version", Kind::Any, "Protocol version; Gunicorn ignores it, too.")
        .flags(&["--ssl-version"])
        .default(DefaultValue::Int(2))
        .no_effect("Gunicorn ignores it, too"),
    setting("suppress_ragged_eofs", Kind::Flag, "Do not report connections that end without close_notify.")
        .flags(&["--suppress-ragged-eofs"])
        .default(DefaultValue::Flag(true))
        .no_effect(WITHOUT),
    setting("do_handshake_on_connect", Kind::Flag, "Do the handshake while accepting.")
        .flags(&["--do-handshake-on-connect"])
        .no_effect(WITHOUT),
];
