//! The `scope` of a request (ASGI, "HTTP Connection Scope").
//!
//! A dict per listener holds what never changes, and a place for everything else; it is copied for each request. Names of
//! header fields are remembered in lower case, so that a request makes no bytes object of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;
use podicorn_http::target::percent_decode;
use podicorn_http::websocket::subprotocols;
use podicorn_http::{Scheme, Version, list_members};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::listener::ServerAddress;
use crate::reactor::conn::Connection;
use crate::reactor::socket::Peer;
use crate::tls::describe::{Facts, pem, subject};
use crate::trace::RequestTrace;
use crate::wsgi::service::{is_traceparent, is_tracestate};
use crate::wsgi::text::native;

/// How many header names are remembered; clients could otherwise fill the memory.
const NAMES: usize = 512;
/// Longer names are not worth remembering.
const NAME_BYTES: usize = 64;

/// Names in lower case, by names as sent.
type Names = HashMap<Box<[u8]>, Py<PyBytes>, RandomState>;

/// Makes scopes.
pub(super) struct ScopeFactory {
    template: Py<PyDict>,
    /// `server`, by listener.
    servers: Vec<Server>,
    version: Py<PyDict>,
    /// Of the lifespan.
    state: Py<PyDict>,
    extensions: Py<PyDict>,
    /// Without a slash at its end.
    root_path: String,
    /// Names in lower case, by names as sent.
    names: Mutex<Names>,
}

/// What is the same for all requests of a connection.
pub(super) struct Ends {
    client: Py<PyAny>,
    server: Py<PyAny>,
    /// The extension `tls`, where that is spoken.
    tls: Option<Py<PyDict>>,
}

impl Ends {
    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            client: self.client.clone_ref(py),
            server: self.server.clone_ref(py),
            tls: self.tls.as_ref().map(|tls| tls.clone_ref(py)),
        }
    }
}

/// The value of `server`.
enum Server {
    Known(Py<PyAny>),
    /// A wildcard address: each connection has its own.
    Asked,
}

impl ScopeFactory {
    /// `files`: the kernel may send files by itself.
    pub(super) fn new(
        py: Python<'_>,
        listeners: &[ServerAddress],
        root_path: &str,
        state: Py<PyDict>,
        files: bool,
    ) -> PyResult<Self> {
        let version = PyDict::new(py);
        version.set_item("version", "3.0")?;
        version.set_item("spec_version", "2.5")?;
        let extensions = PyDict::new(py);
        if files {
            extensions.set_item("http.response.pathsend", PyDict::new(py))?;
        }
        extensions.set_item("http.response.early_hint", PyDict::new(py))?;
        let template = PyDict::new(py);
        template.set_item(intern!(py, "type"), intern!(py, "http"))?;
        for key in [
            intern!(py, "asgi"),
            intern!(py, "http_version"),
            intern!(py, "method"),
            intern!(py, "scheme"),
            intern!(py, "path"),
            intern!(py, "raw_path"),
            intern!(py, "query_string"),
            intern!(py, "root_path"),
            intern!(py, "headers"),
            intern!(py, "client"),
            intern!(py, "server"),
            intern!(py, "state"),
            intern!(py, "extensions"),
        ] {
            template.set_item(key, py.None())?;
        }
        template.set_item(intern!(py, "http_version"), intern!(py, "1.1"))?;
        template.set_item(intern!(py, "scheme"), intern!(py, "http"))?;
        template.set_item(intern!(py, "query_string"), PyBytes::new(py, b""))?;
        let root_path = root_path.trim_end_matches('/');
        template.set_item(intern!(py, "root_path"), PyString::intern(py, root_path))?;
        let server = |address: &ServerAddress| -> PyResult<Server> {
            Ok(match address {
                ServerAddress::Internet { host, .. } if matches!(host.as_str(), "" | "0.0.0.0" | "::") => {
                    Server::Asked
                }
                ServerAddress::Internet { host, port } => {
                    Server::Known((host, *port).into_pyobject(py)?.into_any().unbind())
                }
                ServerAddress::Local { path } => {
                    Server::Known((path, py.None()).into_pyobject(py)?.into_any().unbind())
                }
            })
        };
        Ok(Self {
            template: template.unbind(),
            servers: listeners.iter().map(server).collect::<PyResult<_>>()?,
            version: version.unbind(),
            state,
            extensions: extensions.unbind(),
            root_path: root_path.to_owned(),
            names: Mutex::default(),
        })
    }

    /// What all scopes of a connection have in common.
    pub(super) fn ends(&self, py: Python<'_>, connection: &Connection) -> PyResult<Ends> {
        let pair = |peer: Peer| -> PyResult<Py<PyAny>> {
            Ok(match peer {
                Peer::Internet(address) => {
                    (address.ip().to_string(), address.port()).into_pyobject(py)?.into_any().unbind()
                }
                Peer::Local => py.None(),
            })
        };
        let server = match &self.servers[connection.listener] {
            Server::Known(server) => server.clone_ref(py),
            Server::Asked => pair(connection.socket.own_address())?,
        };
        let tls = connection.socket.tls_facts().map(|facts| tls_extension(py, &facts)).transpose()?;
        Ok(Ends { client: pair(connection.peer)?, server, tls })
    }

    /// The scope of a request.
    pub(super) fn make<'py>(
        &self,
        py: Python<'py>,
        connection: &Connection,
        ends: Ends,
        trace: &RequestTrace,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (head, raw) = (&connection.head, connection.raw.as_slice());
        let scope = self.template.bind(py).copy()?;
        scope.set_item(intern!(py, "asgi"), self.version.bind(py).copy()?)?;
        match head.version() {
            Version::HTTP_11 => {}
            Version::HTTP_10 => scope.set_item(intern!(py, "http_version"), intern!(py, "1.0"))?,
            Version { major: 2, minor: 0 } => {
                scope.set_item(intern!(py, "http_version"), intern!(py, "2"))?;
            }
            Version { major, minor } => {
                scope.set_item(intern!(py, "http_version"), format!("{major}.{minor}"))?;
            }
        }
        scope.set_item(intern!(py, "method"), method(py, head.method(raw)))?;
        if connection.scheme() == Scheme::Https {
            scope.set_item(intern!(py, "scheme"), intern!(py, "https"))?;
        }
        let path = self.full_path(head.path(raw));
        let path = &*path;
        scope.set_item(intern!(py, "path"), decoded(py, path))?;
        scope.set_item(intern!(py, "raw_path"), PyBytes::new(py, path))?;
        let query = head.query(raw);
        if !query.is_empty() {
            scope.set_item(intern!(py, "query_string"), PyBytes::new(py, query))?;
        }
        scope.set_item(intern!(py, "headers"), self.headers(py, connection, trace)?)?;
        scope.set_item(intern!(py, "client"), ends.client)?;
        scope.set_item(intern!(py, "server"), ends.server)?;
        scope.set_item(intern!(py, "state"), self.state.bind(py).copy()?)?;
        let extensions = self.extensions.bind(py).copy()?;
        if takes_trailers(connection) {
            extensions.set_item(intern!(py, "http.response.trailers"), PyDict::new(py))?;
        }
        if let Some(tls) = ends.tls {
            extensions.set_item(intern!(py, "tls"), tls.bind(py).copy()?)?;
        }
        scope.set_item(intern!(py, "extensions"), extensions)?;
        Ok(scope)
    }

    /// The scope of a WebSocket handshake.
    pub(super) fn make_websocket<'py>(
        &self,
        py: Python<'py>,
        connection: &Connection,
        ends: Ends,
        trace: &RequestTrace,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (head, raw) = (&connection.head, connection.raw.as_slice());
        let tls = ends.tls.as_ref().map(|tls| tls.bind(py).copy()).transpose()?;
        let scope = self.make(py, connection, ends, trace)?;
        scope.del_item(intern!(py, "method"))?;
        scope.set_item(intern!(py, "type"), intern!(py, "websocket"))?;
        let secure = connection.scheme() == Scheme::Https;
        scope.set_item(intern!(py, "scheme"), if secure { intern!(py, "wss") } else { intern!(py, "ws") })?;
        let offered = subprotocols(head, raw).map(|name| native(py, name));
        scope.set_item(intern!(py, "subprotocols"), PyList::new(py, offered.collect::<Vec<_>>())?)?;
        let extensions = PyDict::new(py);
        extensions.set_item(intern!(py, "websocket.http.response"), PyDict::new(py))?;
        if let Some(tls) = tls {
            extensions.set_item(intern!(py, "tls"), tls)?;
        }
        scope.set_item(intern!(py, "extensions"), extensions)?;
        Ok(scope)
    }

    /// The specification wants `root_path` at the beginning of the path. Some proxies have taken it away, and some not.
    fn full_path<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        let root = self.root_path.as_bytes();
        match path.strip_prefix(root) {
            Some([] | [b'/', ..]) => Cow::Borrowed(path),
            // `*`, and the targets of proxies.
            _ if !path.starts_with(b"/") => Cow::Borrowed(path),
            _ => Cow::Owned([root, path].concat()),
        }
    }

    fn headers<'py>(
        &self,
        py: Python<'py>,
        connection: &Connection,
        trace: &RequestTrace,
    ) -> PyResult<Bound<'py, PyList>> {
        let told = trace.traceparent();
        let (replaced, begins) = (told.is_some(), trace.is_new());
        // Making bytes calls no Python, but who waits must not keep the GIL all the same.
        let mut names = self.names.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let fields = connection.head.fields(&connection.raw);
        let told = told.as_ref().map(|text| (&b"traceparent"[..], &text[..]));
        let kept = fields
            .map(|(_, name, value)| (name, value))
            .filter(|(name, _)| !(replaced && is_traceparent(name) || begins && is_tracestate(name)));
        let pairs =
            kept.chain(told).map(|(name, value)| [lower(py, &mut names, name), PyBytes::new(py, value)]);
        let pairs = pairs.map(|pair| PyTuple::new(py, pair)).collect::<PyResult<Vec<_>>>();
        drop(names);
        PyList::new(py, pairs?)
    }
}

/// The extension `tls` (ASGI, "TLS Extension").
fn tls_extension(py: Python<'_>, facts: &Facts) -> PyResult<Py<PyDict>> {
    let chain = PyList::new(py, facts.client.iter().map(|der| pem(der)))?;
    let extension = PyDict::new(py);
    extension.set_item("server_cert", (!facts.server.is_empty()).then(|| pem(&facts.server)))?;
    extension.set_item("client_cert_chain", chain)?;
    extension.set_item("client_cert_name", facts.client.first().and_then(|der| subject(der)))?;
    // A client whose certificate is not accepted has no session.
    extension.set_item("client_cert_error", py.None())?;
    extension.set_item("tls_version", facts.version)?;
    extension.set_item("cipher_suite", facts.suite)?;
    Ok(extension.unbind())
}

/// A name in lower case.
fn lower<'py>(py: Python<'py>, names: &mut Names, name: &[u8]) -> Bound<'py, PyBytes> {
    if let Some(known) = names.get(name) {
        return known.bind(py).clone();
    }
    let lower = PyBytes::new(py, &name.to_ascii_lowercase());
    if names.len() < NAMES && name.len() <= NAME_BYTES {
        names.insert(name.into(), lower.clone().unbind());
    }
    lower
}

/// Whether trailers may be sent to this client (RFC 9110 §6.5.1, §10.1.4). In HTTP/2 they are part of every response's framing,
/// so there they are offered to all, as by Gunicorn.
pub(super) fn takes_trailers(connection: &Connection) -> bool {
    let (head, raw) = (&connection.head, connection.raw.as_slice());
    let asked = || {
        head.find(raw, "te")
            .is_some_and(|te| list_members(te).any(|member| member.eq_ignore_ascii_case(b"trailers")))
    };
    connection.socket.is_stream() || (head.version() >= Version::HTTP_11 && asked())
}

/// A path with its percent-encoding undone, as UTF-8; what is none becomes U+FFFD.
fn decoded<'py>(py: Python<'py>, path: &[u8]) -> Bound<'py, PyString> {
    if !path.contains(&b'%') {
        // The parser lets only ASCII through.
        return native(py, path);
    }
    let mut bytes = Vec::with_capacity(path.len());
    percent_decode(path, &mut bytes);
    PyString::new(py, &String::from_utf8_lossy(&bytes))
}

fn method<'py>(py: Python<'py>, method: &[u8]) -> Bound<'py, PyString> {
    match method {
        b"GET" => intern!(py, "GET").clone(),
        b"POST" => intern!(py, "POST").clone(),
        b"HEAD" => intern!(py, "HEAD").clone(),
        b"PUT" => intern!(py, "PUT").clone(),
        b"DELETE" => intern!(py, "DELETE").clone(),
        b"PATCH" => intern!(py, "PATCH").clone(),
        b"OPTIONS" => intern!(py, "OPTIONS").clone(),
        other => native(py, other),
    }
}
