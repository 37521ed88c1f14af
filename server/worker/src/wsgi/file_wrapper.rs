//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling").

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::stat::{SFlag, fstat};
use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::descriptor::duplicate;
use crate::reactor::outbound::FilePart;

/// The setting `sendfile`.
static SENDFILE: AtomicBool = AtomicBool::new(true);

/// Whether the kernel may send files by itself.
pub(crate) fn use_sendfile(allowed: bool) {
    SENDFILE.store(allowed, Ordering::Relaxed);
}

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

    /// The rest of the file for the kernel to send, where that is sure to be what `read` would give: a regular file,
    /// opened by Python's own binary classes. Wrappers with a `fileno`, `GzipFile` say, may give other bytes.
    pub(super) fn part(&self, py: Python<'_>) -> Option<FilePart> {
        if !SENDFILE.load(Ordering::Relaxed) {
            return None;
        }
        // What fails here fails again, and is told, when the file is read.
        self.find_part(py).ok().flatten()
    }

    fn find_part(&self, py: Python<'_>) -> PyResult<Option<FilePart>> {
        let file = self.filelike.bind(py);
        let io = py.import(intern!(py, "io"))?;
        let is_a = |class| Ok::<_, PyErr>(file.get_type().is(&io.getattr(class)?));
        let buffered = is_a(intern!(py, "BufferedRandom"))?;
        if !(buffered || is_a(intern!(py, "BufferedReader"))? || is_a(intern!(py, "FileIO"))?) {
            return Ok(None);
        }
        if buffered {
            file.call_method0(intern!(py, "flush"))?;
        }
        let offset: i64 = file.call_method0(intern!(py, "tell"))?.extract()?;
        let file = duplicate(file.call_method0(intern!(py, "fileno"))?.extract()?)?;
        let Ok(facts) = fstat(&file) else { return Ok(None) };
        let regular = SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
        let length = u64::try_from(facts.st_size.saturating_sub(offset)).unwrap_or(0);
        Ok(regular.then_some(FilePart { file, offset, length }))
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
