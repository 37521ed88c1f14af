//! The upgrade on the fly by USR2, as Gunicorn has it: a second server on the same listening sockets, started by the first one.
//!
//! Contract: the first server (predecessor) runs its program anew with `GUNICORN_PID`, its own pid, and `GUNICORN_FD`, the
//! numbers of its listening sockets. The second one (successor) listens on those of them that its own `bind` names, and
//! is the only server as soon as its parent is another process than the one that started it.

use std::ffi::OsString;
use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{getsockopt, sockopt};
use podicorn_settings::Bind;
use socket2::Socket;

use crate::{kernel, title};

const PID: &str = "GUNICORN_PID";
const SOCKETS: &str = "GUNICORN_FD";

/// What is between the two servers alone: the app and what it starts must not take it for theirs.
pub const OURS: [&str; 2] = [PID, SOCKETS];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "GUNICORN_FD is {sockets:?} and GUNICORN_PID {pid:?}, which do not name sockets that a running server has handed on \
     ({problem}); an upgrade by USR2 sets them, anything else should leave both unset"
)]
pub struct UpgradeError {
    sockets: String,
    pid: String,
    problem: String,
}

/// The server that has started this one.
#[derive(Debug)]
pub struct Predecessor {
    pub pid: i32,
    /// To be taken once.
    pub sockets: Vec<Socket>,
}

impl Predecessor {
    /// `None` where this server was not started by an upgrade.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, UpgradeError> {
        let (Some(pid), Some(sockets)) = (variable(PID), variable(SOCKETS)) else { return Ok(None) };
        let wrong = |problem: String| UpgradeError { sockets: sockets.clone(), pid: pid.clone(), problem };
        let number = pid.trim().parse().ok().filter(|pid| *pid > 0);
        let number = number.ok_or_else(|| wrong("the pid is not a number".into()))?;
        let mut taken = Vec::new();
        for text in sockets.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let fd = text.parse().map_err(|_| wrong(format!("{text:?} is not a number")))?;
            let fd =
                kernel::take_inherited(fd).map_err(|errno| wrong(format!("{text}: {}", errno.desc())))?;
            if getsockopt(&fd, sockopt::AcceptConn) != Ok(true) {
                return Err(wrong(format!("{text} is not a listening socket")));
            }
            taken.push(Socket::from(fd));
        }
        Ok(Some(Self { pid: number, sockets: taken }))
    }

    /// It is gone, or has given this process up.
    pub fn has_left(pid: i32) -> bool {
        nix::unistd::getppid().as_raw() != pid
    }
}

/// Takes the socket that listens where `bind` says out of `sockets`.
pub fn take(sockets: &mut Vec<Socket>, bind: &Bind) -> Option<Socket> {
    let listens_there = |socket: &Socket| {
        let Ok(local) = socket.local_addr() else { return false };
        match bind {
            Bind::Tcp { host, port } => local.as_socket().is_some_and(|local| {
                let wanted = (host.as_str(), *port).to_socket_addrs().ok().and_then(|mut found| found.next());
                wanted.is_some_and(|wanted| {
                    wanted.ip() == local.ip() && (*port == 0 || wanted.port() == local.port())
                })
            }),
            Bind::Unix { path } => local.as_pathname().is_some_and(|local| same_file(local, path)),
            Bind::Fd(_) => false,
        }
    };
    let place = sockets.iter().position(listens_there)?;
    Some(sockets.remove(place))
}

/// A relative name counts from the working directory, of this server as of its predecessor.
fn same_file(one: &Path, other: &Path) -> bool {
    let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    matches!((absolute(one), absolute(other)), (Ok(one), Ok(other)) if one == other)
}

/// What the successor is started with.
#[derive(Debug)]
pub struct Start<'a> {
    /// Where this server was started.
    pub directory: &'a Path,
    /// Sockets that it gets by `GUNICORN_FD`.
    pub sockets: Vec<BorrowedFd<'a>>,
    /// Sockets that its command line or systemd's variables name by number.
    pub numbered: Vec<BorrowedFd<'a>>,
}

/// Runs this program anew; the pid. The child is reaped by the arbiter's own `waitpid`, not through `std::process`.
pub fn start(start: &Start<'_>) -> std::io::Result<i32> {
    use std::os::fd::AsRawFd;
    let program = program()?;
    let names: Vec<String> = start.sockets.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let mut command = Command::new(program);
    command
        .args(title::arguments().iter().skip(1))
        .current_dir(start.directory)
        .env(PID, std::process::id().to_string())
        .env(SOCKETS, names.join(","));
    if let Some(name) = title::arguments().first() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    // No other thread starts programs: the marks are off for this one only.
    let passed = || start.sockets.iter().chain(&start.numbered);
    for fd in passed() {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    let spawned = command.spawn();
    for fd in passed() {
        fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    Ok(i32::try_from(spawned?.id()).unwrap_or(0))
}

/// The file that this program was started from: after an upgrade of the package the one that has taken its place.
pub(crate) fn program() -> std::io::Result<PathBuf> {
    const DELETED: &[u8] = b" (deleted)";
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let current = std::env::current_exe()?;
    let name = current.as_os_str().as_bytes();
    Ok(match name.strip_suffix(DELETED) {
        Some(name) if !current.exists() => PathBuf::from(OsString::from_vec(name.to_vec())),
        _ => current,
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    fn variables(pid: &'static str, sockets: String) -> impl Fn(&str) -> Option<String> {
        move |name| match name {
            PID => Some(pid.into()),
            SOCKETS => Some(sockets.clone()),
            _ => None,
        }
    }

    #[test]
    fn only_an_upgrade_has_a_predecessor() {
        assert!(Predecessor::of(|_| None).unwrap().is_none());
        assert!(Predecessor::of(|name| (name == PID).then(|| "7".into())).unwrap().is_none());
        let none = Predecessor::of(variables("7", String::new())).unwrap().unwrap();
        assert_eq!((none.pid, none.sockets.len()), (7, 0));
    }

    #[test]
    fn sockets_are_taken_and_chosen_by_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let number = listener.into_raw_fd();
        let mut predecessor = Predecessor::of(variables("7", number.to_string())).unwrap().unwrap();
        let bind = |host: &str, port| Bind::Tcp { host: host.into(), port };
        assert!(take(&mut predecessor.sockets, &bind("127.0.0.2", port)).is_none());
        assert!(take(&mut predecessor.sockets, &bind("127.0.0.1", port ^ 1)).is_none());
        assert!(take(&mut predecessor.sockets, &Bind::Unix { path: "/run/app.sock".into() }).is_none());
        assert!(take(&mut predecessor.sockets, &bind("localhost", port)).is_some());
        assert!(predecessor.sockets.is_empty());
    }

    #[test]
    fn what_is_no_listening_socket_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        for sockets in ["x".to_owned(), "99999".into(), file.as_raw_fd().to_string()] {
            let error = Predecessor::of(variables("7", sockets)).unwrap_err().to_string();
            assert!(error.contains("GUNICORN_FD is") && error.contains("leave both unset"), "{error}");
        }
        // It was taken; what is taken is closed.
        let _ = file.into_raw_fd();
        assert!(Predecessor::of(variables("first", String::new())).is_err());
    }
}
