//! What Podicorn leaves out on purpose. Each row says what to use instead.

use super::{COUNT, DefaultValue, Kind, Section, Setting, Takes, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Replaced, kind, help)
}

const DIRTY: &str = "run long tasks in a task queue (Celery, Dramatiq, …) or a service of their own";
const WITHOUT_DIRTY: &str =
    "it has no effect without dirty_apps and dirty_workers, which Podicorn does not have";

pub(super) const SETTINGS: &[Setting] = &[
    setting("dirty_apps", Kind::TextList, "Apps of dirty arbiters.")
        .flags(&["--dirty-app"])
        .takes(Takes::Values)
        .default(DefaultValue::List(&[]))
        .unsupported(DIRTY),
    setting("dirty_workers", COUNT, "Workers of dirty arbiters.")
        .flags(&["--dirty-workers"])
        .default(DefaultValue::Int(0))
        .unsupported(DIRTY),
    setting("dirty_timeout", COUNT, "Timeout of dirty workers.")
        .flags(&["--dirty-timeout"])
        .default(DefaultValue::Int(300))
        .unit("seconds")
        .no_effect(WITHOUT_DIRTY),
    setting("dirty_threads", COUNT, "Threads of dirty workers.")
        .flags(&["--dirty-threads"])
        .default(DefaultValue::Int(1))
        .no_effect(WITHOUT_DIRTY),
    setting("dirty_graceful_timeout", COUNT, "Graceful timeout of dirty workers.")
        .flags(&["--dirty-graceful-timeout"])
        .default(DefaultValue::Int(30))
        .unit("seconds")
        .no_effect(WITHOUT_DIRTY),
    setting("paste", Kind::Text, "PasteDeploy config file.")
        .flags(&["--paste", "--paster"])
        .metavar("FILE")
        .unsupported(
            "write a module that calls paste.deploy.loadapp and serve that: `podicorn mymodule:app`",
        ),
    setting("raw_paste_global_conf", Kind::TextList, "Global variables of PasteDeploy.")
        .flags(&["--paste-global"])
        .takes(Takes::Values)
        .default(DefaultValue::List(&[]))
        .no_effect("it has no effect without paste, which Podicorn does not have"),
    setting("protocol", Kind::Text, "Wire protocol.")
        .flags(&["--protocol"])
        .default(DefaultValue::Text("http"))
        .unsupported("speak HTTP; in nginx use proxy_pass in place of uwsgi_pass"),
    setting("uwsgi_allow_ips", Kind::Networks, "Who may speak the uwsgi protocol.")
        .flags(&["--uwsgi-allow-from"])
        .default(DefaultValue::List(&["127.0.0.1", "::1"]))
        .no_effect("it has no effect without the uwsgi protocol, which Podicorn does not have"),
];
