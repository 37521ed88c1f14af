//! `wsgi.errors`: text that the app writes goes where the error log goes.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

/// A text stream over the handlers of the error log. Where the log has no stream of its own, `sys.stderr`.
#[pyclass(frozen, dict, weakref, module = "podicorn._engine")]
pub(crate) struct Errors {
    error_log: Py<PyAny>,
}

impl Errors {
    pub(crate) fn new(error_log: Py<PyAny>) -> Self {
        Self { error_log }
    }

    /// Looked up at each use: USR1 may have replaced the file, and the app may have set up logging of its own.
    fn streams<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let streams = PyList::empty(py);
        let error_log = self.error_log.bind(py);
        // A logger of Gunicorn's kind has the one of `logging` inside.
        let inner = error_log.getattr_opt("error_log")?;
        if let Some(handlers) = inner.as_ref().unwrap_or(error_log).getattr_opt("handlers")? {
            for handler in handlers.try_iter()? {
                let handler = handler?;
                // A log of records has a stream that makes records of lines.
                let stream = match handler.getattr_opt("error_stream")? {
                    Some(stream) => Some(stream),
                    None => handler.getattr_opt("stream")?,
                };
                if let Some(stream) = stream.filter(|stream| !stream.is_none()) {
                    streams.append(stream)?;
                }
            }
        }
        if streams.is_empty() {
            streams.append(py.import("sys")?.getattr("stderr")?)?;
        }
        Ok(streams)
    }
}

#[allow(clippy::unused_self)] // Python calls them on the object
#[pymethods]
impl Errors {
    /// Writes text and flushes it; returns its length.
    fn write(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        for stream in self.streams(py)? {
            stream.call_method1("write", (text,))?;
            stream.call_method0("flush")?;
        }
        text.len()
    }

    fn writelines(&self, py: Python<'_>, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(py, line?.cast::<PyString>()?)?;
        }
        Ok(())
    }

    /// Nothing waits here.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        for stream in self.streams(py)? {
            stream.call_method0("flush")?;
        }
        Ok(())
    }

    #[getter]
    fn encoding(&self) -> &'static str {
        "utf-8"
    }

    fn writable(&self) -> bool {
        true
    }

    fn readable(&self) -> bool {
        false
    }

    fn isatty(&self) -> bool {
        false
    }

    /// `print(..., file=environ["wsgi.errors"])` and `logging.StreamHandler` may look at it.
    #[getter]
    fn closed(&self) -> bool {
        false
    }
}
