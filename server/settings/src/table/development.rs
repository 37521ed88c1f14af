//! Aids for development.

use super::{DefaultValue, Kind, Section, Setting, Takes, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Development, kind, help)
}

pub(super) const SETTINGS: &[Setting] = &[
    setting("reload", Kind::Flag, "Load new code when files of the app change; for development only.")
        .flags(&["--reload"])
        .details(
            "Each worker watches the files of the modules that it has loaded, the config file among them. A change is a reload \
             as by HUP: the workers are replaced when the new code serves. An app whose code raises while it is loaded is \
             replaced by its traceback, for everybody who asks, until the next change (not with worker classes of others).",
        ),
    setting("reload_engine", Kind::Choice(&["auto", "poll", "inotify"]), "How changes are noticed.")
        .flags(&["--reload-engine"])
        .metavar("auto|poll|inotify")
        .default(DefaultValue::Text("auto"))
        .details(
            "`poll` looks once a second; `inotify` needs the Python package inotify, and `auto` takes it where it is \
             installed.",
        ),
    setting("reload_extra_files", Kind::TextList, "Another file to watch, or a pattern such as templates/**/*.html. Repeatable.")
        .flags(&["--reload-extra-file"])
        .takes(Takes::Values)
        .metavar("FILE")
        .default(DefaultValue::List(&[]))
        .example("templates/*.html")
        .details("Relative to the directory that the server is started in. Patterns are looked up anew at each look."),
    setting("spew", Kind::Flag, "Print every line that workers execute, on stdout; very slow.").flags(&["--spew"]),
];
