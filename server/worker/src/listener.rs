//! A listening socket that all workers share.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{setsockopt, sockopt::TcpNoDelay};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::descriptor::{adopt, set_nonblocking};

/// What `SERVER_NAME` and `SERVER_PORT` are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerAddress {
    Internet {
        host: String,
        port: u16,
    },
    /// A unix socket: to WSGI the request's Host says it.
    Local {
        path: String,
    },
}

/// One listener of the `start` message.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
    pub(crate) address: ServerAddress,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Listener {
    /// Takes the descriptor over. It becomes non-blocking: a worker that another one was faster than must not sleep in
    /// `accept`.
    pub(crate) fn new(fd: RawFd, description: &Bound<'_, PyDict>) -> PyResult<Self> {
        let text = |name: &str| -> PyResult<Option<String>> {
            description
                .get_item(name)?
                .filter(|value| !value.is_none())
                .map(|value| value.extract())
                .transpose()
        };
        let fd = adopt(fd)?;
        set_nonblocking(&fd)?;
        let address = match text("family")?.as_deref() {
            Some("tcp") => {
                let port = description
                    .get_item("port")?
                    .ok_or_else(|| PyValueError::new_err("listener without port"))?;
                // Accepted sockets inherit it, which saves a system call per connection.
                let _ = setsockopt(&fd, TcpNoDelay, &true);
                ServerAddress::Internet { host: text("host")?.unwrap_or_default(), port: port.extract()? }
            }
            Some("unix") => ServerAddress::Local { path: text("path")?.unwrap_or_default() },
            other => {
                return Err(PyValueError::new_err(format!(
                    "listener of the family {other:?}: want tcp or unix"
                )));
            }
        };
        Ok(Self { fd, address })
    }
}
