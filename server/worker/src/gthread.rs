//! The worker type **gthread**: connections are kept, and the app is called by `threads` threads at a time.
//!
//! With one thread that is the engine's own, as in [`crate::sync`]. With more the engine's thread only reads and parses, and
//! without the GIL; a complete request goes to the Python thread that is free, which also sends the response. A connection
//! that is idle, or whose request is still on its way, takes no thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use crate::clock::monotonic;
use crate::engine::Core;
use crate::wsgi::service::Service;

/// Answers requests until the worker ends.
pub(crate) fn work(py: Python<'_>, core: &Core, service: &Service) {
    while let Some((mut ready, begun)) = py.detach(|| core.wait_for_request()) {
        // A panic of ours costs this connection, not the thread. What the app raises is logged and ends the request.
        let outcome = catch_unwind(AssertUnwindSafe(|| service.handle(py, &mut ready, begun)));
        if outcome.is_err() {
            service.log(py, "error", "internal error: a request has panicked; its connection is closed");
            ready.connection.abandon();
        }
        if core.is_disabled() {
            // The app has forked, and this is the child: the connection is the parent's.
            return;
        }
        core.answered(ready.token, ready.connection, monotonic());
    }
}
