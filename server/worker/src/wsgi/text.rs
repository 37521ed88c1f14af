//! Between the bytes of HTTP and the "native strings" of PEP 3333: text whose code points are bytes (latin-1).
#![allow(unsafe_code)] // CPython's own latin-1 decoder, and its strings' storage, without detours through UTF-8

use std::borrow::Cow;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::types::string::PyStringData;

/// Bytes as a native string.
pub(crate) fn native<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    // A slice is never longer than isize::MAX.
    let length = bytes.len().cast_signed();
    // SAFETY: pointer and length are of one live slice, `errors` may be null, and the result is a new reference to a str;
    // without memory it is null, and `from_owned_ptr` panics as `PyString::new` does.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null());
        Bound::from_owned_ptr(py, text).cast_into_unchecked()
    }
}

/// A native string as bytes; `ValueError` if it has characters beyond latin-1. `what` names it in the message.
pub(crate) fn bytes_of<'a>(text: &'a Bound<'_, PyString>, what: &str) -> PyResult<Cow<'a, [u8]>> {
    // SAFETY: a str does not change, and the borrow of `text` keeps it alive; the storage is CPython's, on Linux.
    match unsafe { text.data() }? {
        // One byte for each character, which is what latin-1 means.
        PyStringData::Ucs1(bytes) => Ok(Cow::Borrowed(bytes)),
        PyStringData::Ucs2(_) | PyStringData::Ucs4(_) => Err(PyValueError::new_err(format!(
            "{what} has characters beyond latin-1, which HTTP cannot carry (PEP 3333)"
        ))),
    }
}
