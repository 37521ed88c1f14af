//! What the app calls: `start_response`, `write()` and `wsgi.early_hints`.

use std::borrow::Cow;

use podicorn_http::response::{InvalidResponse, write_early_hints, write_trailer};
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::response::Response;
use super::text::bytes_of;

fn invalid(error: &InvalidResponse) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A member of a `(name, value)` pair, as bytes.
fn header_text<'a>(text: &'a Bound<'_, PyAny>, what: &str) -> PyResult<Cow<'a, [u8]>> {
    let text = text
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("{what} {} is not a str", shown(text))))?;
    bytes_of(text, what)
}

fn shown(value: &Bound<'_, PyAny>) -> String {
    value.repr().map_or_else(|_| "given".to_owned(), |text| text.to_string())
}

/// Calls `take` with each pair of `headers`.
fn each_header(
    headers: &Bound<'_, PyAny>,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), InvalidResponse>,
) -> PyResult<()> {
    let mut each = |pair: &Bound<'_, PyAny>| {
        let wrong = || PyTypeError::new_err(format!("header {} is not a (name, value) tuple", shown(pair)));
        let (name, value) = match pair.cast::<PyTuple>() {
            Ok(tuple) if tuple.len() == 2 => (tuple.get_item(0)?, tuple.get_item(1)?),
            Ok(_) => return Err(wrong()),
            Err(_) => pair.extract().map_err(|_| wrong())?,
        };
        take(&header_text(&name, "header name")?, &header_text(&value, "header value")?)
            .map_err(|error| invalid(&error))
    };
    if let Ok(list) = headers.cast_exact::<PyList>() {
        return list.iter().try_for_each(|pair| each(&pair));
    }
    headers.try_iter()?.try_for_each(|pair| each(&pair?))
}

#[pymethods]
impl Response {
    /// PEP 3333, "The `start_response()` Callable".
    #[pyo3(signature = (status, headers, exc_info = None))]
    fn start_response<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyTuple>>,
    ) -> PyResult<Bound<'py, Self>> {
        // The code of an iterable that is no list must find the response free.
        let headers = match headers.cast_exact::<PyList>() {
            Ok(list) => list.clone(),
            Err(_) => headers
                .try_iter()?
                .collect::<PyResult<Vec<_>>>()
                .and_then(|pairs| PyList::new(slf.py(), pairs))?,
        };
        let mut this = slf.try_borrow_mut()?;
        if this.is_over() {
            return Err(PyRuntimeError::new_err("start_response is called after the end of the request"));
        }
        match exc_info {
            Some(exc_info) if this.head_sent => {
                // Too late for another head: the app's exception goes on.
                return Err(PyErr::from_value(exc_info.get_item(1)?));
            }
            None if this.started => return Err(PyAssertionError::new_err("Response headers already set!")),
            _ => {}
        }
        this.head.clear();
        this.started = false;
        let status = header_text(status, "status")?;
        this.head.set_status(&status).map_err(|error| invalid(&error))?;
        let Response { head, started, question, .. } = &mut *this;
        each_header(&headers, |name, value| head.add_header(name, value))?;
        if head.status() == 101 && !(question.upgrade && head.upgrade()) {
            // RFC 9110 §7.8, §15.2: the client has to ask for it, and to be told what to.
            return Err(PyValueError::new_err(
                "status 101 needs a request of HTTP/1.1 that asks for an upgrade, and an Upgrade header that answers",
            ));
        }
        *started = true;
        drop(this);
        Ok(slf.clone())
    }

    /// The `write()` callable (PEP 3333).
    #[pyo3(signature = (data, /))]
    fn __call__(slf: &Bound<'_, Self>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::write(slf, data)?;
        // Even an empty string sends the head here, as in Gunicorn: the app asks for output now.
        let begun = {
            let mut this = slf.try_borrow_mut()?;
            let begins = !this.head_sent;
            if begins {
                this.begin(None)?;
            }
            begins
        };
        if begun { Self::send_all(slf) } else { Ok(()) }
    }

    /// `wsgi.early_hints`: sends a 103 response with these headers; ignored for HTTP/1.0 and after the head.
    #[pyo3(signature = (headers, /))]
    fn early_hints(slf: &Bound<'_, Self>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        if slf.try_borrow()?.ignores_hints() {
            return Ok(());
        }
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for pair in headers.try_iter()? {
            let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair?.extract()?;
            let bytes = |text: &Bound<'_, PyAny>, what| match text.cast::<PyBytes>() {
                Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
                Err(_) => header_text(text, what).map(Cow::into_owned),
            };
            pairs.push((bytes(&name, "header name")?, bytes(&value, "header value")?));
        }
        let fields = pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        {
            let mut this = slf.try_borrow_mut()?;
            if this.ignores_hints() {
                return Ok(());
            }
            write_early_hints(&mut this.buffer, fields).map_err(|error| invalid(&error))?;
        }
        Self::send_all(slf)
    }

    /// `gunicorn.http2.send_trailers`: the fields that follow the body; a second call replaces those of the first.
    #[pyo3(signature = (trailers, /))]
    fn send_trailers(slf: &Bound<'_, Self>, trailers: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut text = Vec::new();
        each_header(trailers, |name, value| write_trailer(&mut text, name, value))?;
        slf.try_borrow_mut()?.set_trailers(text)
    }
}
