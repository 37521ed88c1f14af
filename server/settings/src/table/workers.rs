//! The pool of workers.

use super::{COUNT, DefaultValue, Kind, Section, Setting, Takes, row};

const fn setting(name: &'static str, kind: Kind, help: &'static str) -> Setting {
    row(name, Section::Workers, kind, help)
}

pub(super) const SETTINGS: &[Setting] = &[
    setting("workers", Kind::Workers, "Worker processes: a number, MIN..MAX to follow the load within that range, or auto.")
        .flags(&["-w", "--workers"])
        .metavar("N|MIN..MAX|auto")
        .default(DefaultValue::Int(1))
        .default_variable("WEB_CONCURRENCY")
        .unit("processes")
        .example("4")
        .details(
            "From 1 to 512. A range starts with MIN and keeps workers 70 % busy, as far as memory and CPU allow: \
             [scaling.md](scaling.md). `auto` is the range from 1 to 2 × cores + 1, by the CPU quota of the container and \
             the CPUs that it may use; it starts with as many as fit the memory limit. TTIN, TTOU and the admin API change \
             the number at run time; it survives a reload. With `WEB_CONCURRENCY` in the environment that is the default. \
             Gunicorn takes a number only.",
        ),
    setting("scale_down_delay", Kind::Seconds, "Take a worker of a range away only when fewer have been enough for this long.")
        .flags(&["--scale-down-delay"])
        .metavar("SECONDS")
        .default(DefaultValue::Int(60))
        .unit("seconds")
        .ours()
        .example("120")
        .details("More workers come at once, fewer one at a time. A number that goes up and down doubles the delay, up to eight times."),
    setting(
        "worker_class",
        Kind::Class,
        "Type of worker: sync, gthread, gevent, eventlet, asgi, tornado, or a class made for Gunicorn.",
    )
        .flags(&["-k", "--worker-class"])
        .metavar("TYPE")
        .default(DefaultValue::Text("sync"))
        .example("sync")
        .details(
            "**sync** answers one request at a time and closes the connection after it. **gthread** answers `threads` requests \
             at a time and keeps connections open. **gevent** and **eventlet** run each request as a greenlet, up to \
             `worker_connections` of them, in an app whose blocking calls they have patched to let others run; they need \
             `pip install podicorn[gevent]` or `podicorn[eventlet]`. **asgi** serves an ASGI app in an event loop. \
             **tornado** serves a `tornado.web.Application`, or a WSGI app, by Tornado's own server \
             (`pip install podicorn[tornado]`). Gunicorn's other spellings are understood: \
             `gunicorn.workers.sync.SyncWorker`, `egg:gunicorn#gthread`, `gevent_wsgi`, `gevent_pywsgi`. Any other name is a \
             class made for Gunicorn, such as `uvicorn.workers.UvicornWorker`, `egg:DIST#NAME` or an entry point of the group \
             `gunicorn.workers`; a config file may give the class itself. Such classes need `pip install podicorn[gunicorn]`. \
             [workers.md](workers.md) says which type to choose and what each one has.",
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
    setting("worker_max_memory", Kind::Size, "Replace a worker that holds more memory than this; 0: never.")
        .flags(&["--worker-max-memory"])
        .metavar("SIZE")
        .default(DefaultValue::Int(0))
        .unit("bytes")
        .ours()
        .example("300M")
        .details(
            "With the suffixes K, M and G for powers of 1024; Mi and MiB mean the same. It is the worker's own memory that counts \
             (USS: what the container gets back when the worker ends), as `/workers` and `podicorn_worker_uss_bytes` show it. The \
             replacement is ready before the old worker leaves, and that one finishes what it has begun. Where the container has \
             no room for both, an idle worker leaves first. Whatever is set here: when the container is about to reach its own \
             limit, the fattest worker is replaced before the kernel kills one.",
        ),
    setting("worker_max_memory_hard", Kind::Size, "Stop a worker that holds more memory than this at once; 0: never.")
        .flags(&["--worker-max-memory-hard"])
        .metavar("SIZE")
        .default(DefaultValue::Int(0))
        .unit("bytes")
        .ours()
        .example("400M")
        .details(
            "It accepts nothing more, has `graceful_timeout` for what it has begun, and is killed then; its replacement starts at \
             once. Sensible above `worker_max_memory`, for a leak that is faster than a replacement.",
        ),
    setting("max_unavailable", COUNT, "Workers that may be missing while others replace them; 0: one more runs meanwhile.")
        .flags(&["--max-unavailable"])
        .metavar("N")
        .default(DefaultValue::Int(0))
        .unit("workers")
        .ours()
        .example("1")
        .details(
            "At a reload, and when workers are replaced for `max_requests` or for their memory. 0 never has fewer workers than \
             are wanted, and takes the memory of one more for a while; where that does not fit, 1 has one less instead. The \
             first worker of a reload always comes on top, because it is the test of the new code, and one worker always \
             serves.",
        ),
    setting("asgi_loop", Kind::Choice(&["auto", "asyncio", "uvloop"]), "Event loop of the asgi worker.")
        .flags(&["--asgi-loop"])
        .metavar("LOOP")
        .default(DefaultValue::Text("auto"))
        .example("asyncio")
        .details(
            "`auto` is uvloop if it is installed (`pip install podicorn[uvloop]`), else asyncio's own loop. `uvloop` without \
             uvloop is a warning, as in Gunicorn.",
        ),
    setting("asgi_lifespan", Kind::Choice(&["auto", "on", "off"]), "Whether the asgi worker runs the app's lifespan (startup and shutdown).")
        .flags(&["--asgi-lifespan"])
        .metavar("MODE")
        .default(DefaultValue::Text("auto"))
        .example("on")
        .details(
            "`auto` serves an app that has no lifespan; one that says that its startup has failed does not start: exit 3. `on` \
             takes any failure for that. `off` does not ask. A worker is ready when the startup is complete.",
        ),
    setting("asgi_disconnect_grace_period", COUNT, "Time that an ASGI app has left for a request whose client has gone.")
        .flags(&["--asgi-disconnect-grace-period"])
        .metavar("SECONDS")
        .default(DefaultValue::Int(3))
        .unit("seconds")
        .details("`receive` says `http.disconnect` at once; then the request's task is cancelled. 0: at once."),
    setting("asgi_eager", Kind::Flag, "Run the first step of each request's task at once (CPython 3.12 or newer).")
        .flags(&["--asgi-eager"])
        .ours()
        .details(
            "Saves a turn of the loop per request. Most apps do not notice; one that holds on to the order in which tasks \
             begin may. On an older CPython it has no effect.",
        ),
    setting("websocket_max_message_size", Kind::Int { min: 0, max: i64::MAX, prefixed: false }, "Largest WebSocket message.")
        .flags(&["--websocket-max-message-size"])
        .metavar("BYTES")
        .default(DefaultValue::Int(16 * 1024 * 1024))
        .unit("bytes")
        .details(
            "Of a compressed message what it becomes. Larger ones end the connection with the close code 1009, before they are \
             read. 0: no limit.",
        ),
    setting("ws_ping_interval", Kind::Seconds, "Time between the server's Pings to a WebSocket client; 0: none.")
        .flags(&["--ws-ping-interval"])
        .metavar("SECONDS")
        .default(DefaultValue::Int(20))
        .unit("seconds")
        .ours()
        .example("30")
        .details("Keeps proxies from taking the connection for idle, and finds out who has gone. As in uvicorn."),
    setting("ws_ping_timeout", Kind::Seconds, "Time that a WebSocket client has to answer a Ping; 0: no limit.")
        .flags(&["--ws-ping-timeout"])
        .metavar("SECONDS")
        .default(DefaultValue::Int(20))
        .unit("seconds")
        .ours()
        .example("30")
        .details(
            "Then the connection ends with the close code 1011. Anything that the client sends counts as an answer, and so does \
             progress in taking what it is sent.",
        ),
    setting("ws_per_message_deflate", Kind::Flag, "Do not compress WebSocket messages.")
        .flags(&["--no-ws-per-message-deflate"])
        .takes(Takes::False)
        .default(DefaultValue::Flag(true))
        .ours()
        .details(
            "permessage-deflate is agreed on with clients that offer it. It takes CPU time, and some 20 KiB for each connection that \
             uses it.",
        ),
];
