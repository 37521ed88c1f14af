//! By what a worker speaks TLS: rustls, or Python's `ssl`.

use std::sync::Arc;

use nix::errno::Errno;
use pyo3::prelude::*;

use super::context::{Tls, TlsContext};
use super::python::context::{PythonTls, PythonTlsContext};
use super::python::pump::Pump;
use crate::clock::Nanos;
use crate::reactor::socket::Socket;
use crate::reactor::wake::Wake;

/// What all workers have.
#[derive(Clone)]
pub(crate) enum Context {
    Rustls(Arc<Tls>),
    Python(Arc<PythonTls>),
}

impl Context {
    /// The option `tls` of an engine.
    pub(crate) fn read(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(python) = given.cast::<PythonTlsContext>() {
            return Ok(Self::Python(Arc::clone(&python.get().0)));
        }
        Ok(Self::Rustls(Arc::clone(&given.cast::<TlsContext>()?.get().0)))
    }

    /// In a worker. `stall`: `stall_timeout`; `wake` tells its reactor.
    pub(crate) fn enter(&self, py: Python<'_>, stall: Option<Nanos>, wake: &Arc<Wake>) -> PyResult<Entrance> {
        Ok(match self {
            Self::Rustls(tls) => Entrance::Rustls(Arc::clone(tls)),
            Self::Python(tls) => Entrance::Python(Pump::start(py, Arc::clone(tls), stall, Arc::clone(wake))?),
        })
    }

    /// Reads the files again if they have changed. `None`: they have not.
    pub(crate) fn refresh(&self, py: Python<'_>) -> Option<Result<(), String>> {
        match self {
            Self::Rustls(tls) => tls.refresh().map(|read| read.map_err(|error| error.to_string())),
            Self::Python(tls) => tls.refresh(py),
        }
    }
}

/// Where the clients of one worker come in.
pub(crate) enum Entrance {
    Rustls(Arc<Tls>),
    Python(Pump),
}

impl Entrance {
    /// Whether there is room for another client.
    pub(crate) fn prepare(&self) -> Result<(), Errno> {
        match self {
            Self::Rustls(_) => Ok(()),
            Self::Python(pump) => pump.prepare(),
        }
    }

    /// For a client that has just come.
    pub(crate) fn secure(&self, socket: Socket) -> Result<Socket, Errno> {
        match self {
            Self::Rustls(tls) => {
                // The configuration was tried before: there is no memory, or no random numbers.
                socket.secure(tls.session().map_err(|_| Errno::ENOMEM)?);
                Ok(socket)
            }
            Self::Python(pump) => pump.admit(socket),
        }
    }

    /// Whether nothing is on its way that the reactor has let go of.
    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Self::Rustls(_) => true,
            Self::Python(pump) => pump.is_idle(),
        }
    }

    /// The reactor has let go of all. Call it without the GIL.
    pub(crate) fn finish(&self) {
        if let Self::Python(pump) = self {
            pump.finish();
        }
    }
}
