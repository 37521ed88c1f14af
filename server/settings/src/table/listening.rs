//! The sockets that clients connect to.

use super::{DefaultValue, Kind, Section, Setting, Takes, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Listening, kind, help)
}

pub(super) const SETTINGS: &[Setting] = &[
    setting(
        "bind",
        Kind::Binds,
        "Listen here: HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH or fd://FD. Repeatable.",
    )
    .flags(&["-b", "--bind"])
    .takes(Takes::Values)
    .metavar("ADDRESS")
    .default(DefaultValue::List(&["127.0.0.1:8000"]))
    .default_variable("PORT")
    .example("0.0.0.0:8000")
    .details(
        "No host means every IPv4 address; no port means 8000. With `PORT` in the environment the default is \
             `0.0.0.0:$PORT`. A config file may give one text, comma-separated or not, or a list.",
    ),
    setting(
        "backlog",
        Kind::Int { min: 0, max: i32::MAX as i64, prefixed: false },
        "Connections that may wait in the kernel to be accepted.",
    )
    .flags(&["--backlog"])
    .metavar("N")
    .default(DefaultValue::Int(2048))
    .unit("connections")
    .details("For each address. The kernel caps it at `net.core.somaxconn`."),
    setting(
        "reuse_port",
        Kind::Flag,
        "Set SO_REUSEPORT, so that another server can listen on the same port.",
    )
    .flags(&["--reuse-port"]),
];
