//! The trace that log records of the app belong to, in a context variable while the app runs.
//!
//! A thread, a greenlet and a task have contexts of their own, and a task copies the one that it is made in; so one
//! variable holds for every way in which an app is called. Its value is a pair of texts: the ids of the trace and of the span.

use pyo3::intern;
use pyo3::prelude::*;

use crate::trace::RequestTrace;

/// Where it is put; `None`: no log asks for it.
#[derive(Default)]
pub(crate) struct LogTrace(Option<Py<PyAny>>);

/// While it lives, records belong to the trace.
#[must_use]
pub(crate) struct Entered<'a, 'py>(Option<(&'a Bound<'py, PyAny>, Bound<'py, PyAny>)>);

impl LogTrace {
    /// `variable`: a `contextvars.ContextVar`.
    pub(crate) fn new(variable: Option<Py<PyAny>>) -> Self {
        Self(variable)
    }

    pub(crate) fn enter<'a, 'py>(&'a self, py: Python<'py>, trace: &RequestTrace) -> Entered<'a, 'py> {
        let Some(variable) = &self.0 else { return Entered(None) };
        let (Some(trace_id), Some(span_id)) = (trace.trace_text(), trace.span_text()) else {
            return Entered(None);
        };
        let variable = variable.bind(py);
        match variable.call_method1(intern!(py, "set"), ((trace_id, span_id),)) {
            Ok(token) => Entered(Some((variable, token))),
            Err(error) => {
                error.write_unraisable(py, None);
                Entered(None)
            }
        }
    }
}

impl Drop for Entered<'_, '_> {
    fn drop(&mut self) {
        if let Some((variable, token)) = self.0.take()
            && let Err(error) = variable.call_method1(intern!(variable.py(), "reset"), (token,))
        {
            error.write_unraisable(variable.py(), None);
        }
    }
}
