//! What requests may look like.

use super::{COUNT, DefaultValue, Kind, Section, Setting, Takes, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Http, kind, help)
}

const DANGER: &str =
    "Departs from RFC 9112 and opens ways to smuggle requests past proxies; for diagnosis only.";

pub(super) const SETTINGS: &[Setting] = &[
    setting("limit_request_line", COUNT, "Longest request line; 0: no limit, more than 8190 means 8190.")
        .flags(&["--limit-request-line"])
        .metavar("BYTES")
        .default(DefaultValue::Int(4094))
        .unit("bytes")
        .details("Longer ones are answered 414."),
    setting("limit_request_fields", COUNT, "Most header fields in a request; 0 or more than 32768 means 32768.")
        .flags(&["--limit-request-fields"])
        .metavar("N")
        .default(DefaultValue::Int(100))
        .unit("fields")
        .details("More are answered 431."),
    setting("limit_request_field_size", COUNT, "Longest header field; 0 means 8190.")
        .flags(&["--limit-request-field_size", "--limit-request-field-size"])
        .metavar("BYTES")
        .default(DefaultValue::Int(8190))
        .unit("bytes")
        .details("Longer ones are answered 431."),
    setting("limit_request_body", Kind::Size, "Largest request body; suffixes k, m, g; 0: no limit.")
        .flags(&["--limit-request-body"])
        .metavar("BYTES")
        .default(DefaultValue::Int(0))
        .unit("bytes")
        .ours()
        .example("100m")
        .details("Larger ones are answered 413, before the app is called where the length is told in advance."),
    setting("body_buffer", Kind::Size, "Bytes of a request body read before a worker is taken; suffixes k, m, g.")
        .flags(&["--body-buffer"])
        .metavar("BYTES")
        .default(DefaultValue::Int(1024 * 1024))
        .unit("bytes")
        .ours()
        .example("512k")
        .details("A slow upload up to this size costs no worker. What is longer streams to the app. k, m and g are powers of 1024."),
    setting("body_budget", Kind::Size, "Bytes of unfinished requests that one worker holds; suffixes k, m, g.")
        .flags(&["--body-budget"])
        .metavar("BYTES")
        .default(DefaultValue::Int(32 * 1024 * 1024))
        .unit("bytes")
        .ours()
        .example("64m")
        .details(
            "All requests together that wait to be complete. Beyond it the worker stops reading those that hold more than \
             16 KiB, until others are done: the clients wait.",
        ),
    setting("min_body_rate", COUNT, "Slowest request body and slowest reader of a response, over a stall_timeout.")
        .flags(&["--min-body-rate"])
        .metavar("BYTES")
        .default(DefaultValue::Int(240))
        .unit("bytes per second")
        .ours()
        .details("A client that is slower is given up; see `stall_timeout`. 0: a byte per period is enough."),
    setting("sendfile", Kind::Flag, "Do not use sendfile() for wsgi.file_wrapper.")
        .flags(&["--no-sendfile"])
        .takes(Takes::False)
        .default(DefaultValue::Null)
        .default_variable("SENDFILE")
        .details("Not set: the environment variable `SENDFILE` (1, y, yes or true) decides, and without it sendfile is used."),
    setting("permit_obsolete_folding", Kind::Flag, "Accept header fields folded over several lines.")
        .flags(&["--permit-obsolete-folding"])
        .details(DANGER),
    setting("strip_header_spaces", Kind::Flag, "Accept spaces between a header's name and its colon.")
        .flags(&["--strip-header-spaces"])
        .details(DANGER),
    setting("permit_unconventional_http_method", Kind::Flag, "Accept methods in lower case, with #, or shorter than 3 or longer than 20 letters.")
        .flags(&["--permit-unconventional-http-method"]),
    setting("permit_unconventional_http_version", Kind::Flag, "Accept HTTP versions 1.x other than 1.0 and 1.1.")
        .flags(&["--permit-unconventional-http-version"]),
    setting("casefold_http_method", Kind::Flag, "Turn methods into upper case.").flags(&["--casefold-http-method"]),
    setting("root_path", Kind::Text, "Mount point of an ASGI app.")
        .flags(&["--root-path"])
        .metavar("PATH")
        .default(DefaultValue::Text(""))
        .example("/api")
        .details(
            "What the asgi worker says as `root_path`. The app's `path` begins with it, as the specification has it, whether \
             the proxy has taken it from the request or not. For WSGI set the environment variable `SCRIPT_NAME`.",
        ),
    setting("http_parser", Kind::Choice(&["auto", "fast", "python"]), "Gunicorn's HTTP parser.")
        .flags(&["--http-parser"])
        .default(DefaultValue::Text("auto"))
        .no_effect("there is one parser, in Rust"),
    setting("tmp_upload_dir", Kind::Text, "Directory for request bodies on disk.")
        .metavar("DIR")
        .no_effect("bodies are buffered in memory up to body_buffer and streamed above it, never written to disk; Gunicorn 27 does not use it either"),
];
