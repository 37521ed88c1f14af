//! The settings that the engine reads, taken out of the merged settings once.
//!
//! Values come from `podicorn-settings`, so they have been checked; what is absent gets that table's default, so that the
//! engine also runs under a test driver that passes an empty dict.

use podicorn_http::websocket::DeflatePolicy;
use podicorn_http::{HeaderMap, Leniency, Limits as HttpLimits, ParserConfig, ProxyProtocol};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::access_log::format::Format;
use crate::access_log::writer::Target;
use crate::clock::{Nanos, SECOND, from_seconds};
use crate::error::EngineError;
use crate::log_trace::LogTrace;
use crate::reactor::http2::Http2Rules;
use crate::reactor::preamble::Proxies;
use crate::tls::entrance::Context;
use crate::trust::TrustedPeers;

/// How lines of the access log look.
#[derive(Debug, Clone)]
pub(crate) enum LogStyle {
    Text(Format),
    Json,
}

/// What the reactor needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Connections that this worker holds at the same time.
    pub(crate) connections: usize,
    /// `None`: a request head may take for ever.
    pub(crate) head_timeout: Option<Nanos>,
    /// The period in which a body or a response must move by `min_rate`; `None`: it may stand still.
    pub(crate) stall_timeout: Option<Nanos>,
    /// Bytes per second.
    pub(crate) min_rate: u64,
    /// Bytes of a body that are complete before Python is called.
    pub(crate) body_buffer: usize,
    /// Bytes of all unfinished requests together.
    pub(crate) body_budget: usize,
    /// How long a connection may wait for its next request; `None`: each carries one.
    pub(crate) keep_alive: Option<Nanos>,
    /// `None`: the app may take for ever.
    pub(crate) request_timeout: Option<Nanos>,
    /// Threads that call the app; 0: the engine's own does.
    pub(crate) threads: usize,
    /// Requests that can be with the app at a time.
    pub(crate) at_a_time: usize,
    /// The epoll is watched by a loop of others, not waited on.
    pub(crate) guest: bool,
    /// Between Pings to a WebSocket; `None`: there are none.
    pub(crate) ping_interval: Option<Nanos>,
    /// For the answer to one; `None`: it may take for ever.
    pub(crate) ping_timeout: Option<Nanos>,
}

impl Limits {
    /// Bytes that a client has to move in each stall period.
    pub(crate) fn least_per_stall(&self) -> u64 {
        self.min_rate.saturating_mul(self.stall_timeout.unwrap_or(0) / SECOND).max(1)
    }
}

/// Hooks of the config file, called only where set.
#[derive(Default)]
pub(crate) struct Hooks {
    /// First argument of both.
    pub(crate) worker: Option<Py<PyAny>>,
    pub(crate) pre_request: Option<Py<PyAny>>,
    pub(crate) post_request: Option<Py<PyAny>>,
    /// Its method `access` writes the access log, where that goes through Python's logging.
    pub(crate) access_logger: Option<Py<PyAny>>,
}

/// What only the ASGI binding reads.
#[derive(Debug, Clone)]
pub(crate) struct Asgi {
    pub(crate) root_path: String,
    /// The first step of a request's task runs at once.
    pub(crate) eager: bool,
    /// Seconds that a call has left when its client has gone.
    pub(crate) grace: u64,
    /// `http.response.pathsend` is offered.
    pub(crate) files: bool,
    /// Bytes of a WebSocket message.
    pub(crate) max_message_size: usize,
    /// `None`: WebSocket messages are not compressed.
    pub(crate) deflate: Option<DeflatePolicy>,
}

/// What a worker type whose requests are greenlets does in its own way.
pub(crate) struct Green {
    /// `wait(fd, writing, seconds) -> bool`: lets other greenlets run until the descriptor is ready.
    pub(crate) wait: Py<PyAny>,
    /// `back_in_child()`: a request that was running when the app forked has come back in the child.
    pub(crate) back_in_child: Py<PyAny>,
}

/// Everything.
pub(crate) struct Options {
    pub(crate) limits: Limits,
    pub(crate) parser: ParserConfig,
    pub(crate) trusted: TrustedPeers,
    pub(crate) proxies: Proxies,
    pub(crate) graceful_timeout: Nanos,
    /// How long before the arbiter kills nobody is served any more.
    pub(crate) end_margin: Nanos,
    /// How often the worker must say that it is alive.
    pub(crate) beat: Nanos,
    /// `None`: for ever.
    pub(crate) max_requests: Option<u64>,
    /// What `wsgi.multithread` says: true for all types that keep connections, as in Gunicorn.
    pub(crate) multithread: bool,
    pub(crate) multiprocess: bool,
    pub(crate) sendfile: bool,
    pub(crate) access_log: Option<(Target, LogStyle)>,
    pub(crate) hooks: Hooks,
    pub(crate) log_trace: LogTrace,
    /// `None`: requests run on threads, or in an event loop.
    pub(crate) green: Option<Green>,
    /// `client_socket(fd, residue)`: makes what an app finds in `gunicorn.socket`.
    pub(crate) client_socket: Py<PyAny>,
    pub(crate) asgi: Asgi,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<Context>,
    pub(crate) http2: Http2Rules,
}

/// A typed look into the dict.
struct Reader<'a, 'py>(&'a Bound<'py, PyDict>);

impl<'py> Reader<'_, 'py> {
    /// `None` where the setting is absent or null.
    fn get(&self, name: &'static str) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(name)?.filter(|value| !value.is_none()))
    }

    fn wrong(name: &'static str, value: &Bound<'py, PyAny>, want: &str) -> PyErr {
        let shown = value.repr().map_or_else(|_| "a value".to_owned(), |text| text.to_string());
        EngineError::Setting { name, reason: format!("{shown} is not {want}") }.into()
    }

    fn seconds(&self, name: &'static str, default: f64) -> PyResult<Nanos> {
        let Some(value) = self.get(name)? else { return Ok(from_seconds(default)) };
        let seconds: f64 = value.extract().map_err(|_| Self::wrong(name, &value, "a number of seconds"))?;
        Ok(from_seconds(seconds))
    }

    /// A duration where 0 means that there is none.
    fn limit(&self, name: &'static str, default: f64) -> PyResult<Option<Nanos>> {
        Ok(Some(self.seconds(name, default)?).filter(|limit| *limit > 0))
    }

    fn size(&self, name: &'static str, default: u64) -> PyResult<usize> {
        Ok(usize::try_from(self.count(name, default)?).unwrap_or(usize::MAX))
    }

    fn count(&self, name: &'static str, default: u64) -> PyResult<u64> {
        let Some(value) = self.get(name)? else { return Ok(default) };
        value.extract().map_err(|_| Self::wrong(name, &value, "a number, 0 or more"))
    }

    fn flag(&self, name: &'static str) -> PyResult<bool> {
        let Some(value) = self.get(name)? else { return Ok(false) };
        value.is_truthy()
    }

    fn text(&self, name: &'static str) -> PyResult<Option<String>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        Ok(Some(value.extract().map_err(|_| Self::wrong(name, &value, "a text"))?))
    }

    /// A list of texts, or one text with commas.
    fn list(&self, name: &'static str, default: &str) -> PyResult<Vec<String>> {
        let split = |text: &str| text.split(',').map(|part| part.trim().to_owned()).collect();
        let Some(value) = self.get(name)? else { return Ok(split(default)) };
        if let Ok(text) = value.cast::<PyString>() {
            return Ok(split(&text.to_string_lossy()));
        }
        value.extract().map_err(|_| Self::wrong(name, &value, "a list of texts"))
    }

    fn pairs(&self, name: &'static str) -> PyResult<Option<Vec<(String, String)>>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        let dict = value.cast::<PyDict>().map_err(|_| Self::wrong(name, &value, "a dict of texts"))?;
        dict.iter()
            .map(|(key, value)| Ok((key.extract()?, value.extract()?)))
            .collect::<PyResult<_>>()
            .map(Some)
    }

    fn hook(&self, name: &'static str) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.get(name)?.map(Bound::unbind))
    }
}

impl Options {
    /// Reads the dict.
    pub(crate) fn read(options: &Bound<'_, PyDict>) -> PyResult<Self> {
        let reader = Reader(options);
        let worker_type = reader.text("worker_type")?;
        let gthread = worker_type.as_deref() == Some("gthread");
        let asgi = worker_type.as_deref() == Some("asgi");
        let green = green(&reader, worker_type.as_deref())?;
        // The app is called in a loop that is not the engine's.
        let guest = asgi || green.is_some();
        let connections = reader.size("worker_connections", 1000)?.max(1);
        let tls = reader.get("tls")?.map(|tls| Context::read(&tls)).transpose()?;
        let http2 = http2_rules(&reader, tls.is_some(), gthread || guest)?;
        let threads = match reader.size("threads", 1)?.max(1) {
            // With HTTP/2 a request needs the reactor while it runs: its body and its response go by way of the reactor.
            1 if !http2.is_spoken() => 0,
            threads => threads,
        };
        let threads = if gthread { threads } else { 0 };
        let limits = Limits {
            connections,
            head_timeout: reader.limit("head_timeout", 10.0)?,
            stall_timeout: reader.limit("stall_timeout", 30.0)?,
            min_rate: reader.count("min_body_rate", 240)?,
            body_buffer: reader.size("body_buffer", 1 << 20)?,
            body_budget: reader.size("body_budget", 32 << 20)?,
            keep_alive: if gthread || guest { reader.limit("keepalive", 2.0)? } else { None },
            request_timeout: reader.limit("request_timeout", 0.0)?,
            threads,
            at_a_time: if guest { connections } else { threads.max(1) },
            guest,
            ping_interval: reader.limit("ws_ping_interval", 20.0)?,
            ping_timeout: reader.limit("ws_ping_timeout", 20.0)?,
        };
        let trusted = reader.list("forwarded_allow_ips", "127.0.0.1,::1")?;
        let trusted = TrustedPeers::parse(trusted.iter().map(String::as_str))
            .map_err(|reason| EngineError::Setting { name: "forwarded_allow_ips", reason })?;
        let proxies = proxies(&reader)?;
        let timeout = reader.seconds("timeout", 30.0)?;
        Ok(Self {
            parser: ParserConfig { secure: tls.is_some(), ..parser_config(&reader)? },
            limits,
            trusted,
            proxies,
            graceful_timeout: reader.seconds("graceful_timeout", 30.0)?,
            end_margin: reader.seconds("end_margin", 1.0)?,
            beat: if timeout == 0 { SECOND } else { SECOND.min(timeout / 4) },
            max_requests: max_requests(&reader)?,
            multithread: gthread || green.is_some(),
            multiprocess: reader.get("workers")?.is_some_and(|workers| !workers.eq(1).unwrap_or(false)),
            sendfile: reader.get("sendfile")?.is_none_or(|value| value.is_truthy().unwrap_or(true)),
            access_log: access_log(&reader)?,
            hooks: Hooks {
                worker: reader.hook("worker")?,
                pre_request: reader.hook("pre_request")?,
                post_request: reader.hook("post_request")?,
                access_logger: reader.hook("access_logger")?,
            },
            log_trace: LogTrace::new(reader.hook("log_trace")?),
            green,
            client_socket: match reader.hook("client_socket")? {
                Some(factory) => factory,
                None => options.py().import("podicorn.client_socket")?.getattr("ClientSocket")?.unbind(),
            },
            asgi: Asgi {
                root_path: reader.text("root_path")?.unwrap_or_default(),
                eager: reader.flag("asgi_eager")?,
                grace: reader.count("asgi_disconnect_grace_period", 3)?,
                files: reader.get("sendfile")?.is_none_or(|value| value.is_truthy().unwrap_or(true)),
                max_message_size: match reader.size("websocket_max_message_size", 16 << 20)? {
                    0 => usize::MAX,
                    most => most,
                },
                deflate: reader
                    .get("ws_per_message_deflate")?
                    .is_none_or(|value| value.is_truthy().unwrap_or(true))
                    .then(DeflatePolicy::default),
            },
            http2,
            tls,
        })
    }
}

fn green(reader: &Reader<'_, '_>, worker_type: Option<&str>) -> PyResult<Option<Green>> {
    if !matches!(worker_type, Some("gevent" | "eventlet")) {
        return Ok(None);
    }
    let needed = |name| {
        let reason = "this worker type needs it".to_owned();
        reader.hook(name)?.ok_or_else(|| PyErr::from(EngineError::Setting { name, reason }))
    };
    Ok(Some(Green { wait: needed("wait")?, back_in_child: needed("back_in_child")? }))
}

fn parser_config(reader: &Reader<'_, '_>) -> PyResult<ParserConfig> {
    let defaults = HttpLimits::default();
    let number = |name, default: usize| -> PyResult<i64> {
        Ok(i64::try_from(reader.count(name, default as u64)?).unwrap_or(i64::MAX))
    };
    let header_map = match reader.text("header_map")?.as_deref() {
        None | Some("drop") => HeaderMap::Drop,
        Some("refuse") => HeaderMap::Refuse,
        Some("dangerous") => HeaderMap::Dangerous,
        Some(other) => {
            let reason = format!("{other:?} is not one of drop, refuse, dangerous");
            return Err(EngineError::Setting { name: "header_map", reason }.into());
        }
    };
    let limits = HttpLimits::from_settings(
        number("limit_request_line", defaults.request_line)?,
        number("limit_request_fields", defaults.fields)?,
        number("limit_request_field_size", defaults.field_size)?,
    );
    let body = Some(reader.count("limit_request_body", 0)?).filter(|limit| *limit > 0);
    Ok(ParserConfig {
        limits: HttpLimits { body, ..limits },
        leniency: Leniency {
            strip_header_spaces: reader.flag("strip_header_spaces")?,
            permit_obsolete_folding: reader.flag("permit_obsolete_folding")?,
            permit_unconventional_http_method: reader.flag("permit_unconventional_http_method")?,
            permit_unconventional_http_version: reader.flag("permit_unconventional_http_version")?,
            casefold_http_method: reader.flag("casefold_http_method")?,
        },
        header_map,
        forwarder_headers: reader.list("forwarder_headers", "SCRIPT_NAME,PATH_INFO")?,
        secure_scheme_headers: reader
            .pairs("secure_scheme_headers")?
            .unwrap_or_else(|| ParserConfig::default().secure_scheme_headers),
        secure: false,
    })
}

fn proxies(reader: &Reader<'_, '_>) -> PyResult<Proxies> {
    let wanted = match reader.text("proxy_protocol")?.as_deref() {
        None | Some("off") => None,
        Some("v1") => Some(ProxyProtocol::V1),
        Some("v2") => Some(ProxyProtocol::V2),
        Some("auto") => Some(ProxyProtocol::Auto),
        Some(other) => {
            let reason = format!("{other:?} is not one of off, v1, v2, auto");
            return Err(EngineError::Setting { name: "proxy_protocol", reason }.into());
        }
    };
    let allowed = reader.list("proxy_allow_ips", "127.0.0.1,::1")?;
    let allowed = TrustedPeers::parse(allowed.iter().map(String::as_str))
        .map_err(|reason| EngineError::Setting { name: "proxy_allow_ips", reason })?;
    Ok(Proxies { wanted, allowed })
}

/// `able`: of the worker types that keep connections.
fn http2_rules(reader: &Reader<'_, '_>, secure: bool, able: bool) -> PyResult<Http2Rules> {
    let wanted = able && reader.list("http_protocols", "h1")?.iter().any(|name| name == "h2");
    let how = reader.text("http2_cleartext")?;
    let clear = matches!(how.as_deref(), Some("prior-knowledge" | "both"));
    let number = |name, default| -> PyResult<u32> {
        Ok(u32::try_from(reader.count(name, default)?).unwrap_or(u32::MAX))
    };
    Ok(Http2Rules {
        secure: wanted && secure,
        clear: wanted && clear && !secure,
        upgrade: wanted && !secure && matches!(how.as_deref(), Some("upgrade" | "both")),
        streams: number("http2_max_concurrent_streams", 100)?,
        window: number("http2_initial_window_size", 65_535)?,
        frame: number("http2_max_frame_size", 16_384)?,
        header_list: Some(number("http2_max_header_list_size", 65_536)?).filter(|limit| *limit > 0),
    })
}

/// `max_requests` plus a random part of `max_requests_jitter`. Python's `random` has reseeded itself after the fork.
fn max_requests(reader: &Reader<'_, '_>) -> PyResult<Option<u64>> {
    let most = reader.count("max_requests", 0)?;
    let jitter = reader.count("max_requests_jitter", 0)?;
    if most == 0 {
        return Ok(None);
    }
    let random = reader.0.py().import("random")?;
    let extra: u64 = random.call_method1("randint", (0, jitter))?.extract()?;
    Ok(Some(most.saturating_add(extra)))
}

/// Gunicorn's default format.
const ACCESS_LOG_FORMAT: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;

fn access_log(reader: &Reader<'_, '_>) -> PyResult<Option<(Target, LogStyle)>> {
    let Some(path) = reader.text("accesslog")? else { return Ok(None) };
    let target = if path == "-" { Target::Stdout } else { Target::File(path) };
    let style = if reader.text("log_format")?.as_deref() == Some("json") {
        LogStyle::Json
    } else {
        let format = reader.text("access_log_format")?;
        let format = Format::parse(format.as_deref().unwrap_or(ACCESS_LOG_FORMAT))
            .map_err(|reason| EngineError::Setting { name: "access_log_format", reason })?;
        LogStyle::Text(format)
    };
    Ok(Some((target, style)))
}
