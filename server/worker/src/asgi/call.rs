//! The coroutine of a request's task: it calls the app, drives the app's coroutine, and sees how that ends.

use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::registry::{CallNumber, Party};
use super::service::Asgi;
use super::step::{Step, advance, is_coroutine};

/// What the app is called with. The call is made in the first step, so that it runs in the task's own context.
struct Arguments {
    scope: Py<PyDict>,
    receive: Py<PyAny>,
    send: Py<PyAny>,
}

/// See the module's text.
#[pyclass(module = "podicorn._engine", freelist = 64)]
pub(super) struct Call {
    asgi: Arc<Asgi>,
    number: CallNumber,
    party: Option<Party>,
    arguments: Option<Arguments>,
    /// The app's coroutine.
    inner: Option<Py<PyAny>>,
}

impl Call {
    pub(super) fn new(
        asgi: Arc<Asgi>,
        number: CallNumber,
        party: Party,
        scope: Py<PyDict>,
        receive: Py<PyAny>,
        send: Py<PyAny>,
    ) -> Self {
        let arguments = Some(Arguments { scope, receive, send });
        Self { asgi, number, party: Some(party), arguments, inner: None }
    }

    /// The app's coroutine; `None`: it is over.
    fn inner<'py>(this: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = this.py();
        let mut call = this.try_borrow_mut()?;
        if let Some(inner) = &call.inner {
            return Ok(Some(inner.bind(py).clone()));
        }
        let Some(Arguments { scope, receive, send }) = call.arguments.take() else { return Ok(None) };
        let asgi = Arc::clone(&call.asgi);
        drop(call);
        let returned = asgi.app(py).call1((scope, receive, send))?;
        // A coroutine is stepped itself; other awaitables have an iterator.
        let inner = if is_coroutine(&returned) {
            returned
        } else {
            returned.call_method0(intern!(py, "__await__"))?
        };
        this.try_borrow_mut()?.inner = Some(inner.clone().unbind());
        Ok(Some(inner))
    }

    /// One step, by `how`; the end is told.
    fn step<'py>(
        this: &Bound<'py, Self>,
        how: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Step<'py>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let outcome = match Self::inner(this) {
            Ok(None) => return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine")),
            Ok(Some(inner)) => how(&inner),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Step::Yielded(wait)) => Ok(Some(wait)),
            Ok(Step::Returned) => Self::end(this, Ok(())).map(|()| None),
            Err(error) => Self::end(this, Err(error)).map(|()| None),
        }
    }

    fn end(this: &Bound<'_, Self>, outcome: PyResult<()>) -> PyResult<()> {
        let py = this.py();
        let mut call = this.try_borrow_mut()?;
        let (inner, arguments, party) = (call.inner.take(), call.arguments.take(), call.party.take());
        let (asgi, number) = (Arc::clone(&call.asgi), call.number);
        drop(call);
        drop((inner, arguments));
        let Some(party) = party else { return outcome };
        let outcome = party.ended(py, outcome);
        asgi.leave(py, number);
        outcome
    }
}

#[pymethods]
impl Call {
    fn __await__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(this: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Self::step(this, advance)
    }

    #[pyo3(signature = (value, /))]
    fn send<'py>(this: &Bound<'py, Self>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let step = Self::step(this, |inner| {
            if value.is_none() { advance(inner) } else { by_method(inner, "send", (value,)) }
        })?;
        step.ok_or_else(|| PyStopIteration::new_err(()))
    }

    #[pyo3(signature = (*arguments))]
    fn throw<'py>(
        this: &Bound<'py, Self>,
        arguments: &Bound<'py, pyo3::types::PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let step = Self::step(this, |inner| by_method(inner, "throw", arguments.clone()))?;
        step.ok_or_else(|| PyStopIteration::new_err(()))
    }

    fn close(this: &Bound<'_, Self>) -> PyResult<()> {
        let inner = this.try_borrow()?.inner.as_ref().map(|inner| inner.clone_ref(this.py()));
        let closed = inner.map_or(Ok(()), |inner| inner.bind(this.py()).call_method0("close").map(drop));
        Self::end(this, closed)
    }

    /// What tools ask a coroutine for: `cr_frame`, `cr_await`, `cr_code`, `__qualname__` and their like.
    fn __getattr__<'py>(this: &Bound<'py, Self>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        let (inner, app) = {
            let call = this.try_borrow()?;
            (call.inner.as_ref().map(|inner| inner.clone_ref(py)), Arc::clone(&call.asgi))
        };
        match inner {
            Some(inner) => inner.bind(py).getattr(name),
            None => app.app(py).getattr(name),
        }
    }
}

fn by_method<'py>(
    inner: &Bound<'py, PyAny>,
    method: &str,
    arguments: impl pyo3::call::PyCallArgs<'py>,
) -> PyResult<Step<'py>> {
    match inner.call_method1(method, arguments) {
        Ok(wait) => Ok(Step::Yielded(wait)),
        Err(error) if error.is_instance_of::<PyStopIteration>(inner.py()) => Ok(Step::Returned),
        Err(error) => Err(error),
    }
}
