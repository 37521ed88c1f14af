//! `gunicorn.socket` in environ: the client's socket, for apps that speak a protocol of their own (`WebSocket`) on it.
//!
//! Most apps never look at it, so it is made when the first attribute is asked for. From then on the connection is the
//! app's: the engine sends nothing more on it, and closes it when the request is over, as Gunicorn does.

use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use nix::sys::epoll::Epoll;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyString};

use super::response::Response;
use crate::descriptor::duplicate;
use crate::tls::describe::Facts;

/// What is the same for all sockets that are given away.
pub(crate) struct Giving {
    /// `factory(fd, residue) -> socket`.
    pub(crate) factory: Py<PyAny>,
    pub(crate) epoll: Weak<Epoll>,
}

/// How far the making of the real socket has come.
enum Made {
    No,
    /// Python is making it; no lock is held meanwhile.
    Begun,
    Yes(Py<PyAny>),
}

/// Stands for a `socket.socket` until it is used, and hands everything on to it afterwards.
#[pyclass(frozen, module = "podicorn._engine")]
pub(crate) struct ClientSocket {
    response: Py<Response>,
    made: Mutex<Made>,
}

impl ClientSocket {
    pub(crate) fn new(response: Py<Response>) -> Self {
        Self { response, made: Mutex::new(Made::No) }
    }

    fn made(&self, py: Python<'_>) -> MutexGuard<'_, Made> {
        self.made.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn socket<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        {
            let mut made = self.made(py);
            match &*made {
                Made::Yes(socket) => return Ok(socket.bind(py).clone()),
                Made::Begun => return Err(PyRuntimeError::new_err("gunicorn.socket is just being made")),
                Made::No => *made = Made::Begun,
            }
        }
        let socket = self.make(py);
        *self.made(py) = socket.as_ref().map_or(Made::No, |socket| Made::Yes(socket.clone().unbind()));
        socket
    }

    fn make<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(view) = self.response.try_borrow(py)?.kept_by_the_engine() {
            return describe(py, view);
        }
        let given = self.response.try_borrow_mut(py)?.give_away();
        let given = given
            .ok_or_else(|| PyRuntimeError::new_err("gunicorn.socket is used after the end of the request"))?;
        // What comes from the client is no news to the reactor any more.
        let giving = given.common.giving();
        if let Some(epoll) = giving.epoll.upgrade() {
            let _ = epoll.delete(&*given.socket);
        }
        let copy = duplicate(given.socket.as_fd().as_raw_fd())?;
        giving.factory.bind(py).call1((copy.into_raw_fd(), PyBytes::new(py, &given.residue)))
    }
}

/// Over TLS and HTTP/2 the engine keeps the connection, and the app may ask about the session.
fn describe(py: Python<'_>, facts: Facts) -> PyResult<Bound<'_, PyAny>> {
    let chain = facts.client.iter().map(|der| PyBytes::new(py, der)).collect::<Vec<_>>();
    let view = py.import(intern!(py, "podicorn.client_socket"))?.getattr("SecureSocket")?;
    let grade = facts.grade.map(|grade| (grade.version, grade.bits));
    view.call1((facts.version, facts.cipher, grade, facts.protocol, chain))
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
