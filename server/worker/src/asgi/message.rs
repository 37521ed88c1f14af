//! The app's messages to the server, taken apart.

use std::borrow::Cow;
use std::path::PathBuf;

use podicorn_http::response::InvalidResponse;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyMemoryView, PyString, PyTuple};

use crate::wsgi::text::bytes_of;

/// A message of the http scope. `headers` are not looked at yet.
pub(super) enum Message<'py> {
    /// `http.response.start`.
    Start { status: u16, headers: Option<Bound<'py, PyAny>>, trailers: bool },
    /// `http.response.body`.
    Body { body: Bound<'py, PyBytes>, more: bool },
    /// `http.response.trailers`.
    Trailers { headers: Option<Bound<'py, PyAny>>, more: bool },
    /// `http.response.pathsend`.
    Path(PathBuf),
    /// `http.response.informational`, as Gunicorn has it, or `http.response.early_hint`.
    Interim { status: u16, headers: Option<Bound<'py, PyAny>> },
    /// `http.response.early_hint`: the values of Link fields.
    Hints(Bound<'py, PyAny>),
}

/// A message and its type.
pub(super) fn typed<'a, 'py>(
    message: &'a Bound<'py, PyAny>,
) -> PyResult<(&'a Bound<'py, PyDict>, Bound<'py, PyString>)> {
    let message = message
        .cast::<PyDict>()
        .map_err(|_| PyTypeError::new_err(format!("a message must be a dict, not {}", kind(message))))?;
    let named = message.get_item(intern!(message.py(), "type"))?;
    let named = named.ok_or_else(|| PyValueError::new_err("a message must have the key \"type\""))?;
    let named =
        named.cast_into::<PyString>().map_err(|_| PyTypeError::new_err("a message's type must be a str"))?;
    Ok((message, named))
}

impl<'py> Message<'py> {
    pub(super) fn read(message: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = message.py();
        let (message, named) = typed(message)?;
        Ok(match named.to_str()? {
            "http.response.body" => Self::Body {
                body: match message.get_item(intern!(py, "body"))? {
                    Some(body) => as_bytes(body)?,
                    None => PyBytes::new(py, b""),
                },
                more: flag(message, intern!(py, "more_body"))?,
            },
            "http.response.start" => Self::Start {
                status: status(message)?,
                headers: message.get_item(intern!(py, "headers"))?,
                trailers: flag(message, intern!(py, "trailers"))?,
            },
            "http.response.trailers" => Self::Trailers {
                headers: message.get_item(intern!(py, "headers"))?,
                more: flag(message, intern!(py, "more_trailers"))?,
            },
            "http.response.pathsend" => Self::Path(
                message
                    .get_item(intern!(py, "path"))?
                    .ok_or_else(|| PyValueError::new_err("http.response.pathsend needs the key \"path\""))?
                    .extract()?,
            ),
            "http.response.informational" => {
                Self::Interim { status: status(message)?, headers: message.get_item(intern!(py, "headers"))? }
            }
            "http.response.early_hint" => {
                Self::Hints(message.get_item(intern!(py, "links"))?.ok_or_else(|| {
                    PyValueError::new_err("http.response.early_hint needs the key \"links\"")
                })?)
            }
            other => {
                return Err(PyValueError::new_err(format!(
                    "unknown message type {other:?} for the scope http"
                )));
            }
        })
    }
}

pub(super) fn kind(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

pub(super) fn flag(message: &Bound<'_, PyDict>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    message.get_item(name)?.map_or(Ok(false), |value| value.is_truthy())
}

pub(super) fn status(message: &Bound<'_, PyDict>) -> PyResult<u16> {
    let status = message.get_item(intern!(message.py(), "status"))?;
    status
        .and_then(|status| status.extract().ok())
        .filter(|status| (100..=999).contains(status))
        .ok_or_else(|| PyValueError::new_err("a response needs a \"status\" from 100 to 999, as an int"))
}

/// The bytes of a body. What the app may change later is copied.
pub(super) fn as_bytes(body: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyBytes>> {
    let body = match body.cast_into_exact::<PyBytes>() {
        Ok(bytes) => return Ok(bytes),
        Err(other) => other.into_inner(),
    };
    let py = body.py();
    if body.is_instance_of::<PyBytes>()
        || body.is_instance_of::<PyByteArray>()
        || body.is_instance_of::<PyMemoryView>()
    {
        return Ok(py.get_type::<PyBytes>().call1((body,))?.cast_into_exact()?);
    }
    if body.is_none() {
        return Ok(PyBytes::new(py, b""));
    }
    Err(PyTypeError::new_err(format!("the app gave {} where bytes are wanted", kind(&body))))
}

/// Calls `take` with the name and value of each header field.
pub(super) fn each_header(
    headers: Option<&Bound<'_, PyAny>>,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), InvalidResponse>,
) -> PyResult<()> {
    let Some(headers) = headers else { return Ok(()) };
    let mut one = |pair: &Bound<'_, PyAny>| -> PyResult<()> {
        let (name, value) = parts(pair)?;
        take(&text(&name)?, &text(&value)?).map_err(|error| PyValueError::new_err(error.to_string()))
    };
    if let Ok(list) = headers.cast::<PyList>() {
        return list.iter().try_for_each(|pair| one(&pair));
    }
    for pair in headers.try_iter()? {
        one(&pair?)?;
    }
    Ok(())
}

fn parts<'py>(pair: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    if let Ok(tuple) = pair.cast::<PyTuple>()
        && tuple.len() == 2
    {
        return Ok((tuple.get_item(0)?, tuple.get_item(1)?));
    }
    if let Ok(list) = pair.cast::<PyList>()
        && list.len() == 2
    {
        return Ok((list.get_item(0)?, list.get_item(1)?));
    }
    Err(PyTypeError::new_err("a header is not a pair of name and value, as two bytes objects"))
}

/// A name or value. The specification wants bytes; text is taken as latin-1, as Gunicorn takes it.
fn text<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Cow::Borrowed(bytes.as_bytes()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return bytes_of(text, "a header");
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(Cow::Owned(bytes.to_vec()));
    }
    Err(PyTypeError::new_err(format!("a header has {} where bytes are wanted", kind(value))))
}

/// The Link fields of early hints.
pub(super) fn links(links: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<u8>>> {
    links.try_iter()?.map(|link| Ok(text(&link?)?.into_owned())).collect()
}
