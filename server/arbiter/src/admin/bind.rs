//! Where the admin API listens.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// Room for probes and scrapes that come at once.
const BACKLOG: i32 = 1024;

/// One value of `--admin-bind`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindAddress {
    /// A name or address with a port; `[::]` takes IPv4 too.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// Why the admin API cannot listen. The message names the address and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("--admin-bind {value:?}: {why}; use HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH")]
    Malformed { value: String, why: &'static str },
    #[error("cannot bind the admin API to {address}: {source}{hint}")]
    Failed { address: BindAddress, source: io::Error, hint: &'static str },
    #[error("cannot bind the admin API to unix:{path}: another process listens on it")]
    SocketInUse { path: PathBuf },
    #[error("cannot bind the admin API to unix:{path}: the path exists and is not a socket")]
    NotASocket { path: PathBuf },
}

impl BindAddress {
    /// Parses `HOST:PORT`, `[IPV6]:PORT`, `:PORT` (all addresses) or `unix:PATH`.
    pub fn parse(value: &str) -> Result<Self, BindError> {
        let malformed = |why| BindError::Malformed { value: value.to_owned(), why };
        if let Some(path) = value.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(malformed("the path is missing"));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let (host, port) = value.rsplit_once(':').ok_or_else(|| malformed("the port is missing"))?;
        let port = port.parse().map_err(|_| malformed("the port is not a number from 0 to 65535"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or_else(|| malformed("the ] is missing"))?;
                inner.parse::<Ipv6Addr>().map_err(|_| malformed("not an IPv6 address between [ and ]"))?;
                inner
            }
            None if host.contains(':') => return Err(malformed("an IPv6 address must stand in [ and ]")),
            None if host.contains('/') => return Err(malformed("not a host name")),
            None if host.is_empty() => "::",
            None => host,
        };
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket of the admin API.
#[derive(Debug)]
pub enum AdminListener {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// A listening socket, and what is to be known of its file.
#[derive(Debug)]
pub struct Spare {
    pub socket: OwnedFd,
    /// Path, device and inode.
    pub file: Option<(PathBuf, (u64, u64))>,
}

impl Spare {
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, file: self.file.clone() })
    }

    pub fn listener(self) -> AdminListener {
        match self.file {
            None => AdminListener::Tcp(self.socket.into()),
            Some((path, file)) => {
                AdminListener::Unix(UnixSocket { listener: self.socket.into(), path, file, is_left: false })
            }
        }
    }
}

/// A unix socket that takes its file away when dropped.
#[derive(Debug)]
pub struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that a successor's file is left alone.
    file: (u64, u64),
    /// Another program goes on with it.
    is_left: bool,
}

impl UnixSocket {
    /// The file stays when this is dropped.
    pub(super) fn leave(&mut self) {
        self.is_left = true;
    }
}

impl AdminListener {
    /// Binds and listens; needs no runtime.
    pub fn bind(address: &BindAddress) -> Result<Self, BindError> {
        match address {
            BindAddress::Tcp { host, port } => {
                bind_tcp(host, *port).map(Self::Tcp).map_err(|source| failed(address, source))
            }
            BindAddress::Unix(path) => bind_unix(path, address).map(Self::Unix),
        }
    }

    /// A second handle, by which another program is to go on.
    pub fn spare(&self) -> io::Result<Spare> {
        Ok(match self {
            Self::Tcp(listener) => Spare { socket: listener.try_clone()?.into(), file: None },
            Self::Unix(socket) => Spare {
                socket: socket.listener.try_clone()?.into(),
                file: Some((socket.path.clone(), socket.file)),
            },
        })
    }

    /// As the log and the tests want it; for TCP the port that the kernel chose.
    pub fn address(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(format!("http://{}", listener.local_addr()?)),
            Self::Unix(socket) => Ok(format!("unix:{}", socket.path.display())),
        }
    }

    /// The TCP address; None for a unix socket.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if !self.is_left && file_identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn failed(address: &BindAddress, source: io::Error) -> BindError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => "; another process listens there: stop it or choose another --admin-bind",
        io::ErrorKind::PermissionDenied => "; choose a port above 1023 or a folder that can be written",
        io::ErrorKind::NotFound => "; does the folder exist?",
        _ => "",
    };
    BindError::Failed { address: address.clone(), source, hint }
}

fn bind_tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match listen_tcp(address) {
            // A pod without IPv6 must not fail on the default [::].
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
                return listen_tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
            }
            Err(error) => last = error,
            Ok(listener) => return Ok(listener),
        }
    }
    Err(last)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path, address: &BindAddress) -> Result<UnixSocket, BindError> {
    let failed = |source| failed(address, source);
    remove_stale(path, address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(failed)?;
    let file = file_identity(path).map_err(failed)?;
    // Nobody can connect before listen(), so the mode is tight in time.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    Ok(UnixSocket { listener: socket.into(), path: path.to_owned(), file, is_left: false })
}

/// Takes away the socket file of a dead process, and nothing else.
fn remove_stale(path: &Path, address: &BindAddress) -> Result<(), BindError> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(address, error)),
    };
    if !kind.is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| failed(address, error))
        }
        _ => Err(BindError::SocketInUse { path: path.to_owned() }),
    }
}

fn file_identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_form() {
        let tcp = |host: &str, port| BindAddress::Tcp { host: host.to_owned(), port };
        for (value, expected) in [
            ("127.0.0.1:9099", tcp("127.0.0.1", 9099)),
            ("localhost:0", tcp("localhost", 0)),
            ("[::]:9099", tcp("::", 9099)),
            (":9099", tcp("::", 9099)),
            ("unix:/run/podicorn.sock", BindAddress::Unix("/run/podicorn.sock".into())),
            ("unix:///run/podicorn.sock", BindAddress::Unix("/run/podicorn.sock".into())),
            ("unix:rel.sock", BindAddress::Unix("rel.sock".into())),
        ] {
            assert_eq!(BindAddress::parse(value).unwrap(), expected, "{value}");
        }
        for value in [
            "",
            "9099",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "::1:80",
            "[::1]",
            "[::1:80",
            "[x]:80",
            "unix:",
            "http://h:1",
        ] {
            let error = BindAddress::parse(value).unwrap_err();
            assert!(error.to_string().contains("unix:PATH"), "{value}: {error}");
        }
        assert_eq!(tcp("::", 1).to_string(), "[::]:1");
    }

    #[test]
    fn a_port_in_use_says_so() {
        let first = AdminListener::bind(&BindAddress::parse("127.0.0.1:0").unwrap()).unwrap();
        let port = first.tcp_address().unwrap().port();
        let again = BindAddress::parse(&format!("127.0.0.1:{port}")).unwrap();
        let message = AdminListener::bind(&again).unwrap_err().to_string();
        assert!(message.contains(&port.to_string()) && message.contains("another process"), "{message}");
    }

    #[test]
    fn unix_sockets_are_private_and_leave_nothing() {
        let folder = std::env::temp_dir().join(format!("podicorn-bind-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("admin.sock");
        let address = BindAddress::Unix(path.clone());
        let listener = AdminListener::bind(&address).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(AdminListener::bind(&address), Err(BindError::SocketInUse { .. })));
        drop(listener);
        assert!(!path.exists());

        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead process leaves its file");
        drop(AdminListener::bind(&address).unwrap());
        assert!(!path.exists());

        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(AdminListener::bind(&address), Err(BindError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
