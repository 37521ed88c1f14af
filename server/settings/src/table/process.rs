//! Who the processes are to the system.

use super::{DefaultValue, Kind, Section, Setting, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Process, kind, help)
}

pub(super) const SETTINGS: &[Setting] = &[
    setting("user", Kind::User, "Run the workers as this user: a name or number.")
        .flags(&["-u", "--user"])
        .metavar("USER")
        .default(DefaultValue::Computed("the server's own"))
        .example("www-data"),
    setting("group", Kind::Group, "Run the workers as this group: a name or number.")
        .flags(&["-g", "--group"])
        .metavar("GROUP")
        .default(DefaultValue::Computed("the server's own"))
        .example("www-data"),
    setting("initgroups", Kind::Flag, "Give the workers all groups of their user.").flags(&["--initgroups"]),
    setting(
        "umask",
        Kind::Int { min: 0, max: u32::MAX as i64, prefixed: true },
        "File mode bits that the unix sockets of bind lack; 022 is octal.",
    )
    .flags(&["-m", "--umask"])
    .metavar("MODE")
    .default(DefaultValue::Int(0))
    .example("022"),
    setting("pidfile", Kind::Text, "Write the server's process id to this file.")
        .flags(&["-p", "--pid"])
        .metavar("FILE"),
    setting("proc_name", Kind::Text, "Name of the processes in ps and top.")
        .flags(&["-n", "--name"])
        .metavar("NAME")
        .details("Not set: the app's name."),
    setting("default_proc_name", Kind::TextOrDefault, "The name where proc_name is not set.")
        .default(DefaultValue::Text("gunicorn")),
    setting("worker_tmp_dir", Kind::Text, "Directory of Gunicorn's heartbeat files.")
        .flags(&["--worker-tmp-dir"])
        .metavar("DIR")
        .no_effect("heartbeats are in shared memory; nothing is written to disk"),
    setting("daemon", Kind::Flag, "Go into the background.")
        .flags(&["-D", "--daemon"])
        .unsupported("stay in the foreground, where a container runtime or systemd expects the server"),
];
