//! Addresses to listen on.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

/// One address, in Gunicorn's notation: `HOST`, `HOST:PORT`, `[IPV6]:PORT`, `:PORT`, `PORT`, `unix:PATH` or `fd://FD`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum Bind {
    /// `host` is lower-case and without brackets; no host means `0.0.0.0`. `port` 0 lets the kernel choose.
    Tcp {
        host: String,
        port: u16,
    },
    Unix {
        path: PathBuf,
    },
    /// A listening socket that the process was started with.
    Fd(i32),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error("{0:?} is not a port number (0 to 65535)")]
    Port(String),
    #[error("{0:?} is not a file descriptor number")]
    Descriptor(String),
    #[error("the path after unix: is missing")]
    NoPath,
    #[error("an IPv6 address needs brackets: [{0}]:PORT")]
    Brackets(String),
    #[error("the brackets of the IPv6 address are not closed")]
    OpenBracket,
}

/// Gunicorn's port for an address that names none.
const DEFAULT_PORT: u16 = 8000;

impl Bind {
    /// Parses one address; `default_port` serves one that names no port.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, BindError> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(BindError::NoPath);
            }
            return Ok(Self::Unix { path: PathBuf::from(path) });
        }
        if let Some(number) = text.strip_prefix("fd://") {
            return match number.parse::<i32>() {
                Ok(fd) if fd >= 0 => Ok(Self::Fd(fd)),
                _ => Err(BindError::Descriptor(number.to_owned())),
            };
        }
        let address = text.strip_prefix("tcp://").unwrap_or(text);
        let (host, port) = split(address)?;
        let port = match port {
            Some(digits) => digits.parse().map_err(|_| BindError::Port(digits.to_owned()))?,
            None => default_port,
        };
        let host = if host.is_empty() { "0.0.0.0".to_owned() } else { host.to_lowercase() };
        Ok(Self::Tcp { host, port })
    }

    /// Splits a comma-separated list. A comma in a socket's path is part of the path unless an address follows it.
    pub(crate) fn split_list(text: &str) -> Vec<String> {
        let mut addresses: Vec<String> = Vec::new();
        for piece in text.split(',') {
            match addresses.last_mut() {
                Some(last) if last.trim_start().starts_with("unix:") && !piece.contains(':') => {
                    last.push(',');
                    last.push_str(piece);
                }
                _ => addresses.push(piece.to_owned()),
            }
        }
        let addresses = addresses.into_iter().map(|address| address.trim().to_owned());
        if text.contains(',') {
            addresses.filter(|address| !address.is_empty()).collect()
        } else {
            addresses.collect()
        }
    }
}

/// Host and, if there is one, port.
fn split(address: &str) -> Result<(&str, Option<&str>), BindError> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(BindError::OpenBracket)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(BindError::Port(rest.to_owned())),
        };
    }
    if !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(("", Some(address)));
    }
    match address.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Err(match address.parse::<Ipv6Addr>() {
            Ok(_) => BindError::Brackets(address.to_owned()),
            Err(_) => BindError::Port(rest.to_owned()),
        }),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((address, None)),
    }
}

impl FromStr for Bind {
    type Err = BindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, DEFAULT_PORT)
    }
}

impl TryFrom<String> for Bind {
    type Error = BindError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
            Self::Fd(fd) => write!(f, "fd://{fd}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp(host: &str, port: u16) -> Bind {
        Bind::Tcp { host: host.to_owned(), port }
    }

    fn unix(path: &str) -> Bind {
        Bind::Unix { path: path.into() }
    }

    #[test]
    fn addresses_are_read_in_gunicorns_notation() {
        for (text, expected) in [
            ("127.0.0.1:8000", tcp("127.0.0.1", 8000)),
            ("127.0.0.1", tcp("127.0.0.1", 8000)),
            ("LocalHost:80", tcp("localhost", 80)),
            (":8080", tcp("0.0.0.0", 8080)),
            ("8080", tcp("0.0.0.0", 8080)),
            ("", tcp("0.0.0.0", 8000)),
            ("0.0.0.0:0", tcp("0.0.0.0", 0)),
            ("[::]:8000", tcp("::", 8000)),
            ("[::1]", tcp("::1", 8000)),
            ("[FE80::1%eth0]:1", tcp("fe80::1%eth0", 1)),
            ("tcp://10.0.0.1:9", tcp("10.0.0.1", 9)),
            ("unix:/run/app.sock", unix("/run/app.sock")),
            ("unix:///run/app.sock", unix("/run/app.sock")),
            ("unix://run/app.sock", unix("run/app.sock")),
            ("unix:app.sock", unix("app.sock")),
            ("fd://3", Bind::Fd(3)),
            (" :1 ", tcp("0.0.0.0", 1)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "a:b",
            "a:",
            "a:65536",
            "a:-1",
            "70000",
            "::1",
            "a:1:2",
            "[::1",
            "[::1]8000",
            "unix:",
            "fd://",
            "fd://-1",
            "fd://x",
        ] {
            assert!(text.parse::<Bind>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn lists_are_split_at_commas_but_not_inside_a_socket_path() {
        for (text, expected) in [
            ("a:1", &["a:1"][..]),
            ("a:1, [::]:2,fd://3", &["a:1", "[::]:2", "fd://3"]),
            ("unix:/a,b.sock", &["unix:/a,b.sock"]),
            ("unix:/a.sock,:80", &["unix:/a.sock", ":80"]),
            ("a:1,", &["a:1"]),
        ] {
            assert_eq!(Bind::split_list(text), expected, "{text:?}");
        }
    }

    fn any_bind() -> impl Strategy<Value = Bind> {
        prop_oneof![
            ("[a-z][a-z0-9.-]{0,20}", any::<u16>()).prop_map(|(host, port)| Bind::Tcp { host, port }),
            (any::<std::net::Ipv4Addr>(), any::<u16>())
                .prop_map(|(ip, port)| Bind::Tcp { host: ip.to_string(), port }),
            (any::<Ipv6Addr>(), any::<u16>()).prop_map(|(ip, port)| Bind::Tcp { host: ip.to_string(), port }),
            "/[a-zA-Z0-9_./:-]{0,40}[a-z]"
                .prop_filter("unix:// is the prefix, too", |path| !path.starts_with("//"))
                .prop_map(|path| Bind::Unix { path: path.into() }),
            (0..i32::MAX).prop_map(Bind::Fd),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bind in any_bind()) {
            prop_assert_eq!(bind.to_string().parse::<Bind>(), Ok(bind));
        }

        #[test]
        fn a_list_is_split_where_it_was_joined(binds in prop::collection::vec(any_bind(), 1..5)) {
            let texts: Vec<String> = binds.iter().map(ToString::to_string).collect();
            prop_assert_eq!(Bind::split_list(&texts.join(",")), texts);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text.parse::<Bind>();
        }
    }
}
