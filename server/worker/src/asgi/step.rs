//! `CPython`'s own way to step a coroutine and to make a task.
#![allow(unsafe_code)] // PyIter_Send and PyObject_Vectorcall, which pyo3 does not wrap

use std::ptr;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyString, PyTuple};

/// What a step of a coroutine has come to.
pub(super) enum Step<'py> {
    /// It waits for this.
    Yielded(Bound<'py, PyAny>),
    Returned,
}

/// Resumes a coroutine or an iterator, with `None`.
pub(super) fn advance<'py>(coroutine: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
    let py = coroutine.py();
    let mut result = ptr::null_mut();
    // SAFETY: the arguments are live objects and a place for the result, which is a new reference, or null with an
    // exception set where the call says so.
    let how = unsafe { ffi::PyIter_Send(coroutine.as_ptr(), ffi::Py_None(), &raw mut result) };
    // SAFETY: as above; null becomes the exception.
    let result = unsafe { Bound::from_owned_ptr_or_err(py, result) }?;
    Ok(if how == ffi::PySendResult::PYGEN_NEXT { Step::Yielded(result) } else { Step::Returned })
}

/// Whether it is what an `async def` gives.
pub(super) fn is_coroutine(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: only the type of a live object is looked at.
    unsafe { ffi::PyCoro_CheckExact(object.as_ptr()) != 0 }
}

/// Makes tasks of one loop.
pub(super) struct TaskMaker {
    task: Py<PyAny>,
    event_loop: Py<PyAny>,
    /// A name that is given need not be made up.
    name: Py<PyString>,
    keywords: Py<PyTuple>,
    eager: bool,
}

impl TaskMaker {
    pub(super) fn new(event_loop: &Bound<'_, PyAny>, eager: bool) -> PyResult<Self> {
        let py = event_loop.py();
        let mut keywords = vec!["loop", "name"];
        if eager {
            keywords.push("eager_start");
        }
        let keywords = keywords.into_iter().map(|keyword| PyString::intern(py, keyword));
        Ok(Self {
            task: py.import("asyncio")?.getattr("Task")?.unbind(),
            event_loop: event_loop.clone().unbind(),
            name: intern!(py, "podicorn-request").clone().unbind(),
            keywords: PyTuple::new(py, keywords.collect::<Vec<_>>())?.unbind(),
            eager,
        })
    }

    /// `Task(coroutine, loop=loop, name=name)`, in a copy of the current context.
    pub(super) fn make<'py>(&self, coroutine: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = coroutine.py();
        let eager = PyBool::new(py, true);
        // The first place is the callee's to use.
        let arguments = [
            ptr::null_mut(),
            coroutine.as_ptr(),
            self.event_loop.as_ptr(),
            self.name.as_ptr(),
            eager.as_ptr(),
        ];
        debug_assert_eq!(self.keywords.bind(py).len(), if self.eager { 3 } else { 2 });
        // SAFETY: one positional argument, then one value for each name in `keywords`, all alive for as long as the call
        // takes; the result is a new reference, or null with an exception set.
        unsafe {
            Bound::from_owned_ptr_or_err(
                py,
                ffi::PyObject_Vectorcall(
                    self.task.as_ptr(),
                    arguments.as_ptr().add(1),
                    1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                    self.keywords.as_ptr(),
                ),
            )
        }
    }
}
