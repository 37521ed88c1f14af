//! `gunicorn.socket` in environ: the client's socket, for apps that speak a protocol of their own (`WebSocket`) on it.
//!
//! Most apps never look at it, so it is made when the first attribute is asked for. From then on the connection is the
//! app's: the engine sends nothing more on it, and closes it when the request is over, as Gunicorn does.

use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyString};

use super::response::Response;
use crate::descriptor::duplicate;

/// Stands for a `socket.socket` until it is used, and hands everything on to it afterwards.
#[pyclass(frozen, module = "podicorn._engine")]
pub(crate) struct ClientSocket {
    response: Py<Response>,
    made: Mutex<Option<Py<PyAny>>>,
}

impl ClientSocket {
    pub(crate) fn new(response: Py<Response>) -> Self {
        Self { response, made: Mutex::new(None) }
    }

    fn socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut made = self.made.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = &*made {
            return Ok(socket.bind(py).clone());
        }
        let given = self.response.try_borrow_mut(py)?.give_away();
        let (socket, residue) = given
            .ok_or_else(|| PyRuntimeError::new_err("gunicorn.socket is used after the end of the request"))?;
        let copy = duplicate(socket.as_fd().as_raw_fd())?;
        let socket = py
            .import(intern!(py, "podicorn.client_socket"))?
            .getattr(intern!(py, "ClientSocket"))?
            .call1((copy.into_raw_fd(), PyBytes::new(py, &residue)))?;
        *made = Some(socket.clone().unbind());
        Ok(socket)
    }
}

#[pymethods]
impl ClientSocket {
    fn __getattr__<'py>(&self, py: Python<'py>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.socket(py)?.getattr(name)
    }

    fn __enter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.socket(py)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.socket(py)?.call_method0(intern!(py, "close")).map(|_| ())
    }
}
