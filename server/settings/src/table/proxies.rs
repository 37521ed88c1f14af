//! Which proxies are believed, and what.

use super::{DefaultValue, Kind, Section, Setting, Takes, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Proxies, kind, help)
}

pub(super) const SETTINGS: &[Setting] = &[
    setting("forwarded_allow_ips", Kind::Networks, "Proxies whose scheme and forwarder headers are believed: addresses and networks, comma-separated; * for all.")
        .flags(&["--forwarded-allow-ips"])
        .metavar("NETWORKS")
        .default(DefaultValue::List(&["127.0.0.1", "::1"]))
        .default_variable("FORWARDED_ALLOW_IPS")
        .example("10.0.0.0/8,127.0.0.1")
        .details("Clients on unix sockets are always believed. With `FORWARDED_ALLOW_IPS` in the environment that is the default."),
    setting("secure_scheme_headers", Kind::Headers, "Headers by which such a proxy says https, with the value that says it.")
        .default(DefaultValue::Dict(&[
            ("X-FORWARDED-PROTOCOL", "ssl"),
            ("X-FORWARDED-PROTO", "https"),
            ("X-FORWARDED-SSL", "on"),
        ]))
        .details("Upper-case names. A request in which these headers contradict each other is answered 400."),
    setting("forwarder_headers", Kind::CommaList, "Headers that such a proxy may set although their names have underscores, comma-separated.")
        .flags(&["--forwarder-headers"])
        .metavar("HEADERS")
        .default(DefaultValue::List(&["SCRIPT_NAME", "PATH_INFO"]))
        .example("SCRIPT_NAME,REMOTE_USER"),
    setting("header_map", Kind::Choice(&["drop", "refuse", "dangerous"]), "Headers with underscores in their names: drop them, refuse the request, or pass them (dangerous).")
        .flags(&["--header-map"])
        .metavar("drop|refuse|dangerous")
        .default(DefaultValue::Text("drop"))
        .details("In environ `X_User` and `X-User` are one name, so that passing both lets a client imitate a proxy."),
    setting("proxy_protocol", Kind::ProxyProtocol, "Take the client's address from the PROXY protocol: off, v1, v2 or auto (both).")
        .flags(&["--proxy-protocol"])
        .metavar("off|v1|v2|auto")
        .takes(Takes::Optional("auto"))
        .default(DefaultValue::Text("off"))
        .example("v2")
        .details(
            "For load balancers that pass TCP on and put a header before the first request of a connection (HAProxy's \
             proxy-protocol.txt). From then on the client is `REMOTE_ADDR` and `REMOTE_PORT` (ASGI: `client`), and environ \
             has `PROXY_PROTOCOL`, `PROXY_ADDR` and `PROXY_PORT`. A header is optional: a connection without one is an \
             ordinary one. One from somebody else than `proxy_allow_ips` is answered 403, a malformed one 400. Not on \
             tornado.",
        ),
    setting("proxy_allow_ips", Kind::Networks, "Who may speak the PROXY protocol: addresses and networks, comma-separated; * for all.")
        .flags(&["--proxy-allow-from"])
        .metavar("NETWORKS")
        .default(DefaultValue::List(&["127.0.0.1", "::1"]))
        .example("10.0.0.0/8"),
];
