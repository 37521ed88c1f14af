//! The pool of workers.

use super::{COUNT, DefaultValue, Kind, Section, Setting, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Workers, kind, help)
}

const ONLY_ASGI: &str = "only the asgi worker uses it, and this version has none";

pub(super) const SETTINGS: &[Setting] = &[
    setting("workers", Kind::Workers, "Worker processes: a number, or MIN..MAX to start with MIN and stay in that range.")
        .flags(&["-w", "--workers"])
        .metavar("N|MIN..MAX")
        .default(DefaultValue::Int(1))
        .default_variable("WEB_CONCURRENCY")
        .unit("processes")
        .example("4")
        .details(
            "From 1 to 512. TTIN, TTOU and the admin API change the number at run time; it survives a reload. With \
             `WEB_CONCURRENCY` in the environment that is the default. Gunicorn takes a number only.",
        ),
    setting("worker_class", Kind::Class, "Type of worker. This version has: sync, gthread, gevent, eventlet.")
        .flags(&["-k", "--worker-class"])
        .metavar("TYPE")
        .default(DefaultValue::Text("sync"))
        .example("sync")
        .details(
            "**sync** answers one request at a time and closes the connection after it. **gthread** answers `threads` requests \
             at a time and keeps connections open. **gevent** and **eventlet** run each request as a greenlet, up to \
             `worker_connections` of them, in an app whose blocking calls they have patched to let others run; they need \
             `pip install podicorn[gevent]` or `podicorn[eventlet]`. Gunicorn's other spellings are understood: \
             `gunicorn.workers.sync.SyncWorker`, `egg:gunicorn#gthread`, `gevent_wsgi`, `gevent_pywsgi`.",
        ),
    setting("threads", COUNT, "Threads that call the app in each gthread worker; more than 1 turns sync into gthread.")
        .flags(&["--threads"])
        .metavar("N")
        .default(DefaultValue::Int(1))
        .unit("threads")
        .example("4")
        .details("An idle connection takes no thread, nor does one whose request is still on its way."),
    setting("worker_connections", COUNT, "Connections that one worker holds open at a time.")
        .flags(&["--worker-connections"])
        .metavar("N")
        .default(DefaultValue::Int(1000))
        .unit("connections")
        .details(
            "Connections that are idle or whose request is still on its way count too. Where one more would be too many, \
             the idle one that has waited longest is closed for it, or else one that takes its response more slowly than \
             `min_body_rate`, or else the one that has been sending its request for longest gets 408.",
        ),
    setting("max_requests", COUNT, "Replace a worker after this many requests; 0: never.")
        .flags(&["--max-requests"])
        .metavar("N")
        .default(DefaultValue::Int(0))
        .unit("requests")
        .details("Bounds what a leak can cost. The replacement is ready before the old worker leaves."),
    setting("max_requests_jitter", COUNT, "Add a random number up to this to max_requests, per worker.")
        .flags(&["--max-requests-jitter"])
        .metavar("N")
        .default(DefaultValue::Int(0))
        .unit("requests")
        .details("So that the workers are not all replaced at once."),
    setting("asgi_loop", Kind::Choice(&["auto", "asyncio", "uvloop"]), "Event loop of the asgi worker.")
        .flags(&["--asgi-loop"])
        .default(DefaultValue::Text("auto"))
        .no_effect(ONLY_ASGI),
    setting("asgi_lifespan", Kind::Choice(&["auto", "on", "off"]), "The lifespan protocol of the asgi worker.")
        .flags(&["--asgi-lifespan"])
        .default(DefaultValue::Text("auto"))
        .no_effect(ONLY_ASGI),
    setting("asgi_disconnect_grace_period", COUNT, "Time that an ASGI app has to react to a client that has left.")
        .flags(&["--asgi-disconnect-grace-period"])
        .metavar("SECONDS")
        .default(DefaultValue::Int(3))
        .unit("seconds")
        .no_effect(ONLY_ASGI),
    setting("websocket_max_message_size", Kind::Int { min: 0, max: i64::MAX, prefixed: false }, "Largest WebSocket message.")
        .flags(&["--websocket-max-message-size"])
        .metavar("BYTES")
        .default(DefaultValue::Int(16 * 1024 * 1024))
        .unit("bytes")
        .no_effect(ONLY_ASGI),
];
