//! Aids for development: known, not built yet.

use super::{DefaultValue, Kind, Section, Setting, Takes, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Development, kind, help)
}

const WITHOUT: &str = "it has no effect without reload, which this version does not have";

pub(super) const SETTINGS: &[Setting] = &[
    setting("reload", Kind::Flag, "Restart the workers when code changes.")
        .flags(&["--reload"])
        .unsupported("send HUP to load new code"),
    setting("reload_engine", Kind::Choice(&["auto", "poll", "inotify"]), "How changes are noticed.")
        .flags(&["--reload-engine"])
        .default(DefaultValue::Text("auto"))
        .no_effect(WITHOUT),
    setting("reload_extra_files", Kind::TextList, "Other files to watch.")
        .flags(&["--reload-extra-file"])
        .takes(Takes::Values)
        .default(DefaultValue::List(&[]))
        .no_effect(WITHOUT),
    setting("spew", Kind::Flag, "Print every line that is executed.")
        .flags(&["--spew"])
        .unsupported("run the app under `python -m trace`, or ask a running worker for its stacks"),
];
