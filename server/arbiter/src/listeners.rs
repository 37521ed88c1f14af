//! The sockets that serve the app: made by the arbiter, accepted on by the workers.

use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{Mode, umask};
use podicorn_settings::Bind;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::accept_queue;
use crate::forkserver::message::ListenerDescription;
use crate::kernel;
use crate::status::ListenerStatus;
use crate::upgrade;

/// As Gunicorn: five tries, a second apart.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "cannot listen on {bind} (setting bind): the address is in use by another process; stop that one or choose \
         another port"
    )]
    InUse { bind: String },
    #[error("cannot listen on {bind} (setting bind): {source}{hint}")]
    Bind { bind: String, source: std::io::Error, hint: &'static str },
    #[error("cannot listen on unix:{} (setting bind): the file exists and is not a socket; remove it or choose another path", .0.display())]
    NotASocket(PathBuf),
    #[error(
        "cannot listen on fd://{number} (setting bind): {problem}; pass an open, listening stream socket by that number"
    )]
    Inherited { number: i32, problem: &'static str },
    #[error("cannot listen on {bind} (setting bind): the host name has no address: {source}")]
    Lookup { bind: String, source: std::io::Error },
}

/// How sockets are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub backlog: u32,
    pub reuse_port: bool,
    /// For the file of a unix socket.
    pub umask: u32,
    pub owner: (u32, u32),
    /// For the address that people read: TLS is spoken.
    pub secure: bool,
}

/// One listening socket. Its file, if it is a unix socket, goes when the last holder drops it.
#[derive(Debug)]
pub struct Listener {
    pub bind: Bind,
    pub socket: Arc<OwnedFd>,
    description: ListenerDescription,
    file: Mutex<Option<SocketFile>>,
    /// Another server has it, too (USR2).
    lent: AtomicBool,
}

/// The file of a unix socket that we have made. Another server may have put its own in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let found = path.symlink_metadata().ok()?;
        Some(Self { device: found.dev(), inode: found.ino(), path })
    }

    fn remove(self) {
        let ours = |found: std::fs::Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        if self.path.symlink_metadata().is_ok_and(ours) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Goes on with a socket of the program before this one, which [`Self::file`] and the rest describe.
    pub fn resume(
        bind: &Bind,
        socket: OwnedFd,
        secure: bool,
        file: Option<SocketFile>,
    ) -> Result<Self, ListenError> {
        let mut listener = take_over(bind, socket.into(), secure)?;
        listener.file = Mutex::new(file);
        listener.lend(false);
        Ok(listener)
    }

    /// The file that goes with it, if it has one of its own.
    pub fn file(&self) -> Option<SocketFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number that it was given to this process by.
    pub fn inherited(&self) -> Option<i32> {
        match self.bind {
            Bind::Fd(number) => Some(number),
            Bind::Tcp { .. } | Bind::Unix { .. } => None,
        }
    }

    /// TLS is spoken on it.
    pub fn is_secure(&self) -> bool {
        self.description.address.starts_with("https:")
    }

    pub fn description(&self) -> &ListenerDescription {
        &self.description
    }

    /// Somebody else may have it too: it was not made here, or an upgrade is under way.
    pub fn is_shared(&self) -> bool {
        matches!(self.bind, Bind::Fd(_)) || self.lent.load(Ordering::Relaxed)
    }

    /// Another server has it from now on, or has it no more.
    pub fn lend(&self, lent: bool) {
        self.lent.store(lent, Ordering::Relaxed);
    }

    /// Nobody can connect to a unix socket any more; those who have stay.
    pub fn remove_file(&self) {
        if self.is_shared() {
            return;
        }
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(file) = file {
            file.remove();
        }
    }

    pub fn status(&self) -> ListenerStatus {
        let tcp = self.description.family == "tcp";
        ListenerStatus {
            address: self.description.address.clone(),
            accept_queue: accept_queue::of(self.socket.as_fd(), tcp),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.remove_file();
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description.address)
    }
}

/// Sockets for all addresses: those of `existing` that are still wanted, those that another server has `handed_on`, and new
/// ones. Nothing is left open on failure; what was handed on and is not wanted is closed.
pub async fn open_all(
    binds: &[Bind],
    options: Options,
    existing: &[Arc<Listener>],
    mut handed_on: Vec<Socket>,
) -> Result<Vec<Arc<Listener>>, ListenError> {
    let mut all = Vec::with_capacity(binds.len());
    for bind in binds {
        let kept = existing.iter().find(|listener| listener.bind == *bind);
        all.push(match kept {
            Some(listener) => Arc::clone(listener),
            None => Arc::new(match upgrade::take(&mut handed_on, bind) {
                Some(socket) => take_over(bind, socket, options.secure)?,
                None => open_patiently(bind, options).await?,
            }),
        });
    }
    Ok(all)
}

async fn open_patiently(bind: &Bind, options: Options) -> Result<Listener, ListenError> {
    for attempt in 1.. {
        // Name resolution may block for long: not on the arbiter's thread.
        let wanted = bind.clone();
        let result = tokio::task::spawn_blocking(move || open(&wanted, options)).await;
        match result.unwrap_or_else(|_| Err(ListenError::InUse { bind: bind.to_string() })) {
            Err(ListenError::InUse { bind }) if attempt < TRIES => {
                tracing::error!("Connection in use: {bind}; retrying in 1 second");
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
    Err(ListenError::InUse { bind: bind.to_string() })
}

fn open(bind: &Bind, options: Options) -> Result<Listener, ListenError> {
    match bind {
        Bind::Tcp { host, port } => open_tcp(bind, host, *port, options),
        Bind::Unix { path } => open_unix(bind, path, options),
        Bind::Fd(number) => adopt(bind, *number, options.secure),
    }
}

fn failed(bind: &Bind) -> impl Fn(std::io::Error) -> ListenError + '_ {
    move |source| match source.kind() {
        ErrorKind::AddrInUse => ListenError::InUse { bind: bind.to_string() },
        kind => ListenError::Bind {
            bind: bind.to_string(),
            source,
            hint: match kind {
                ErrorKind::PermissionDenied => {
                    "; ports below 1024 need CAP_NET_BIND_SERVICE, a socket file needs a writable directory"
                }
                ErrorKind::AddrNotAvailable => "; this machine does not have that address",
                ErrorKind::NotFound => "; the directory does not exist",
                _ => "",
            },
        },
    }
}

fn open_tcp(bind: &Bind, host: &str, port: u16, options: Options) -> Result<Listener, ListenError> {
    let address = (host, port)
        .to_socket_addrs()
        .and_then(|mut found| found.next().ok_or_else(|| ErrorKind::AddrNotAvailable.into()))
        .map_err(|source| ListenError::Lookup { bind: bind.to_string(), source })?;
    let make = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(options.reuse_port)?;
        socket.bind(&address.into())?;
        start(&socket, options.backlog)?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((socket, bound))
    };
    let (socket, bound) = make().map_err(failed(bind))?;
    Ok(Listener {
        bind: bind.clone(),
        socket: Arc::new(socket.into()),
        description: tcp_description(bound, options.secure),
        file: Mutex::default(),
        lent: AtomicBool::default(),
    })
}

fn open_unix(bind: &Bind, path: &Path, options: Options) -> Result<Listener, ListenError> {
    // A socket file that a dead server left; Gunicorn removes it too.
    match path.symlink_metadata() {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path).map_err(failed(bind))?,
        Ok(_) => return Err(ListenError::NotASocket(path.into())),
        Err(_) => {}
    }
    let make = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let before = umask(Mode::from_bits_truncate(options.umask));
        let bound = socket.bind(&SockAddr::unix(path)?);
        umask(before);
        bound?;
        let (user, group) = options.owner;
        if (user, group) != (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()) {
            std::os::unix::fs::chown(path, Some(user), Some(group))?;
        }
        start(&socket, options.backlog)?;
        Ok(socket)
    };
    let socket = make().map_err(failed(bind))?;
    Ok(Listener {
        bind: bind.clone(),
        socket: Arc::new(socket.into()),
        description: unix_description(path),
        file: Mutex::new(SocketFile::of(path)),
        lent: AtomicBool::default(),
    })
}

fn start(socket: &Socket, backlog: u32) -> std::io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// A socket of the server before this one.
fn take_over(bind: &Bind, socket: Socket, secure: bool) -> Result<Listener, ListenError> {
    socket.set_nonblocking(true).map_err(failed(bind))?;
    let local = socket.local_addr().map_err(failed(bind))?;
    let (description, file) = match (bind, local.as_socket()) {
        (Bind::Unix { path }, _) => (unix_description(path), SocketFile::of(path)),
        (_, Some(address)) => (tcp_description(address, secure), None),
        (_, None) => (unix_description(local.as_pathname().unwrap_or(Path::new(""))), None),
    };
    Ok(Listener {
        bind: bind.clone(),
        socket: Arc::new(socket.into()),
        description,
        file: Mutex::new(file),
        lent: AtomicBool::new(true),
    })
}

fn adopt(bind: &Bind, number: i32, secure: bool) -> Result<Listener, ListenError> {
    let problem = |problem| ListenError::Inherited { number, problem };
    let fd = kernel::duplicate_inherited(number).map_err(|_| problem("there is no such open descriptor"))?;
    match getsockopt(&fd, sockopt::AcceptConn) {
        Ok(true) => {}
        Ok(false) => return Err(problem("it is a socket that does not listen")),
        Err(_) => return Err(problem("it is not a socket")),
    }
    let socket = Socket::from(fd);
    socket.set_nonblocking(true).map_err(failed(bind))?;
    let local = socket.local_addr().map_err(failed(bind))?;
    let description = match (local.as_socket(), local.as_pathname()) {
        (Some(address), _) => tcp_description(address, secure),
        (None, Some(path)) => unix_description(path),
        (None, None) => unix_description(Path::new("")),
    };
    Ok(Listener {
        bind: bind.clone(),
        socket: Arc::new(socket.into()),
        description,
        file: Mutex::default(),
        lent: AtomicBool::default(),
    })
}

fn tcp_description(address: SocketAddr, secure: bool) -> ListenerDescription {
    let scheme = if secure { "https" } else { "http" };
    ListenerDescription {
        family: "tcp",
        address: format!("{scheme}://{address}"),
        host: Some(address.ip().to_string()),
        port: Some(address.port()),
        path: None,
    }
}

fn unix_description(path: &Path) -> ListenerDescription {
    let path = path.display().to_string();
    ListenerDescription {
        family: "unix",
        address: format!("unix:{path}"),
        host: None,
        port: None,
        path: Some(path),
    }
}

/// Descriptor numbers, for messages.
impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options =
        Options { backlog: 16, reuse_port: false, umask: 0o077, owner: (0, 0), secure: false };

    fn options() -> Options {
        Options { owner: (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()), ..OPTIONS }
    }

    fn localhost(port: u16) -> Bind {
        Bind::Tcp { host: "127.0.0.1".into(), port }
    }

    #[test]
    fn a_tcp_listener_knows_its_real_port_and_queue() {
        let listener = open(&localhost(0), options()).unwrap();
        let port = listener.description().port.unwrap();
        assert_ne!(port, 0);
        assert_eq!(listener.to_string(), format!("http://127.0.0.1:{port}"));
        let _waiting = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(listener.status().accept_queue.map(|queue| (queue.length, queue.limit)), Some((1, 16)));
        let second = open(&localhost(port), options());
        assert!(matches!(second, Err(ListenError::InUse { .. })), "{second:?}");
    }

    #[test]
    fn a_unix_listener_replaces_a_stale_socket_and_cleans_up() {
        let path = std::env::temp_dir().join(format!("podicorn-listener-{}.sock", std::process::id()));
        let bind = Bind::Unix { path: path.clone() };
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = open(&bind, options()).unwrap();
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        drop(listener);
        assert!(!path.exists());
        let first = open(&bind, options()).unwrap();
        let second = open(&bind, options()).unwrap();
        drop(first);
        assert!(path.exists(), "the file is another server's now");
        drop(second);
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(open(&bind, options()), Err(ListenError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn only_listening_sockets_are_adopted() {
        let real = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let adopted = open(&Bind::Fd(real.as_raw_fd()), options()).unwrap();
        assert_eq!(adopted.description().port, Some(real.local_addr().unwrap().port()));
        let file = std::fs::File::open("/dev/null").unwrap();
        for number in [file.as_raw_fd(), -1, 99_999] {
            assert!(
                matches!(open(&Bind::Fd(number), options()), Err(ListenError::Inherited { .. })),
                "{number}"
            );
        }
    }

    #[test]
    fn whoever_has_connected_is_kept_and_nobody_new_comes() {
        let listener = open(&localhost(0), options()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], listener.description().port.unwrap()));
        assert!(!listener.has_waiting());
        let _first = std::net::TcpStream::connect(address).unwrap();
        assert!(listener.has_waiting());
        listener.keep_out_new();
        let late = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        let socket = Socket::from(listener.socket.try_clone().unwrap());
        let (accepted, _) = socket.accept().unwrap();
        assert_eq!(accepted.send(b"hello").unwrap(), 5);
        listener.shut_down();
        assert_eq!(std::net::TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_reload_keeps_the_sockets_that_stay() {
        let first = open_all(&[localhost(0)], options(), &[], Vec::new()).await.unwrap();
        let again = open_all(&[localhost(0)], options(), &first, Vec::new()).await.unwrap();
        assert!(Arc::ptr_eq(&first[0], &again[0]));
    }
}
