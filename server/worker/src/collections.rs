//! What Python's garbage collector does, for the scoreboard: a function for `gc.callbacks`.
//!
//! It costs two reads of the clock for each collection, and nothing for a request. A collection may begin at any
//! allocation, so nothing here calls Python while a lock is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::clock::monotonic;
use crate::slot::SharedSlot;

/// `collections(phase, info)`, as `gc` calls it at the start and the stop of a collection.
#[pyclass(frozen, module = "podicorn._engine")]
pub(crate) struct Collections {
    slot: Arc<SharedSlot>,
    /// When the one that runs began; 0: none does. The collector never runs twice at a time.
    begun: AtomicU64,
}

impl Collections {
    pub(crate) fn new(slot: &Arc<SharedSlot>) -> Self {
        Self { slot: Arc::clone(slot), begun: AtomicU64::new(0) }
    }
}

#[pymethods]
impl Collections {
    fn __call__(&self, phase: &str, info: &Bound<'_, PyDict>) -> PyResult<()> {
        if phase == "start" {
            self.begun.store(monotonic(), Ordering::Relaxed);
            return Ok(());
        }
        let begun = self.begun.swap(0, Ordering::Relaxed);
        if begun == 0 {
            return Ok(());
        }
        let number =
            |key: &str| -> PyResult<u64> { info.get_item(key)?.map_or(Ok(0), |value| value.extract()) };
        let (generation, freed) = (number("generation")?, number("collected")?);
        let took = monotonic().saturating_sub(begun);
        self.slot.collected(usize::try_from(generation).unwrap_or(usize::MAX), took, freed);
        Ok(())
    }
}
