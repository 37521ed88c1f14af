//! The `environ` of a request (PEP 3333, "environ Variables"), with Gunicorn's additions.
//!
//! A dict per listener holds what never changes and is copied for each request; keys are interned, so that neither they
//! nor their hashes are made again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;
use podicorn_http::target::percent_decode;
use podicorn_http::{FieldKind, Scheme, Version};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyString};

use super::file_wrapper::FileWrapper;
use super::text::native;
use crate::listener::ServerAddress;
use crate::reactor::conn::Connection;
use crate::reactor::preamble::Introduced;
use crate::reactor::socket::Peer;
use crate::trace::RequestTrace;

/// How many header names are remembered; clients could otherwise fill the memory.
const NAMES: usize = 512;
/// Longer names are not worth remembering.
const NAME_BYTES: usize = 64;

/// What `SERVER_SOFTWARE` says.
const SOFTWARE: &str = concat!("podicorn/", env!("CARGO_PKG_VERSION"));

/// How many addresses are remembered: those of a pod's proxies, say.
const ADDRESSES: usize = 256;

/// Texts that come again and again.
#[derive(Default)]
struct Texts {
    /// `HTTP_…` keys by header name as sent.
    names: HashMap<Box<[u8]>, Py<PyString>, RandomState>,
    addresses: HashMap<IpAddr, Py<PyString>, RandomState>,
}

/// Why a request cannot be given to the app.
#[derive(Debug)]
pub(crate) enum EnvironError {
    /// `SCRIPT_NAME` is not the beginning of the path: the server or the proxy is set up wrongly.
    ScriptName {
        path: String,
        script_name: String,
    },
    Python(PyErr),
}

impl From<PyErr> for EnvironError {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// Makes environs.
pub(crate) struct EnvironFactory {
    /// Per listener.
    templates: Vec<Py<PyDict>>,
    texts: Mutex<Texts>,
    /// The process's environment variable.
    script_name: String,
}

/// What is the same for all requests of an engine.
pub(crate) struct Constants<'a> {
    pub(crate) multithread: bool,
    pub(crate) multiprocess: bool,
    pub(crate) errors: &'a Bound<'a, PyAny>,
}

impl EnvironFactory {
    pub(crate) fn new(
        py: Python<'_>,
        listeners: &[ServerAddress],
        constants: &Constants<'_>,
    ) -> PyResult<Self> {
        let template = |address: &ServerAddress| -> PyResult<Py<PyDict>> {
            let environ = PyDict::new(py);
            environ.set_item(intern!(py, "wsgi.version"), (1, 0))?;
            environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "http"))?;
            environ.set_item(intern!(py, "wsgi.errors"), constants.errors)?;
            environ.set_item(intern!(py, "wsgi.multithread"), constants.multithread)?;
            environ.set_item(intern!(py, "wsgi.multiprocess"), constants.multiprocess)?;
            environ.set_item(intern!(py, "wsgi.run_once"), false)?;
            environ.set_item(intern!(py, "wsgi.file_wrapper"), py.get_type::<FileWrapper>())?;
            environ.set_item(intern!(py, "wsgi.input_terminated"), true)?;
            environ.set_item(intern!(py, "SERVER_SOFTWARE"), SOFTWARE)?;
            environ.set_item(intern!(py, "SCRIPT_NAME"), "")?;
            if let ServerAddress::Internet { host, port } = address {
                environ.set_item(intern!(py, "SERVER_NAME"), host)?;
                environ.set_item(intern!(py, "SERVER_PORT"), port.to_string())?;
                environ.set_item(intern!(py, "REMOTE_PORT"), py.None())?;
            }
            // What every request sets has its place already. More than 21 keys make a table with room for the header
            // fields, so that none grows while a request is filled in.
            for key in [
                intern!(py, "REQUEST_METHOD"),
                intern!(py, "RAW_URI"),
                intern!(py, "QUERY_STRING"),
                intern!(py, "SERVER_PROTOCOL"),
                intern!(py, "REMOTE_ADDR"),
                intern!(py, "PATH_INFO"),
                intern!(py, "wsgi.input"),
                intern!(py, "wsgi.early_hints"),
                intern!(py, "gunicorn.socket"),
            ] {
                environ.set_item(key, py.None())?;
            }
            Ok(environ.unbind())
        };
        let variables = py.import("os")?.getattr("environ")?;
        Ok(Self {
            templates: listeners.iter().map(template).collect::<PyResult<_>>()?,
            texts: Mutex::default(),
            script_name: variables.call_method1("get", ("SCRIPT_NAME", ""))?.extract()?,
        })
    }

    /// The environ of a request, but for `wsgi.input` and `wsgi.early_hints`.
    pub(crate) fn make<'py>(
        &self,
        py: Python<'py>,
        connection: &Connection,
        trace: &RequestTrace,
    ) -> Result<Bound<'py, PyDict>, EnvironError> {
        let (head, raw) = (&connection.head, connection.raw.as_slice());
        let environ = self.templates[connection.listener].bind(py).copy()?;
        environ.set_item(intern!(py, "REQUEST_METHOD"), method(py, head.method(raw)))?;
        environ.set_item(intern!(py, "RAW_URI"), native(py, head.target(raw)))?;
        environ.set_item(intern!(py, "QUERY_STRING"), native(py, head.query(raw)))?;
        environ.set_item(intern!(py, "SERVER_PROTOCOL"), protocol(py, head.version()))?;
        let scheme = connection.scheme();
        if scheme == Scheme::Https {
            environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "https"))?;
        }
        let script_name = self.set_headers(&environ, connection)?;
        if let Some(traceparent) = trace.traceparent() {
            environ.set_item(intern!(py, "HTTP_TRACEPARENT"), native(py, &traceparent))?;
            if trace.is_new() && environ.contains(intern!(py, "HTTP_TRACESTATE"))? {
                environ.del_item(intern!(py, "HTTP_TRACESTATE"))?;
            }
        }
        if !environ.contains(intern!(py, "SERVER_NAME"))? {
            set_server(&environ, head.host(raw), scheme)?;
        }
        self.set_path(&environ, head.path(raw), script_name)?;
        Ok(environ)
    }

    /// All header fields, and who sent them; gives the value of `SCRIPT_NAME`, which the parser lets through only from
    /// trusted proxies.
    fn set_headers<'a>(
        &self,
        environ: &Bound<'_, PyDict>,
        connection: &'a Connection,
    ) -> PyResult<Option<&'a [u8]>> {
        let py = environ.py();
        let mut script_name = None;
        // Python may let another thread in while it is held: whoever waits for it must not keep the GIL.
        let mut texts = self.texts.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        set_peer(environ, &mut texts, connection.peer)?;
        if let Some(introduced) = &connection.introduced {
            set_proxy(environ, introduced)?;
        }
        // The target may name another than the Host field does.
        let mut host = connection.head.host(&connection.raw);
        for (kind, name, value) in connection.head.fields(&connection.raw) {
            let value = if kind == FieldKind::Host { host.take().unwrap_or(value) } else { value };
            let text = native(py, value);
            match kind {
                FieldKind::ContentType => environ.set_item(intern!(py, "CONTENT_TYPE"), text)?,
                FieldKind::ContentLength => environ.set_item(intern!(py, "CONTENT_LENGTH"), text)?,
                FieldKind::Host => environ.set_item(intern!(py, "HTTP_HOST"), text)?,
                // RFC 9110 §7.8: not for this version.
                FieldKind::Upgrade if connection.head.version() < Version::HTTP_11 => {}
                _ => {
                    if name.eq_ignore_ascii_case(b"SCRIPT_NAME") {
                        script_name = Some(value);
                    }
                    let key = key(py, &mut texts, name);
                    match environ.get_item(&key)? {
                        Some(before) => environ.set_item(key, before.add(",")?.add(text)?)?,
                        None => environ.set_item(key, text)?,
                    }
                }
            }
        }
        if let Some(host) = host {
            environ.set_item(intern!(py, "HTTP_HOST"), native(py, host))?;
        }
        Ok(script_name)
    }

    fn set_path(
        &self,
        environ: &Bound<'_, PyDict>,
        path: &[u8],
        script_name: Option<&[u8]>,
    ) -> Result<(), EnvironError> {
        let py = environ.py();
        let script_name = script_name.unwrap_or(self.script_name.as_bytes());
        let Some(path_info) = path.strip_prefix(script_name) else {
            return Err(EnvironError::ScriptName {
                path: String::from_utf8_lossy(path).into_owned(),
                script_name: String::from_utf8_lossy(script_name).into_owned(),
            });
        };
        if !script_name.is_empty() {
            environ.set_item(intern!(py, "SCRIPT_NAME"), native(py, script_name))?;
        }
        let path_info = if path_info.contains(&b'%') {
            let mut decoded = Vec::with_capacity(path_info.len());
            percent_decode(path_info, &mut decoded);
            native(py, &decoded)
        } else {
            native(py, path_info)
        };
        environ.set_item(intern!(py, "PATH_INFO"), path_info)?;
        Ok(())
    }
}

/// `X-Forwarded-For` → `HTTP_X_FORWARDED_FOR`.
fn key<'py>(py: Python<'py>, texts: &mut Texts, name: &[u8]) -> Bound<'py, PyString> {
    if let Some(key) = texts.names.get(name) {
        return key.bind(py).clone();
    }
    let mut key = String::with_capacity(5 + name.len());
    key.push_str("HTTP_");
    key.extend(name.iter().map(|byte| match byte {
        b'-' => '_',
        byte => char::from(byte.to_ascii_uppercase()),
    }));
    let key = PyString::intern(py, &key);
    if texts.names.len() < NAMES && name.len() <= NAME_BYTES {
        texts.names.insert(name.into(), key.clone().unbind());
    }
    key
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

fn protocol(py: Python<'_>, version: Version) -> Bound<'_, PyString> {
    match version {
        Version::HTTP_11 => intern!(py, "HTTP/1.1").clone(),
        Version::HTTP_10 => intern!(py, "HTTP/1.0").clone(),
        other => PyString::new(py, &other.to_string()),
    }
}

/// Unix sockets have no address: an empty `REMOTE_ADDR` and no `REMOTE_PORT`, as in Gunicorn.
fn set_peer(environ: &Bound<'_, PyDict>, texts: &mut Texts, peer: Peer) -> PyResult<()> {
    let py = environ.py();
    match peer {
        Peer::Internet(address) => {
            let ip = address.ip();
            if let Some(text) = texts.addresses.get(&ip) {
                environ.set_item(intern!(py, "REMOTE_ADDR"), text)?;
            } else {
                let text = PyString::new(py, &ip.to_string());
                environ.set_item(intern!(py, "REMOTE_ADDR"), &text)?;
                if texts.addresses.len() >= ADDRESSES {
                    texts.addresses.clear();
                }
                texts.addresses.insert(ip, text.unbind());
            }
            let mut port = itoa::Buffer::new();
            environ.set_item(intern!(py, "REMOTE_PORT"), native(py, port.format(address.port()).as_bytes()))
        }
        Peer::Local => environ.set_item(intern!(py, "REMOTE_ADDR"), intern!(py, "")),
    }
}

/// What a proxy has said by the PROXY protocol, under Gunicorn's names.
fn set_proxy(environ: &Bound<'_, PyDict>, introduced: &Introduced) -> PyResult<()> {
    let py = environ.py();
    environ.set_item(intern!(py, "PROXY_PROTOCOL"), introduced.protocol)?;
    if let Some(address) = introduced.destination {
        environ.set_item(intern!(py, "PROXY_ADDR"), address.ip().to_string())?;
        environ.set_item(intern!(py, "PROXY_PORT"), address.port().to_string())?;
    }
    Ok(())
}

/// Behind a unix socket the request itself says which server it wants; neither variable may be empty (PEP 3333).
fn set_server(environ: &Bound<'_, PyDict>, host: Option<&[u8]>, scheme: Scheme) -> PyResult<()> {
    let py = environ.py();
    let host = host.unwrap_or_default();
    // The last colon that is not inside the brackets of an IPv6 address.
    let colon = memchr::memrchr(b':', host).filter(|colon| !host[*colon..].contains(&b']'));
    let (name, port) = colon.map_or((host, &b""[..]), |colon| (&host[..colon], &host[colon + 1..]));
    let usual_port: &[u8] = if scheme == Scheme::Https { b"443" } else { b"80" };
    environ.set_item(
        intern!(py, "SERVER_NAME"),
        native(py, if name.is_empty() { b"localhost" } else { name }),
    )?;
    environ.set_item(intern!(py, "SERVER_PORT"), native(py, if port.is_empty() { usual_port } else { port }))
}
