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
            "Includes `drain_delay`. Who cannot be answered by then gets 503 shortly before. Let it be the pod's \
             `terminationGracePeriodSeconds`: in a pod everything ends at least 1 s before it (a quarter of it where it is \
             below 4 s).",
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
    setting("request_timeout", Kind::Seconds, "Answer 504 to a request that the app has not begun to answer by then; 0: no limit.")
        .flags(&["--request-timeout"])
        .default(DefaultValue::Int(0))
        .ours()
        .example("20")
        .details(
            "Counts from the complete request, the wait for a free worker included, on every worker type. A response that \
             has begun is cut off instead. The log says where the app was; a worker that does not come back from the \
             request is replaced.",
        ),
    setting("stall_timeout", Kind::Seconds, "Give up a client that in such a period sends or takes less than min_body_rate.")
        .flags(&["--stall-timeout"])
        .default(DefaultValue::Int(30))
        .ours()
        .details(
            "Holds for request bodies (408) and for responses (the connection is closed). In each period at least one byte \
             must move; 0: no limit.",
        ),
    setting("drain_delay", Kind::Seconds, "On TERM go on accepting this long while /readyz is 503, so that load balancers notice.")
        .flags(&["--drain-delay"])
        .default(DefaultValue::Int(0))
        .ours()
        .example("5")
        .details(
            "Part of `graceful_timeout`, and no more than half of it. Makes a preStop sleep needless. Then new connections \
             are kept out, those that wait are taken, and every response is the last of its connection.",
        ),
];
