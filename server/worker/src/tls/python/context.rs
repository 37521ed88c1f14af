//! `PythonTlsContext`: an `ssl.SSLContext` for all workers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::tls::files::Stamps;

/// `PythonTlsContext(context, *, facts, remake, files, strict_ends)`, for the option `tls` of an engine. `facts(tls)` says
/// what there is to say of a session; `remake()` makes the context anew where one of `files` has changed.
#[pyclass(frozen, module = "podicorn._engine")]
pub(crate) struct PythonTlsContext(pub(crate) Arc<PythonTls>);

/// See the module's text.
pub(crate) struct PythonTls {
    context: Mutex<Py<PyAny>>,
    pub(super) facts: Py<PyAny>,
    /// `None`: it is the hook's, which is not called again.
    remake: Option<Py<PyAny>>,
    files: Vec<String>,
    stamps: Mutex<Stamps>,
    /// An end without `close_notify` is an error.
    pub(super) strict_ends: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PythonTls {
    /// For a new client.
    pub(super) fn context(&self, py: Python<'_>) -> Py<PyAny> {
        lock(&self.context).clone_ref(py)
    }

    /// Makes the context anew if a file has changed. `None`: none has.
    pub(crate) fn refresh(&self, py: Python<'_>) -> Option<Result<(), String>> {
        let remake = self.remake.as_ref()?;
        let stamps = Stamps::of(self.files.iter().map(String::as_str));
        if std::mem::replace(&mut *lock(&self.stamps), stamps.clone()) == stamps {
            return None;
        }
        Some(match remake.call0(py) {
            Ok(context) => {
                // No lock is held while the old one goes, which may run Python.
                let old = std::mem::replace(&mut *lock(&self.context), context);
                drop(old);
                Ok(())
            }
            Err(error) => Err(error.value(py).to_string()),
        })
    }
}

#[pymethods]
impl PythonTlsContext {
    #[new]
    #[pyo3(signature = (context, *, facts, remake, files, strict_ends))]
    fn new(
        context: Py<PyAny>,
        facts: Py<PyAny>,
        remake: Option<Py<PyAny>>,
        files: Vec<String>,
        strict_ends: bool,
    ) -> Self {
        let stamps = Mutex::new(Stamps::of(files.iter().map(String::as_str)));
        Self(Arc::new(PythonTls { context: Mutex::new(context), facts, remake, files, stamps, strict_ends }))
    }
}
