//! HTTP/2.

use super::{COUNT, DefaultValue, Kind, Section, Setting, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Http2, kind, help)
}

pub(super) const SETTINGS: &[Setting] = &[
    setting("http_protocols", Kind::HttpProtocols, "What is spoken: h1, h2, or both, the preferred one first.")
        .flags(&["--http-protocols"])
        .metavar("NAMES")
        .default(DefaultValue::List(&["h1"]))
        .example("h2,h1")
        .details(
            "h2 is HTTP/2 (RFC 9113): over TLS by ALPN, without TLS by http2_cleartext, on gthread, gevent, eventlet \
             and asgi. HTTP/1.1 is always there for clients that do not ask for more.",
        ),
    setting("http2_cleartext", Kind::Cleartext, "HTTP/2 without TLS, from proxies in forwarded_allow_ips.")
        .flags(&["--http2-cleartext"])
        .metavar("HOW")
        .default(DefaultValue::Text("off"))
        .details(
            "off; prior-knowledge: a trusted proxy must begin with HTTP/2's preface, and gets 400 otherwise; upgrade: it \
             may ask for h2c by HTTP/1.1's Upgrade; both: either. Others are served HTTP/1.1. It needs h2 in \
             http_protocols; with TLS it means nothing.",
        ),
    setting(
        "http2_max_concurrent_streams",
        Kind::Int { min: 1, max: u32::MAX as i64, prefixed: false },
        "Requests that a connection may have at a time.",
    )
    .flags(&["--http2-max-concurrent-streams"])
    .metavar("N")
    .default(DefaultValue::Int(100))
    .details("worker_connections bounds the requests of all connections together."),
    setting(
        "http2_initial_window_size",
        Kind::Int { min: 0, max: i32::MAX as i64, prefixed: false },
        "Bytes of a request body that a client may send ahead.",
    )
    .flags(&["--http2-initial-window-size"])
    .metavar("BYTES")
    .unit("bytes")
    .default(DefaultValue::Int(65535)),
    setting(
        "http2_max_frame_size",
        Kind::Int { min: 16384, max: 16_777_215, prefixed: false },
        "Largest frame that a client may send.",
    )
    .flags(&["--http2-max-frame-size"])
    .metavar("BYTES")
    .unit("bytes")
    .default(DefaultValue::Int(16384)),
    setting("http2_max_header_list_size", COUNT, "Bytes of all header fields of a request; 0: no limit.")
        .flags(&["--http2-max-header-list-size"])
        .metavar("BYTES")
        .unit("bytes")
        .default(DefaultValue::Int(65536))
        .details("limit_request_field_size and limit_request_fields hold as well."),
];
