//! How long things may take.

use super::{DefaultValue, Kind, Section, Setting, WHOLE_SECONDS, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Deadlines, kind, help).metavar("SECONDS").unit("seconds")
}

pub(super) const SETTINGS: &[Setting] = &[
    setting("timeout", WHOLE_SECONDS, "Kill a worker that is silent for longer; for sync workers, the longest request. 0: never.")
        .flags(&["-t", "--timeout"])
        .default(DefaultValue::Int(30))
        .details("The Python stacks of the worker are logged first, then it gets ABRT, then KILL."),
    setting("graceful_timeout", WHOLE_SECONDS, "From TERM or reload until requests that still run are cut off.")
        .flags(&["--graceful-timeout"])
        .default(DefaultValue::Int(30))
        .details(
            "Includes `drain_delay`. Keep it below the pod's `terminationGracePeriodSeconds`; in a pod everything ends at \
             least 1 s before it.",
        ),
    setting("keepalive", WHOLE_SECONDS, "Close a connection that is idle for longer.")
        .flags(&["--keep-alive"])
        .default(DefaultValue::Int(2))
        .default_variable("KUBERNETES_SERVICE_HOST")
        .details(
            "In a pod (`KUBERNETES_SERVICE_HOST` is set) the default is 75, above the idle timeout of common load \
             balancers, which otherwise answer 502 now and then. A sync worker closes after each response, as in Gunicorn.",
        ),
    setting("boot_timeout", Kind::Seconds, "Kill a worker that is not ready after this long, with its stacks in the log; 0: never.")
        .flags(&["--boot-timeout"])
        .default(DefaultValue::Int(120))
        .ours()
        .details("Counts from the fork to the loaded app."),
    setting("head_timeout", Kind::Seconds, "Answer 408 to a client that has not sent its whole request head by then; 0: no limit.")
        .flags(&["--head-timeout"])
        .default(DefaultValue::Int(10))
        .ours(),
    setting("drain_delay", Kind::Seconds, "On TERM go on accepting this long while /readyz is 503, so that load balancers notice.")
        .flags(&["--drain-delay"])
        .default(DefaultValue::Int(0))
        .ours()
        .example("5")
        .details("Part of `graceful_timeout`. Makes a preStop sleep needless."),
];
