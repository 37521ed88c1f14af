//! The hooks `pre_request` and `post_request`, and the logger's method `access`, with the objects that Gunicorn gives them.
//! Nothing here runs unless one of them is set.

use podicorn_http::Scheme;
use podicorn_http::response::ResponseHead;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDelta, PyDict, PyList, PyString};

use super::response::Ended;
use super::text::native;
use crate::clock::{Nanos, SECOND};
use crate::options::Hooks;
use crate::reactor::conn::Connection;
use crate::reactor::socket::Peer;

const DAY: Nanos = 86_400 * SECOND;

/// The hooks of an engine.
pub(crate) struct RequestHooks {
    hooks: Hooks,
}

/// What a hook may want to know of a request, kept apart from the connection. Empty if there is no hook.
pub(crate) struct RequestView {
    facts: Option<Facts>,
}

struct Facts {
    method: Vec<u8>,
    uri: Vec<u8>,
    path: Vec<u8>,
    query: Vec<u8>,
    version: (u8, u8),
    headers: Vec<(String, Vec<u8>)>,
    scheme: &'static str,
    /// Who has connected: a proxy, perhaps.
    neighbour: Peer,
}

impl RequestHooks {
    pub(crate) fn new(hooks: Hooks) -> Self {
        Self { hooks }
    }

    fn worker<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.hooks.worker.as_ref().map_or_else(|| py.None().into_bound(py), |worker| worker.bind(py).clone())
    }

    /// `pre_request(worker, req)`. What it raises fails the request.
    pub(crate) fn before(&self, py: Python<'_>, view: &RequestView) -> PyResult<()> {
        if let Some(hook) = &self.hooks.pre_request {
            hook.bind(py).call1((self.worker(py), view.object(py)?))?;
        }
        Ok(())
    }

    /// `post_request(worker, req, environ, resp)`. `answer` makes the last one.
    pub(crate) fn after<'py>(
        &self,
        py: Python<'py>,
        view: &RequestView,
        environ: &Bound<'py, PyDict>,
        answer: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        if let Some(hook) = &self.hooks.post_request {
            hook.bind(py).call1((self.worker(py), view.object(py)?, environ, answer()?))?;
        }
        Ok(())
    }

    /// `logger.access(resp, req, environ, request_time)`, as Gunicorn's workers call it.
    pub(crate) fn log_access<'py>(
        &self,
        py: Python<'py>,
        view: &RequestView,
        environ: &Bound<'py, PyDict>,
        duration: Nanos,
        answer: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let Some(logger) = &self.hooks.access_logger else { return Ok(()) };
        let taken = PyDelta::new(
            py,
            i32::try_from(duration / DAY).unwrap_or(i32::MAX),
            (duration % DAY / SECOND) as i32,
            (duration % SECOND / 1000) as i32,
            false,
        )?;
        logger.bind(py).call_method1(intern!(py, "access"), (answer()?, view.object(py)?, environ, taken))?;
        Ok(())
    }

    /// Whether code of the app's runs behind a response.
    pub(crate) fn follow(&self) -> bool {
        self.logs_access() || self.has_after()
    }

    /// Whether there is an `access_logger`.
    pub(crate) fn logs_access(&self) -> bool {
        self.hooks.access_logger.is_some()
    }

    /// Whether `post_request` is set.
    pub(crate) fn has_after(&self) -> bool {
        self.hooks.post_request.is_some()
    }
}

impl RequestView {
    pub(crate) fn new(hooks: &RequestHooks, connection: &Connection) -> Self {
        let Hooks { pre_request, post_request, access_logger, .. } = &hooks.hooks;
        let wanted = pre_request.is_some() || post_request.is_some() || access_logger.is_some();
        Self { facts: wanted.then(|| Facts::of(connection)) }
    }

    /// An object with the attributes of Gunicorn's `Request`.
    fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let attributes = PyDict::new(py);
        if let Some(facts) = &self.facts {
            attributes.set_item("method", native(py, &facts.method))?;
            attributes.set_item("uri", native(py, &facts.uri))?;
            attributes.set_item("path", native(py, &facts.path))?;
            attributes.set_item("query", native(py, &facts.query))?;
            attributes.set_item("fragment", "")?;
            attributes.set_item("version", facts.version)?;
            attributes.set_item("scheme", facts.scheme)?;
            let headers = facts.headers.iter().map(|(name, value)| (name, native(py, value)));
            attributes.set_item("headers", PyList::new(py, headers.collect::<Vec<_>>())?)?;
            attributes.set_item("remote_addr", address(py, facts.neighbour)?)?;
            attributes.set_item("peer_addr", address(py, facts.neighbour)?)?;
        }
        namespace(py, &attributes)
    }
}

impl Facts {
    fn of(connection: &Connection) -> Self {
        let (head, raw) = (&connection.head, connection.raw.as_slice());
        let headers = head
            .fields(raw)
            .map(|(_, name, value)| (String::from_utf8_lossy(name).to_uppercase(), value.to_vec()))
            .collect();
        Self {
            method: head.method(raw).to_vec(),
            uri: head.target(raw).to_vec(),
            path: head.path(raw).to_vec(),
            query: head.query(raw).to_vec(),
            version: (head.version().major, head.version().minor),
            headers,
            scheme: if connection.scheme() == Scheme::Https { "https" } else { "http" },
            neighbour: connection.neighbour(),
        }
    }
}

/// As Gunicorn's parser has it.
fn address(py: Python<'_>, peer: Peer) -> PyResult<Bound<'_, PyAny>> {
    Ok(match peer {
        Peer::Internet(address) => (address.ip().to_string(), address.port()).into_pyobject(py)?.into_any(),
        Peer::Local => PyString::new(py, "").into_any(),
    })
}

/// What a hook may want to know of a response.
pub(crate) struct Answer<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) head_sent: bool,
    pub(crate) body_bytes: u64,
}

impl<'a> Answer<'a> {
    pub(crate) fn of(response: &'a Ended) -> Self {
        Self { head: &response.head, head_sent: response.head_sent, body_bytes: response.body_bytes }
    }

    /// An object with the attributes of Gunicorn's `Response` that hooks read.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let attributes = PyDict::new(py);
        attributes.set_item("status", native(py, self.head.status_text()))?;
        attributes.set_item("status_code", self.head.status())?;
        let headers = self.head.fields().map(|(name, value)| (native(py, name), native(py, value)));
        attributes.set_item("headers", PyList::new(py, headers.collect::<Vec<_>>())?)?;
        attributes.set_item("sent", self.body_bytes)?;
        attributes.set_item("response_length", self.head.content_length())?;
        attributes.set_item("headers_sent", self.head_sent)?;
        namespace(py, &attributes)
    }
}

fn namespace<'py>(py: Python<'py>, attributes: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    py.import("types")?.getattr("SimpleNamespace")?.call((), Some(attributes))
}
