//! The start of the server as a span: from the beginning of the arbiter's work to the first worker that serves.

use tracing::Span;
use tracing::field::Empty;

#[derive(Debug)]
pub(super) struct Boots {
    start: Option<Span>,
}

impl Boots {
    pub(super) fn begin() -> Self {
        let start = tracing::info_span!(
            "start",
            podicorn.version = env!("CARGO_PKG_VERSION"),
            podicorn.worker.pid = Empty,
            otel.status_description = Empty,
        );
        Self { start: Some(start) }
    }

    /// Somebody has served before this program began.
    pub(super) fn over() -> Self {
        Self { start: None }
    }

    /// As long as nobody has served.
    pub(super) fn starting(&self) -> Option<&Span> {
        self.start.as_ref()
    }

    /// A worker serves.
    pub(super) fn ready(&mut self, pid: i32) {
        if let Some(start) = self.start.take() {
            start.record("podicorn.worker.pid", pid);
        }
    }

    /// The server ends without ever having served.
    pub(super) fn failed(&mut self, why: &str) {
        if let Some(start) = self.start.take() {
            start.record("otel.status_description", why);
        }
    }
}
