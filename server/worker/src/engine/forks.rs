//! Forks by the app: what a child must let go of, and whether it may hold copies of descriptors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Core, set_wakeup_fd};
use crate::slot;

/// For the after-fork hook, which has no other way to the engines.
static ENGINES: Mutex<Vec<Weak<Core>>> = Mutex::new(Vec::new());

/// The app has forked, so a child may hold copies of the connections' descriptors.
static HAS_FORKED: AtomicBool = AtomicBool::new(false);

/// Whether the app has ever forked. Programs that it starts do not count: descriptors are close-on-exec.
pub(crate) fn has_forked() -> bool {
    HAS_FORKED.load(Ordering::Relaxed)
}

/// The hook for `os.register_at_fork(before=…)`.
#[pyfunction]
pub(crate) fn _before_fork() {
    HAS_FORKED.store(true, Ordering::Relaxed);
    slot::forking(true);
}

/// The hook for `os.register_at_fork(after_in_parent=…)`; a fork that has failed ends here, too.
#[pyfunction]
pub(crate) fn _after_fork_in_parent() {
    slot::forking(false);
}

/// The hook for `os.register_at_fork(after_in_child=…)`.
#[pyfunction]
pub(crate) fn _after_fork_in_child(py: Python<'_>) -> PyResult<()> {
    let engines = ENGINES.try_lock().map(|engines| engines.clone()).unwrap_or_default();
    for core in engines.iter().filter_map(Weak::upgrade) {
        core.disable();
    }
    if slot::disable_all() {
        // The pipe is the parent's too: a signal to this child must not wake it.
        set_wakeup_fd(py, -1)?;
    }
    Ok(())
}

/// An engine that a fork is to reach.
pub(super) fn register(core: &Arc<Core>) {
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    engines.retain(|engine| engine.strong_count() > 0);
    engines.push(Arc::downgrade(core));
}

/// From now on a child that the app forks lets go of the slot and of the engines.
pub(crate) fn hear_of_forks(py: Python<'_>) -> PyResult<()> {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        let hook = wrap_pyfunction!(_after_fork_in_child, py)?;
        let arguments = PyDict::new(py);
        arguments.set_item("before", wrap_pyfunction!(_before_fork, py)?)?;
        arguments.set_item("after_in_parent", wrap_pyfunction!(_after_fork_in_parent, py)?)?;
        arguments.set_item("after_in_child", hook)?;
        py.import("os")?.call_method("register_at_fork", (), Some(&arguments))?;
    }
    Ok(())
}
