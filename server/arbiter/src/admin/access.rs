//! Who may do what on an admin listener.
//!
//! Health and `/metrics` are open on every listener and never pass through here. The rest needs the unix socket, whose
//! file mode guards it, or the bearer token (RFC 6750). Without a token file a loopback listener is open to the
//! processes of its host, for development; a browser is one of them, so pages of other origins are kept out by the
//! `Host`, `Origin` and `Sec-Fetch-Site` fields.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AdminState;
use crate::problem::{Kind, Problem};
use crate::token::{Refreshed, TokenFile};

/// A file system that does not answer must not stop the admin API.
const REFRESH_DEADLINE: Duration = Duration::from_secs(1);

/// The rule of one listener.
#[derive(Debug, Clone)]
pub enum Access {
    /// A unix socket: who can connect may do everything.
    Trusted,
    /// Whoever sends the token may do everything.
    Token(Arc<TokenGate>),
    /// Loopback without a token file: open, except to web pages of other origins.
    Loopback,
    /// Off loopback without a token file: health and `/metrics` only.
    HealthOnly,
}

impl Access {
    /// The rule for a TCP listener on this address.
    pub fn for_tcp(address: SocketAddr, token: Option<&Arc<TokenGate>>) -> Self {
        match token {
            Some(gate) => Self::Token(Arc::clone(gate)),
            None if is_loopback(address.ip()) => Self::Loopback,
            None => Self::HealthOnly,
        }
    }

    /// What the log should say about it at start.
    pub fn note(&self) -> &'static str {
        match self {
            Self::Trusted => "all routes, guarded by the mode of the socket file",
            Self::Token(_) => "all routes, with the bearer token",
            Self::Loopback => "all routes, open to every process of this host (no --admin-token-file)",
            Self::HealthOnly => "only health and /metrics: set --admin-token-file to enable the other routes",
        }
    }

    /// The static page may be shown: where nothing else is served it would be of no use.
    pub(super) fn shows_page(&self) -> Result<(), Problem> {
        if matches!(self, Self::HealthOnly) { Err(not_configured()) } else { Ok(()) }
    }
}

/// A token file with at most one look at the file system at a time.
#[derive(Debug)]
pub struct TokenGate {
    file: TokenFile,
    refreshing: AtomicBool,
}

impl TokenGate {
    pub fn new(file: TokenFile) -> Arc<Self> {
        Arc::new(Self { file, refreshing: AtomicBool::new(false) })
    }

    /// Reads a changed file on a blocking thread. Requests that come meanwhile judge by the last good token, so that a
    /// file system that hangs costs one thread and not one per request.
    async fn refresh(self: &Arc<Self>) {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let gate = Arc::clone(self);
        let look = tokio::task::spawn_blocking(move || {
            match gate.file.refresh() {
                Refreshed::Unchanged => {}
                Refreshed::Rotated => {
                    tracing::info!("The admin token was read again from {}", gate.file.path().display());
                }
                Refreshed::Kept(error) => tracing::warn!("{error}; the last good token stays in force"),
            }
            gate.refreshing.store(false, Ordering::Release);
        });
        let _ = tokio::time::timeout(REFRESH_DEADLINE, look).await;
    }
}

/// Lets a request pass, or answers it.
pub(super) async fn guard(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let verdict = match &state.access {
        Access::Trusted => Ok(()),
        Access::Token(gate) => {
            gate.refresh().await;
            check_token(gate, request.headers())
        }
        Access::Loopback => check_loopback(request.method(), request.uri(), request.headers()),
        Access::HealthOnly => Err(not_configured()),
    };
    match verdict {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_token(gate: &TokenGate, headers: &HeaderMap) -> Result<(), Problem> {
    let unauthorized = |challenge: &'static str, detail: &str| {
        Problem::blank(StatusCode::UNAUTHORIZED, detail)
            .with_header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    };
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (field, more) = (fields.next(), fields.next());
    let presented = match (field, more) {
        (Some(field), None) => bearer(field.as_bytes()),
        (None, _) | (Some(_), Some(_)) => None,
    };
    // RFC 6750 §3.1: no error code where no token was presented.
    let Some(presented) = presented else {
        return Err(unauthorized(
            "Bearer realm=\"podicorn\"",
            "This route needs the header \"Authorization: Bearer TOKEN\" with the token of --admin-token-file.",
        ));
    };
    if gate.file.matches(presented) {
        return Ok(());
    }
    Err(unauthorized(
        "Bearer realm=\"podicorn\", error=\"invalid_token\"",
        "The bearer token is not the one in --admin-token-file.",
    ))
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = field.split_at_checked(6)?;
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && rest.first() == Some(&b' ') && !token.is_empty())
        .then_some(token)
}

fn check_loopback(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    let target_is_loopback = uri.authority().is_none_or(|authority| is_loopback_host(authority.as_str()));
    let Some(host) = host.filter(|host| is_loopback_host(host) && target_is_loopback) else {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            Kind::ForeignHost,
            "Without --admin-token-file the Host must be localhost or a loopback address, \
             because a web page could reach this port under a name of its own (DNS rebinding).",
        ));
    };
    if method.is_safe() {
        return Ok(());
    }
    let foreign_origin = headers.get(ORIGIN).is_some_and(|origin| !is_same_origin(origin, host));
    let foreign_site = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site.as_bytes() != b"same-origin" && site.as_bytes() != b"none");
    if foreign_origin || foreign_site {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            Kind::ForeignOrigin,
            "Without --admin-token-file orders are not taken from web pages of other origins.",
        ));
    }
    Ok(())
}

fn is_same_origin(origin: &HeaderValue, host: &str) -> bool {
    let authority =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// `host`, `host:port`, `[v6]` or `[v6]:port` that names this machine's loopback.
fn is_loopback_host(host: &str) -> bool {
    let name = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        if !(port.is_empty() || port.starts_with(':')) {
            return false;
        }
        address
    } else {
        host.split_once(':').map_or(host, |(name, _)| name)
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return is_loopback(address);
    }
    // RFC 6761 §6.3: localhost and the names under it are loopback.
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn not_configured() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        Kind::AccessNotConfigured,
        "This address is not loopback and no token is set, so only health and /metrics are served. \
         Set --admin-token-file, or bind the admin API to 127.0.0.1 or a unix socket.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts() {
        for host in [
            "localhost",
            "LOCALHOST:9099",
            "a.localhost",
            "localhost.",
            "127.0.0.1",
            "127.8.9.1:1",
            "[::1]",
            "[::1]:9099",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.example.org",
            "notlocalhost",
            "127.0.0.1.example.org",
            "10.0.0.1",
            "[::2]",
            "[::1]x",
            "[::1",
            "0.0.0.0",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn bearer_fields() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer   abc "), Some(&b"abc"[..]));
        for field in ["", "Bearer", "Bearer ", "Bearerabc", "Basic abc", "Bear"] {
            assert_eq!(bearer(field.as_bytes()), None, "{field}");
        }
    }

    #[test]
    fn the_rule_follows_the_address() {
        let access = |address: &str| Access::for_tcp(address.parse().unwrap(), None);
        assert!(matches!(access("127.0.0.1:1"), Access::Loopback));
        assert!(matches!(access("[::1]:1"), Access::Loopback));
        assert!(matches!(access("[::]:1"), Access::HealthOnly));
        assert!(matches!(access("0.0.0.0:1"), Access::HealthOnly));
        assert!(matches!(access("10.1.2.3:1"), Access::HealthOnly));
    }
}
