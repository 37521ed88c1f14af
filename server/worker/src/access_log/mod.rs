//! The access log: one line per request that reached the app, in Gunicorn's format or as JSON.

pub(crate) mod format;
mod json;
mod record;
pub(crate) mod writer;

use std::sync::{Mutex, PoisonError};

pub(crate) use self::record::Record;
use self::record::Times;
use self::writer::{Target, Writer};
use crate::error::EngineError;
use crate::options::LogStyle;

/// The log of one worker.
pub(crate) struct AccessLog {
    writer: Writer,
    style: LogStyle,
    /// Reused from line to line.
    scratch: Mutex<Scratch>,
}

#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    times: Times,
}

impl AccessLog {
    /// Opens the target and starts the writer's thread. Call it in the worker, after the fork.
    pub(crate) fn start(target: Target, style: LogStyle) -> Result<Self, EngineError> {
        Ok(Self { writer: Writer::start(target)?, style, scratch: Mutex::default() })
    }

    /// Queues the line of a request that has ended.
    pub(crate) fn log(&self, record: &Record<'_, '_>) {
        // Taken out, not kept locked: an atom may run Python code, which may let another thread in.
        let mut scratch = std::mem::take(&mut *self.scratch.lock().unwrap_or_else(PoisonError::into_inner));
        let Scratch { line, times } = &mut scratch;
        line.clear();
        match &self.style {
            LogStyle::Text(format) => format.write(line, |atom, out| record.atom(atom, times, out)),
            LogStyle::Json => json::write(record, times, line),
        }
        self.writer.push(line);
        *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = scratch;
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }
}
