//! What can go wrong in the engine, apart from what one client does to its own connection.

use nix::errno::Errno;
use podicorn_scoreboard::ScoreboardError;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::{PyErr, create_exception};

create_exception!(
    _engine,
    SlotLost,
    pyo3::exceptions::PyException,
    "The arbiter has given this worker's slot up: leave at once, by os._exit(0)."
);

create_exception!(
    _engine,
    NotInRustls,
    PyValueError,
    "What is wanted of TLS may be to be had of OpenSSL. Its arguments: the error, and what rustls does not have."
);

/// Every error that leaves the engine for Python.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// A system call failed; becomes an `OSError` with this errno.
    #[error("{what} failed: {errno}")]
    System { what: &'static str, errno: Errno },
    /// The access log's file cannot be opened.
    #[error(
        "cannot open the access log {path:?}: {errno}; name a file in a writable directory, or - for stdout"
    )]
    AccessLog { path: String, errno: Errno },
    /// A setting has a value that the engine cannot use; becomes a `ValueError`.
    #[error("setting {name}: {reason}")]
    Setting { name: &'static str, reason: String },
    /// `run`, `turn` or `fileno` in a process that was forked from the worker, or after the end.
    #[error("this engine no longer serves: {0}")]
    Closed(&'static str),
    #[error(transparent)]
    Scoreboard(#[from] ScoreboardError),
}

impl EngineError {
    /// For `map_err` on system calls.
    pub(crate) fn system(what: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::System { what, errno }
    }
}

impl From<EngineError> for PyErr {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        match error {
            EngineError::System { errno, .. } | EngineError::AccessLog { errno, .. } => {
                PyOSError::new_err((errno as i32, text))
            }
            EngineError::Setting { .. } => PyValueError::new_err(text),
            EngineError::Scoreboard(ScoreboardError::Lost { .. }) => SlotLost::new_err(text),
            EngineError::Closed(_) | EngineError::Scoreboard(_) => PyRuntimeError::new_err(text),
        }
    }
}
