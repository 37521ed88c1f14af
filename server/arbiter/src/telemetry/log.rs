//! The error log: Gunicorn's lines or JSON, written by a thread of its own.
//!
//! `tracing` events become one line each:
//!
//! ```text
//! [2026-11-22 22:58:40 +0000] [1] [INFO] Listening at: http://127.0.0.1:8000
//! {"time":"2026-11-22T22:58:40.123456+00:00","level":"info","pid":1,"logger":"podicorn","message":"…"}
//! ```
//!
//! Text shows the message, and a field named `error` after it; other fields appear in JSON only. The arbiter's thread
//! formats and queues a line and never writes: the [`writer`] does. A field `critical = true` on an error event makes
//! it Gunicorn's level critical; [`critical!`](crate::critical) is the short form.

mod format;
mod relay;
mod writer;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::trace::TraceContextExt;
use tracing::dispatcher::{Dispatch, WeakDispatch};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::log_counts;

use format::Formatter;
use writer::Writer;

pub use relay::Relay;

use super::traces::{self, Traces};

/// Logs at Gunicorn's level critical. Takes what `tracing::error!` takes.
#[macro_export]
macro_rules! critical {
    ($($argument:tt)+) => { ::tracing::error!(critical = true, $($argument)+) };
}

/// Gunicorn's levels, by rising weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    const ALL: [Self; 5] = [Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// As written on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// As in a line of text.
    pub fn label(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    fn of(metadata: &Metadata<'_>) -> Self {
        match *metadata.level() {
            tracing::Level::ERROR if metadata.fields().field("critical").is_some() => Self::Critical,
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// `--log-level` was none of Gunicorn's names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log level; use debug, info, warning, error or critical")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    /// Case does not matter, as in Gunicorn.
    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        let level = Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(name));
        level.ok_or_else(|| UnknownLevel(name.to_owned()))
    }
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Where the error log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Stderr,
    /// Opened for appending, made if absent.
    File(PathBuf),
}

impl Target {
    /// `-` is standard error, as in Gunicorn's `--error-logfile`.
    pub fn parse(value: &str) -> Self {
        if value == "-" { Self::Stderr } else { Self::File(PathBuf::from(value)) }
    }

    /// Whether it can be opened now.
    pub fn check(&self) -> Result<(), LogError> {
        writer::check(self)
    }
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot open the error log {path}: {source}; check --error-logfile")]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot start the log writer's thread: {0}")]
    Thread(io::Error),
    #[error("logging was begun twice")]
    Twice,
}

/// Begins logging for the whole process, and makes spans where there is somebody to export them. Call it once, before
/// the runtime.
pub fn init(
    level: Level,
    format: Format,
    target: Target,
    traces: Option<&Traces>,
) -> Result<LogHandle, LogError> {
    let (subscriber, handle) = build(level, format, target, traces)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    Ok(handle)
}

/// The parts of [`init`], without making them the process's.
pub fn build(
    level: Level,
    format: Format,
    target: Target,
    traces: Option<&Traces>,
) -> Result<(impl Subscriber + Send + Sync + use<>, LogHandle), LogError> {
    let handle = LogHandle {
        shared: Arc::new(Shared {
            level: AtomicU8::new(level as u8),
            formatter: Formatter::new(format),
            writer: Writer::start(target)?,
            relay: Mutex::new(None),
        }),
    };
    let lines =
        Lines { shared: Arc::clone(&handle.shared), dispatch: OnceLock::new(), with_spans: traces.is_some() };
    let subscriber = Registry::default().with(lines).with(traces.map(Traces::layer));
    Ok((subscriber, handle))
}

struct Shared {
    level: AtomicU8,
    formatter: Formatter,
    writer: Writer,
    /// Where lines go instead, as long as it takes them.
    relay: Mutex<Option<Arc<Relay>>>,
}

impl Shared {
    fn relay(&self) -> Option<Arc<Relay>> {
        self.relay.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a relay's reader has not taken and never will.
    fn write_unread(&self, relay: &Relay) {
        for record in relay.take_unread() {
            self.writer.push(self.formatter.relayed(&record));
        }
    }

    fn level(&self) -> Level {
        Level::ALL
            .into_iter()
            .find(|level| *level as u8 == self.level.load(Ordering::Relaxed))
            .unwrap_or(Level::Info)
    }
}

/// To steer the log while it runs. Clones steer the same log.
#[derive(Clone)]
pub struct LogHandle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogHandle").field("level", &self.shared.level()).finish_non_exhaustive()
    }
}

impl LogHandle {
    /// Opens the file again (USR1, after a rotation). The writer does it, after the lines that are queued; if it fails
    /// the old file stays in use and a line there says so.
    pub fn reopen(&self) {
        self.shared.writer.reopen(None);
        if let Some(relay) = self.shared.relay() {
            relay.reopen();
        }
    }

    /// From now on lines go to this relay; those that it cannot take are written as before.
    pub fn relay_to(&self, relay: Option<Arc<Relay>>) {
        *self.shared.relay.lock().unwrap_or_else(PoisonError::into_inner) = relay;
    }

    /// The relay's reader has gone: what waits there is written here, and so is what follows.
    pub fn relay_ended(&self, relay: &Arc<Relay>) {
        let mut present = self.shared.relay.lock().unwrap_or_else(PoisonError::into_inner);
        if present.as_ref().is_some_and(|present| Arc::ptr_eq(present, relay)) {
            *present = None;
        }
        drop(present);
        self.shared.write_unread(relay);
    }

    /// Takes another level, format and target into use (a reload).
    pub fn reconfigure(&self, level: Level, format: Format, target: Target) {
        self.shared.formatter.set_format(format);
        self.shared.writer.reopen(Some(target));
        self.shared.level.store(level as u8, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Lines that were not written because the reader did not keep up or writing failed.
    pub fn dropped(&self) -> u64 {
        self.shared.writer.dropped()
    }

    /// So many lines were not written by the program before this one.
    pub fn resume(&self, dropped: u64) {
        self.shared.writer.resume(dropped);
    }

    /// Waits until the lines logged so far are written, or the time is over; true if they are. For the end of the
    /// process: a stuck reader costs `limit`, not for ever.
    pub fn flush(&self, limit: Duration) -> bool {
        self.shared.writer.flush(limit)
    }
}

/// The layer that turns events into lines.
struct Lines {
    shared: Arc<Shared>,
    /// By which the ids of spans are found.
    dispatch: OnceLock<WeakDispatch>,
    /// Spans are made, whatever the level of the log.
    with_spans: bool,
}

impl Lines {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let ours = traces::is_ours(metadata.target());
        if metadata.is_span() {
            return self.with_spans && ours;
        }
        let level = Level::of(metadata);
        // How libraries go about their work is not for this log.
        level >= self.shared.level() && (ours || level > Level::Debug)
    }

    /// The trace that the event belongs to: that of its span, if that is recorded.
    fn trace_of<S>(&self, event: &Event<'_>, context: &Context<'_, S>) -> Option<(String, String)>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let span = context.event_span(event).filter(|_| self.with_spans)?;
        let dispatch = self.dispatch.get()?.upgrade()?;
        let found = tracing_opentelemetry::get_otel_context(&span.id(), &dispatch)?;
        let found = found.span().span_context().clone();
        found.is_valid().then(|| (found.trace_id().to_string(), found.span_id().to_string()))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        let _ = self.dispatch.set(subscriber.downgrade());
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let level = self.shared.level();
        Some(match if self.with_spans { level.min(Level::Info) } else { level } {
            // The arbiter's own trace events, if any, count as debug.
            Level::Debug => LevelFilter::TRACE,
            Level::Info => LevelFilter::INFO,
            Level::Warning => LevelFilter::WARN,
            Level::Error | Level::Critical => LevelFilter::ERROR,
        })
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        log_counts::note(Level::of(event.metadata()));
        let shared = &self.shared;
        if let Some(relay) = shared.relay()
            && relay.send(&shared.formatter.record(Level::of(event.metadata()), event))
        {
            return;
        }
        let trace = self.trace_of(event, &context);
        if !shared.writer.push(shared.formatter.event(Level::of(event.metadata()), event, trace)) {
            return;
        }
        // The reader is back: say what it missed.
        let missed = shared.writer.take_unreported();
        if missed > 0 {
            let message = format!("{missed} lines of this log were dropped: its reader did not keep up");
            shared.writer.push(shared.formatter.line(Level::Warning, &message, &[]));
        }
    }
}

#[cfg(test)]
mod tests;
