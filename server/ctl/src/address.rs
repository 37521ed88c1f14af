//! Where the admin API is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Where a server in a pod listens.
const DEFAULT_PORT: u16 = 9099;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address: give IP:PORT, :PORT, http://IP:PORT or the path of a unix socket (unix:/run/podicorn.sock)"
)]
pub(crate) struct AddressError(String);

impl Default for Address {
    fn default() -> Self {
        Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)))
    }
}

impl Address {
    /// Takes what `--admin-bind` takes; of a server that listens everywhere, loopback is asked.
    pub(crate) fn parse(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(error()) } else { Ok(Self::Unix(path.into())) };
        }
        if text.starts_with(['/', '.']) {
            return Ok(Self::Unix(text.into()));
        }
        let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let rest = rest.replace("localhost", "127.0.0.1");
        if let Some(port) = rest.strip_prefix(':') {
            let port = port.parse().map_err(|_| error())?;
            return Ok(Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        let address: SocketAddr = rest.parse().map_err(|_| error())?;
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            // `[::]` listens for IPv4, too, and a pod may have no IPv6 loopback.
            IpAddr::V6(ip) if ip == Ipv6Addr::UNSPECIFIED => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        Ok(Self::Tcp(SocketAddr::new(ip, address.port())))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "http://{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_binds_can_be_asked() {
        for (text, expected) in [
            ("[::]:9099", "http://127.0.0.1:9099"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("10.1.2.3:9099", "http://10.1.2.3:9099"),
            (":8080", "http://127.0.0.1:8080"),
            ("localhost:9099", "http://127.0.0.1:9099"),
            ("http://127.0.0.1:9099/", "http://127.0.0.1:9099"),
            ("[::1]:9099", "http://[::1]:9099"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
            ("./a.sock", "unix:./a.sock"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_would_be() {
        for text in ["", "9099", "host:1", ":x", "unix:", "127.0.0.1"] {
            let message = Address::parse(text).unwrap_err().to_string();
            assert!(message.contains("IP:PORT"), "{text}: {message}");
        }
    }
}
