//! The admin API, and Gunicorn's control socket, which it replaces.

use super::{DefaultValue, Kind, Section, Setting, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Admin, kind, help)
}

const INSTEAD: &str = "the admin API replaces Gunicorn's control socket (--admin-bind)";

pub(super) const SETTINGS: &[Setting] = &[
    setting("admin_bind", Kind::BindOrOff(9099), "Serve probes, metrics and control here: HOST:PORT, [IPV6]:PORT, unix:PATH, or off.")
        .flags(&["--admin-bind"])
        .metavar("ADDRESS|off")
        .default(DefaultValue::Null)
        .default_variable("KUBERNETES_SERVICE_HOST")
        .ours()
        .example("127.0.0.1:9099")
        .details(
            "In a pod (`KUBERNETES_SERVICE_HOST` is set) the default is `[::]:9099`, elsewhere the admin API is off. No \
             port means 9099. Bound to loopback without a token every route is open; bound elsewhere without one only \
             health and metrics are served.",
        ),
    setting("admin_token_file", Kind::Text, "File with the bearer token for whatever changes or reveals state.")
        .flags(&["--admin-token-file"])
        .metavar("FILE")
        .ours()
        .example("/var/run/secrets/podicorn/token")
        .details("Read again when it changes, so that Secrets rotate."),
    setting("app_metrics", Kind::Flag, "Show what the app counts with prometheus_client in /metrics.")
        .flags(&["--app-metrics"])
        .ours()
        .details(
            "The library's multiprocess mode is set up for the app, in a directory in memory (`/dev/shm`) that the server \
             owns and removes; without this setting the server writes nothing anywhere. Nothing is done where the app's environment has `PROMETHEUS_MULTIPROC_DIR` already, or without an \
             admin API.",
        ),
    setting("control_socket", Kind::Text, "Path of Gunicorn's control socket.")
        .flags(&["--control-socket"])
        .metavar("PATH")
        .default(DefaultValue::Computed("none"))
        .no_effect(INSTEAD),
    setting("control_socket_mode", Kind::Int { min: 0, max: u32::MAX as i64, prefixed: true }, "File mode of Gunicorn's control socket.")
        .flags(&["--control-socket-mode"])
        .metavar("MODE")
        .default(DefaultValue::Int(0o600))
        .no_effect(INSTEAD),
    setting("control_socket_disable", Kind::Flag, "Open no control socket of Gunicorn's.")
        .flags(&["--no-control-socket"])
        .no_effect("there is no control socket; the admin API is switched off by --admin-bind off"),
];
