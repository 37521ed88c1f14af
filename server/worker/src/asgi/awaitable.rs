//! What `receive` and `send` return: coroutines as far as `await`, `ensure_future` and `create_task` can tell.

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;

use super::exchange::Polled;
use super::registry::Party;
use super::step::{Step, advance};

/// The result of a `send` that need not wait. There is one for all.
#[pyclass(frozen, module = "podicorn._engine")]
pub(super) struct Done;

#[allow(clippy::unused_self)] // Python calls them on the object
#[pymethods]
impl Done {
    fn __await__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    /// Over at once, with the result `None`.
    fn __next__(&self) -> Option<()> {
        None
    }

    #[pyo3(signature = (_value, /))]
    fn send(&self, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyStopIteration::new_err(()))
    }

    #[pyo3(signature = (kind, value = None, traceback = None, /))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        Err(thrown(kind, value, traceback)?)
    }

    fn close(&self) {}
}

/// What a [`Waiting`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The next message of `receive`.
    Message,
    /// The client taking more of the response.
    Room,
}

/// Asks its party when it is awaited, and again whenever there may be news. What is waited for is not in here: a call
/// that is cancelled while it waits loses nothing.
#[pyclass(module = "podicorn._engine", freelist = 64)]
pub(super) struct Waiting {
    party: Party,
    purpose: Purpose,
    /// The iterator of the loop's future, while it waits.
    future: Option<Py<PyAny>>,
    over: bool,
}

impl Waiting {
    pub(super) fn new(party: Party, purpose: Purpose) -> Self {
        Self { party, purpose, future: None, over: false }
    }

    /// What the task is to wait for; the end is a `StopIteration` with the result.
    fn resume<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.over {
            return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
        }
        loop {
            if let Some(future) = &self.future {
                match advance(future.bind(py)) {
                    Ok(Step::Yielded(wait)) => return Ok(wait),
                    Ok(Step::Returned) => self.future = None,
                    Err(error) => {
                        self.over = true;
                        return Err(error);
                    }
                }
            }
            match self.party.poll(py, self.purpose) {
                Ok(Polled::Ready(value)) => {
                    self.over = true;
                    return Err(PyStopIteration::new_err(value.unbind()));
                }
                Ok(Polled::Wait(future)) => {
                    self.future = Some(future.call_method0(intern!(py, "__await__"))?.unbind());
                }
                Err(error) => {
                    self.over = true;
                    return Err(error);
                }
            }
        }
    }
}

#[pymethods]
impl Waiting {
    fn __await__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.resume(py)
    }

    #[pyo3(signature = (_value, /))]
    fn send<'py>(&mut self, py: Python<'py>, _value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.resume(py)
    }

    #[pyo3(signature = (kind, value = None, traceback = None, /))]
    fn throw(
        &mut self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.over = true;
        self.future = None;
        Err(thrown(kind, value, traceback)?)
    }

    fn close(&mut self) {
        self.over = true;
        self.future = None;
    }
}

/// The exception that `throw` was given, in either of its forms.
fn thrown(
    kind: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
    traceback: Option<&Bound<'_, PyAny>>,
) -> PyResult<PyErr> {
    let error = match value {
        Some(value) if value.is_instance(kind).unwrap_or(false) => PyErr::from_value(value.clone()),
        Some(value) if !value.is_none() => PyErr::from_value(kind.call1((value,))?),
        _ if kind.is_callable() => PyErr::from_value(kind.call0()?),
        _ => PyErr::from_value(kind.clone()),
    };
    if let Some(traceback) = traceback
        && let Ok(traceback) = traceback.cast::<pyo3::types::PyTraceback>()
    {
        error.set_traceback(traceback.py(), Some(traceback.clone()));
    }
    Ok(error)
}
