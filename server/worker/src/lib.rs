//! `podicorn._engine`: the HTTP engine inside a Python worker.
//!
//! The contract of this crate (the Python side of it is PROTOCOL.md §5):
//!
//! - One thread runs one [`reactor`] on one epoll instance. Slow clients wait there, never in Python: the app is called
//!   with the request head and its body (up to `body_buffer`) complete, and what a client does not take of a finished
//!   response is sent by the reactor.
//! - The reactor knows neither Python nor the worker type. [`wsgi`] and [`asgi`] know what a request and a response are to
//!   Python. A worker type of WSGI ([`sync`]) is one small file that says how the app is called; ASGI's lives in a loop of
//!   Python's.
//! - Everything Python sees of a request ends with it: objects that the app keeps touch no socket afterwards.
//! - In children that the app forks, the engine lets go of its descriptors and touches neither the shared memory nor the
//!   parent's connections.
//! - An error on one connection ends that connection. A panic becomes a Python exception, not a dead process.
//! - Descriptors given to this module by number belong to it from then on.

mod access_log;
mod asgi;
mod clock;
mod collections;
mod date;
mod descriptor;
mod engine;
mod entry;
mod error;
mod fork;
mod green;
mod gthread;
mod last_moment;
mod listener;
mod log_trace;
mod memory;
mod options;
mod parts;
mod reactor;
mod slot;
mod stack_chunks;
mod stopping;
mod sync;
mod tls;
mod trace;
mod trust;
mod wsgi;

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Forks a worker: 0 in the worker, with all signals blocked; its pid in the fork server.
#[pyfunction]
fn fork_worker(py: Python<'_>, arbiter_pid: i32) -> PyResult<i32> {
    Ok(fork::fork_worker(py, arbiter_pid)?)
}

/// `PR_SET_PDEATHSIG`; 0 clears it.
#[pyfunction]
fn set_parent_death_signal(signal: i32) -> PyResult<()> {
    let signal = match signal {
        0 => None,
        number => Some(number.try_into().map_err(error::EngineError::system("the signal's number"))?),
    };
    Ok(nix::sys::prctl::set_pdeathsig(signal)
        .map_err(error::EngineError::system("prctl(PR_SET_PDEATHSIG)"))?)
}

/// Makes greenlets cheaper, from now on.
#[pyfunction]
fn keep_stack_chunks(py: Python<'_>) {
    stack_chunks::keep(py);
}

/// Ends the process at a moment of `time.monotonic()`, if it is still there.
#[pyfunction]
fn exit_at(moment: f64, code: i32) -> PyResult<()> {
    let moment =
        Duration::try_from_secs_f64(moment).map_err(|error| PyValueError::new_err(error.to_string()))?;
    last_moment::exit_at(u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX), code);
    Ok(())
}

// What is shared here between threads is guarded by the GIL as much as by locks: a build without it has to turn it on.
#[pymodule(gil_used = true)]
mod _engine {
    use podicorn_scoreboard::State;
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::collections::Collections;
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::engine::forks::{_after_fork_in_child, _after_fork_in_parent, _before_fork};
    #[pymodule_export]
    use super::entry::Entry;
    #[pymodule_export]
    use super::error::{NotInRustls, SlotLost};
    #[pymodule_export]
    use super::green::Request;
    #[pymodule_export]
    use super::slot::Slot;
    #[pymodule_export]
    use super::tls::context::TlsContext;
    #[pymodule_export]
    use super::tls::python::context::PythonTlsContext;
    #[pymodule_export]
    use super::wsgi::client_socket::ClientSocket;
    #[pymodule_export]
    use super::wsgi::errors::Errors;
    #[pymodule_export]
    use super::wsgi::file_wrapper::FileWrapper;
    #[pymodule_export]
    use super::wsgi::input::Input;
    #[pymodule_export]
    use super::wsgi::response::Response;
    #[pymodule_export]
    use super::{exit_at, fork_worker, keep_stack_chunks, set_parent_death_signal};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let states = [
            ("BOOTING", State::Booting),
            ("READY", State::Ready),
            ("DRAINING", State::Draining),
            ("EXITING", State::Exiting),
        ];
        for (name, state) in states {
            module.add(name, state as u64)?;
        }
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
