//! Between the bytes of HTTP and the "native strings" of PEP 3333: text whose code points are bytes (latin-1).

use std::borrow::Cow;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// Bytes as a native string.
pub(crate) fn native<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => PyString::new(py, text),
        _ => PyString::new(py, &bytes.iter().map(|byte| char::from(*byte)).collect::<String>()),
    }
}

/// A native string as bytes; `ValueError` if it has characters beyond latin-1. `what` names it in the message.
pub(crate) fn bytes_of<'a>(text: &'a Bound<'_, PyString>, what: &str) -> PyResult<Cow<'a, [u8]>> {
    let utf8 = text.to_str()?;
    if utf8.is_ascii() {
        return Ok(Cow::Borrowed(utf8.as_bytes()));
    }
    let bytes: Result<Vec<u8>, _> =
        utf8.chars().map(|character| u8::try_from(u32::from(character))).collect();
    bytes.map(Cow::Owned).map_err(|_| {
        PyValueError::new_err(format!(
            "{what} has characters beyond latin-1, which HTTP cannot carry (PEP 3333)"
        ))
    })
}
