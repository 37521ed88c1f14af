//! What the app has returned: an iterable over `bytes` (PEP 3333, "Buffering and Streaming").

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::file_wrapper::FileWrapper;
use super::response::Response;

/// Sends what the app has returned, and closes it.
pub(super) fn send_body(response: &Bound<'_, Response>, iterable: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(wrapper) = iterable.cast_exact::<FileWrapper>()
        && let Some(part) = wrapper.get().part(iterable.py())
    {
        let mut answer = response.try_borrow_mut()?;
        let sent = answer.write_file(part).and_then(|()| answer.finish(false));
        drop(answer);
        let closed = iterable.call_method0(intern!(iterable.py(), "close"));
        sent?;
        return closed.map(|_| ());
    }
    let whole = if let Ok(list) = iterable.cast_exact::<PyList>() {
        Some(list.iter().map(as_bytes).collect::<PyResult<Vec<_>>>()?)
    } else if let Ok(tuple) = iterable.cast_exact::<PyTuple>() {
        Some(tuple.iter().map(as_bytes).collect::<PyResult<Vec<_>>>()?)
    } else {
        None
    };
    if let Some(pieces) = whole {
        let mut response = response.try_borrow_mut()?;
        response.write_all(&pieces)?;
        return response.finish(true);
    }
    let sent = send_each(response, iterable);
    // PEP 3333: close() is called however the iteration ended.
    let closed = iterable
        .getattr_opt(intern!(iterable.py(), "close"))
        .and_then(|close| close.map(|close| close.call0()).transpose());
    sent?;
    closed.map(|_| ())
}

fn as_bytes(piece: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyBytes>> {
    piece.cast_into::<PyBytes>().map_err(|wrong| {
        let name =
            wrong.into_inner().get_type().name().map_or_else(|_| String::new(), |name| name.to_string());
        PyTypeError::new_err(format!("the app gave {name} where bytes are wanted"))
    })
}

fn send_each(response: &Bound<'_, Response>, iterable: &Bound<'_, PyAny>) -> PyResult<()> {
    for piece in iterable.try_iter()? {
        Response::write(response, &piece?)?;
    }
    response.try_borrow_mut()?.finish(false)
}
