//! HTTP/2: known, not built yet.

use super::{COUNT, DefaultValue, Kind, Section, Setting, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Http2, kind, help)
}

const WITHOUT: &str = "it has no effect without h2 in http_protocols, which this version does not have";

pub(super) const SETTINGS: &[Setting] = &[
    setting("http_protocols", Kind::HttpProtocols, "Protocols: h1, h2.")
        .flags(&["--http-protocols"])
        .default(DefaultValue::List(&["h1"]))
        .unsupported("speak HTTP/2 in front of the pod; proxies forward it as HTTP/1.1"),
    setting("http2_cleartext", Kind::Cleartext, "HTTP/2 without TLS.")
        .flags(&["--http2-cleartext"])
        .default(DefaultValue::Text("off"))
        .no_effect(WITHOUT),
    setting(
        "http2_max_concurrent_streams",
        Kind::Int { min: 1, max: u32::MAX as i64, prefixed: false },
        "Streams per connection.",
    )
    .flags(&["--http2-max-concurrent-streams"])
    .metavar("N")
    .default(DefaultValue::Int(100))
    .no_effect(WITHOUT),
    setting(
        "http2_initial_window_size",
        Kind::Int { min: 0, max: i32::MAX as i64, prefixed: false },
        "Flow control window.",
    )
    .flags(&["--http2-initial-window-size"])
    .metavar("BYTES")
    .unit("bytes")
    .default(DefaultValue::Int(65535))
    .no_effect(WITHOUT),
    setting(
        "http2_max_frame_size",
        Kind::Int { min: 16384, max: 16_777_215, prefixed: false },
        "Largest frame.",
    )
    .flags(&["--http2-max-frame-size"])
    .metavar("BYTES")
    .unit("bytes")
    .default(DefaultValue::Int(16384))
    .no_effect(WITHOUT),
    setting("http2_max_header_list_size", COUNT, "Largest list of headers.")
        .flags(&["--http2-max-header-list-size"])
        .metavar("BYTES")
        .unit("bytes")
        .default(DefaultValue::Int(65536))
        .no_effect(WITHOUT),
];
