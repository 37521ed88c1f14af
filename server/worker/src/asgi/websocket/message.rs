//! The app's messages of the websocket scope, taken apart.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::asgi::message::{as_bytes, flag, kind, status, typed};

/// A message of the websocket scope. `headers` are not looked at yet.
pub(super) enum Message<'py> {
    /// `websocket.accept`.
    Accept {
        subprotocol: Option<Bound<'py, PyString>>,
        headers: Option<Bound<'py, PyAny>>,
    },
    /// `websocket.send`.
    Text(Bound<'py, PyString>),
    Binary(Bound<'py, PyBytes>),
    /// `websocket.close`.
    Close {
        code: u16,
        reason: Option<Bound<'py, PyString>>,
    },
    /// `websocket.http.response.start`.
    DenialStart {
        status: u16,
        headers: Option<Bound<'py, PyAny>>,
    },
    /// `websocket.http.response.body`.
    DenialBody {
        body: Bound<'py, PyBytes>,
        more: bool,
    },
}

impl<'py> Message<'py> {
    pub(super) fn read(message: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = message.py();
        let (message, named) = typed(message)?;
        Ok(match named.to_str()? {
            "websocket.send" => send(message)?,
            "websocket.accept" => Self::Accept {
                subprotocol: text(message, intern!(py, "subprotocol"))?,
                headers: message.get_item(intern!(py, "headers"))?,
            },
            "websocket.close" => Self::Close {
                code: match message.get_item(intern!(py, "code"))?.filter(|code| !code.is_none()) {
                    Some(code) => code
                        .extract()
                        .map_err(|_| PyValueError::new_err("a close code must be an int, 1000 to 4999"))?,
                    None => 1000,
                },
                reason: text(message, intern!(py, "reason"))?,
            },
            "websocket.http.response.start" => Self::DenialStart {
                status: status(message)?,
                headers: message.get_item(intern!(py, "headers"))?,
            },
            "websocket.http.response.body" => Self::DenialBody {
                body: match message.get_item(intern!(py, "body"))? {
                    Some(body) => as_bytes(body)?,
                    None => PyBytes::new(py, b""),
                },
                more: flag(message, intern!(py, "more_body"))?,
            },
            other => {
                return Err(PyValueError::new_err(format!(
                    "unknown message type {other:?} for the scope websocket"
                )));
            }
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Accept { .. } => "websocket.accept",
            Self::Text(_) | Self::Binary(_) => "websocket.send",
            Self::Close { .. } => "websocket.close",
            Self::DenialStart { .. } => "websocket.http.response.start",
            Self::DenialBody { .. } => "websocket.http.response.body",
        }
    }
}

/// Exactly one of `bytes` and `text` is to be there; bytes count if both are, as in uvicorn.
fn send<'py>(message: &Bound<'py, PyDict>) -> PyResult<Message<'py>> {
    let py = message.py();
    if let Some(data) = message.get_item(intern!(py, "bytes"))?.filter(|data| !data.is_none()) {
        return Ok(Message::Binary(as_bytes(data)?));
    }
    text(message, intern!(py, "text"))?
        .map(Message::Text)
        .ok_or_else(|| PyValueError::new_err("websocket.send needs \"bytes\" or \"text\""))
}

fn text<'py>(
    message: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyString>>> {
    let Some(value) = message.get_item(key)?.filter(|value| !value.is_none()) else { return Ok(None) };
    value.cast_into::<PyString>().map(Some).map_err(|error| {
        PyTypeError::new_err(format!("{key:?} is {} where a str is wanted", kind(&error.into_inner())))
    })
}
