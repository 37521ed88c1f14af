//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling").

use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;

/// `FileWrapper(filelike, blksize=8192)`: an iterable over blocks of a file.
#[pyclass(frozen, dict, weakref, module = "podicorn._engine")]
pub(crate) struct FileWrapper {
    #[pyo3(get)]
    filelike: Py<PyAny>,
    #[pyo3(get)]
    blksize: usize,
}

impl FileWrapper {
    /// The next block; `None` at the end.
    fn block(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let block = self.filelike.bind(py).call_method1(pyo3::intern!(py, "read"), (self.blksize,))?;
        Ok(if block.is_truthy()? { Some(block.unbind()) } else { None })
    }
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, blksize = 8192))]
    fn new(filelike: Bound<'_, PyAny>, blksize: usize) -> PyResult<Self> {
        if blksize == 0 {
            return Err(PyTypeError::new_err("blksize must be positive"));
        }
        Ok(Self { filelike: filelike.unbind(), blksize })
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.block(py)
    }

    /// The protocol of old: by index, until `IndexError`.
    fn __getitem__(&self, py: Python<'_>, _index: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.block(py)?.ok_or_else(|| PyIndexError::new_err("end of file"))
    }

    /// Closes the file, if it can be closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(close) = self.filelike.bind(py).getattr_opt(pyo3::intern!(py, "close"))? {
            close.call0()?;
        }
        Ok(())
    }
}
