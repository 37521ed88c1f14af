//! The worker type **sync**: the app is called inline, on the engine's own thread, one request at a time, and the connection
//! ends with the response.
//!
//! The reactor takes new connections only while no complete request waits, so that another, idle worker gets them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use crate::clock::{MILLISECOND, Nanos, monotonic};
use crate::engine::Core;
use crate::wsgi::service::Service;

/// How long requests are answered before the reactor has a look at what has come meanwhile: with slow requests after each of
/// them, so that new connections and deadlines do not wait for the whole queue.
pub(crate) const SLICE: Nanos = MILLISECOND;

/// Answers requests that are complete, for a while. An error is one that ends the worker.
pub(crate) fn serve(py: Python<'_>, core: &Core, service: &Service) -> PyResult<()> {
    let mut now = monotonic();
    let until = now + SLICE;
    let mut next = if core.is_quitting() { None } else { core.next_request(now) };
    while let Some(mut ready) = next {
        // A panic of ours costs this connection, not the worker.
        let outcome = catch_unwind(AssertUnwindSafe(|| service.handle(py, &mut ready, now)));
        let outcome = outcome.unwrap_or_else(|_| {
            service.log(py, "error", "internal error: a request has panicked; its connection is closed");
            ready.connection.abandon();
            Ok(())
        });
        if core.is_disabled() {
            // The app has forked, and this is the child: the connection is the parent's.
            return Ok(());
        }
        now = monotonic();
        let signalled = py.check_signals();
        let goes_on = signalled.is_ok() && now < until && !core.is_quitting();
        next = core.answered_and_next(ready, now, goes_on);
        signalled?;
        match outcome {
            Err(error) if core.is_quitting() => return Err(error),
            // The app's own SystemExit or KeyboardInterrupt is logged and ends the request only, as in Gunicorn.
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
