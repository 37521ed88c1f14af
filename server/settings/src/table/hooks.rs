//! Python functions that the server calls.

use super::{Kind, Section, Setting, row};

const fn hook(name: &'static str, help: &'static str) -> Setting {
    row(name, Section::Hooks, Kind::Hook, help)
}

const NO_DIRTY: &str = "it is never called, because this version has no dirty arbiters";

pub(super) const SETTINGS: &[Setting] = &[
    hook("on_starting", "(server): in the fork server, before the first worker is forked."),
    hook("on_reload", "(server): in the new fork server, on HUP."),
    hook("when_ready", "(server): in the fork server, once the sockets listen."),
    hook("pre_fork", "(server, worker): in the fork server, before a worker is forked."),
    hook("post_fork", "(server, worker): in the worker, after the fork."),
    hook("post_worker_init", "(worker): in the worker, after the app is loaded."),
    hook("worker_int", "(worker): in the worker, on INT or QUIT."),
    hook("worker_abort", "(worker): in the worker, on ABRT, which a timeout sends."),
    hook("pre_exec", "(server): in the fork server, before USR2 starts a second server or, as PID 1, replaces the program."),
    hook("pre_request", "(worker, request): in the worker, before a request."),
    hook("post_request", "(worker, request, environ, response): in the worker, after a request."),
    hook("child_exit", "(server, worker): in the fork server, after a worker has exited."),
    hook("worker_exit", "(server, worker): in the worker, as it exits."),
    hook(
        "nworkers_changed",
        "(server, new, old): in the fork server, when the number of workers has changed.",
    ),
    hook("on_exit", "(server): in the fork server, as the server exits."),
    hook("ssl_context", "(config, default_factory): in the fork server; returns a TLS context.")
        .details(
            "Of that of default_factory the engine carries over versions, ciphers, files, authorities and whether \
             clients need a certificate. For what it cannot carry over (sni_callback, a passphrase, a context not made \
             by default_factory) TLS is by Python's ssl, which is slower; the log says why. Tornado and third-party \
             classes use the context itself.",
        ),
    hook("on_dirty_starting", "(arbiter): of dirty arbiters.").no_effect(NO_DIRTY),
    hook("dirty_post_fork", "(arbiter, worker): of dirty arbiters.").no_effect(NO_DIRTY),
    hook("dirty_worker_init", "(worker): of dirty arbiters.").no_effect(NO_DIRTY),
    hook("dirty_worker_exit", "(arbiter, worker): of dirty arbiters.").no_effect(NO_DIRTY),
];
