//! What the reactor knows of a session on the other side of its pair of sockets.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use crate::reactor::socket::Peer;
use crate::tls::describe::Facts;
use crate::tls::session::Failure;

/// See the module's text. The thread of the sessions writes it, before the bytes or the end that the reactor sees next.
#[derive(Debug)]
pub(crate) struct Link {
    /// The address that the client has connected to.
    own_address: Peer,
    /// A byte has come.
    begun: AtomicBool,
    /// Set when the handshake is over.
    facts: OnceLock<Facts>,
    failure: OnceLock<Failure>,
    /// The client's end was none that it has announced, and that is an error.
    cut: AtomicBool,
    /// The reactor has been told that plain HTTP has come.
    told: AtomicBool,
}

impl Link {
    pub(super) fn new(own_address: Peer) -> Self {
        Self {
            own_address,
            begun: AtomicBool::new(false),
            facts: OnceLock::new(),
            failure: OnceLock::new(),
            cut: AtomicBool::new(false),
            told: AtomicBool::new(false),
        }
    }

    /// A byte has come; true: it was the first.
    pub(super) fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::Release)
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    pub(super) fn open(&self, facts: Facts) {
        let _ = self.facts.set(facts);
    }

    pub(super) fn fail(&self, failure: Failure) {
        let _ = self.failure.set(failure);
    }

    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    pub(crate) fn own_address(&self) -> Peer {
        self.own_address
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.get().cloned().unwrap_or_default()
    }

    /// By ALPN.
    pub(crate) fn has_agreed_on_http2(&self) -> bool {
        self.facts.get().is_some_and(|facts| facts.protocol.as_deref() == Some("h2"))
    }

    /// Why there is no session, as far as something was tried.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let unfinished = self.has_begun() && self.facts.get().is_none();
        self.failure.get().cloned().or_else(|| unfinished.then_some(Failure::Unfinished))
    }

    /// A byte that is missing must not be taken for the end of what was sent.
    fn is_broken(&self) -> bool {
        let failed = self.failure.get().is_some_and(|failure| !matches!(failure, Failure::Plain));
        failed || self.cut.load(Ordering::Acquire)
    }

    /// As [`Socket::read`](crate::reactor::socket::Socket::read), from the reactor's end of the pair.
    pub(crate) fn read(&self, end: BorrowedFd<'_>, out: &mut [u8]) -> Result<usize, Errno> {
        let plain = matches!(self.failure.get(), Some(Failure::Plain));
        // What follows is read as it is.
        if plain && !self.told.swap(true, Ordering::Relaxed) {
            return Err(Errno::EPROTO);
        }
        let received = recv(end.as_raw_fd(), out, MsgFlags::MSG_DONTWAIT)?;
        if received == 0 && self.is_broken() { Err(Errno::EPROTO) } else { Ok(received) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, send, socketpair};

    use super::*;

    fn pair() -> (Link, OwnedFd, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap();
        (Link::new(Peer::Local), ours, theirs)
    }

    #[test]
    fn plain_http_is_told_once_and_then_read() {
        let (link, ours, theirs) = pair();
        let mut out = [0; 8];
        assert_eq!(link.read(ours.as_fd(), &mut out), Err(Errno::EAGAIN));
        link.begin();
        link.fail(Failure::Plain);
        send(theirs.as_raw_fd(), b"GET", MsgFlags::empty()).unwrap();
        assert_eq!(link.read(ours.as_fd(), &mut out), Err(Errno::EPROTO));
        assert_eq!(link.read(ours.as_fd(), &mut out), Ok(3));
        drop(theirs);
        assert_eq!(link.read(ours.as_fd(), &mut out), Ok(0));
    }

    #[test]
    fn what_has_come_is_read_before_the_failure() {
        for cut in [false, true] {
            let (link, ours, theirs) = pair();
            link.begin();
            link.open(Facts::default());
            send(theirs.as_raw_fd(), b"POST", MsgFlags::empty()).unwrap();
            if cut {
                link.cut();
            } else {
                link.fail(Failure::Python("bad record mac".to_owned()));
            }
            drop(theirs);
            let mut out = [0; 8];
            assert_eq!(link.read(ours.as_fd(), &mut out), Ok(4));
            assert_eq!(link.read(ours.as_fd(), &mut out), Err(Errno::EPROTO));
        }
    }

    #[test]
    fn only_a_session_that_was_begun_can_have_failed() {
        let (link, ..) = pair();
        assert!(link.failure().is_none());
        assert!(link.begin());
        assert!(!link.begin());
        assert!(matches!(link.failure(), Some(Failure::Unfinished)));
        assert!(!link.has_agreed_on_http2());
        link.open(Facts { protocol: Some("h2".to_owned()), ..Facts::default() });
        assert!(link.failure().is_none());
        assert!(link.has_agreed_on_http2());
    }
}
