//! A client's socket: reads and writes that never block, and waits that do; and who may answer on it.
#![allow(unsafe_code)] // accept4, recv, sendmsg and sendfile on raw memory, without the allocations of their wrappers

use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::{mem, ptr};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};

use crate::tls::describe::Facts;
use crate::tls::python::link::Link;
use crate::tls::session::{Failure, Session};

/// What follows bytes that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The connection goes on, or nobody knows yet.
    More,
    /// Its end.
    End,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Internet(SocketAddr),
    /// A unix socket: no address worth telling.
    Local,
}

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Readable,
    Writable,
}

/// A connected stream socket, non-blocking and close-on-exec. Dropping it closes only this process's descriptor; whoever
/// ends a connection calls [`Socket::shut_down`] first, because a child that the app forked may hold a copy.
pub(crate) struct Socket {
    fd: OwnedFd,
    /// Who answers the present request: one of the constants below.
    answer: AtomicU8,
    /// The app has it.
    with_app: AtomicBool,
    /// What it is beside a socket with plain HTTP/1 on it; set before the first byte is read, or never.
    guise: OnceLock<Guise>,
}

enum Guise {
    /// What is read and sent goes through it.
    Tls(Box<Mutex<Session>>),
    /// The other end is a session of Python's `ssl`.
    Relayed(Arc<Link>),
    /// The other end is a stream of HTTP/2.
    Stream(Arc<StreamOrigin>),
}

/// What the streams of a connection with HTTP/2 have in common.
#[derive(Debug)]
pub(crate) struct StreamOrigin {
    /// The address that the client has connected to.
    pub(crate) own_address: Peer,
    /// The connection speaks TLS.
    pub(crate) secure: bool,
    pub(crate) facts: Option<Facts>,
}

/// Nobody has begun.
const OPEN: u8 = 0;
/// The app's response is on its way.
const APP: u8 = 1;
/// The watchdog has answered, or has cut the response off.
const WATCHDOG: u8 = 2;
/// The connection is the app's own from here on, for as long as it likes.
const GIVEN: u8 = 3;

/// What [`Socket::time_out`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeOut {
    /// Nothing was sent yet: the caller answers.
    Unanswered,
    /// The response has begun: it can only be cut off.
    Begun,
    /// It is no request any more.
    Given,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::last())
}

/// `recv(2)` that does not wait, for every request: libc's own is a point where threads can be cancelled, which takes it
/// atomic operations.
///
/// # Safety
/// `buffer` points to `length` bytes that may be written.
unsafe fn recv(fd: &OwnedFd, buffer: *mut libc::c_void, length: usize) -> isize {
    let (flags, nobody) = (libc::MSG_DONTWAIT, ptr::null_mut::<libc::c_void>());
    // SAFETY: the kernel writes to the buffer only; the caller vouches for it.
    let result =
        unsafe { libc::syscall(libc::SYS_recvfrom, fd.as_raw_fd(), buffer, length, flags, nobody, nobody) };
    result as isize
}

/// How everything is sent.
const SENDING: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// As [`recv`], for `send(2)`.
fn send(fd: &OwnedFd, bytes: &[u8], flags: libc::c_int) -> Result<usize, Errno> {
    let (bytes, length, nobody) = (bytes.as_ptr(), bytes.len(), ptr::null::<libc::c_void>());
    // SAFETY: the kernel reads the bytes only, and pointer and length are of one live slice.
    let result =
        unsafe { libc::syscall(libc::SYS_sendto, fd.as_raw_fd(), bytes, length, flags, nobody, 0_usize) };
    check(result as isize)
}

/// `sendmsg(2)`, as [`send`].
fn send_pieces(fd: &OwnedFd, pieces: &[IoSlice<'_>], flags: libc::c_int) -> Result<usize, Errno> {
    // SAFETY: all-zero bytes are a valid, empty msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len() as _;
    // SAFETY: IoSlice has the layout of iovec; sendmsg reads the pieces only, and they outlive the call.
    check(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) })
}

impl Socket {
    /// Takes one connection from a listener. `EAGAIN`: none waits.
    pub(crate) fn accept(listener: BorrowedFd<'_>) -> Result<(Self, Peer), Errno> {
        // SAFETY: all-zero bytes are a valid sockaddr_storage.
        let mut address: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let mut length = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: both pointers are to live locals of the sizes stated.
        let fd = unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                (&raw mut address).cast(),
                &raw mut length,
                libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            )
        };
        Errno::result(fd)?;
        // SAFETY: accept4 has just given us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok((
            Self {
                fd,
                answer: AtomicU8::new(OPEN),
                with_app: AtomicBool::new(false),
                guise: OnceLock::new(),
            },
            peer(&address),
        ))
    }

    /// Speaks TLS from here on.
    pub(crate) fn secure(&self, session: Session) {
        let _ = self.guise.set(Guise::Tls(Box::new(Mutex::new(session))));
    }

    /// One end of a pair: the other one is a session of Python's `ssl`.
    pub(crate) fn behind_tls(fd: OwnedFd, link: Arc<Link>) -> Self {
        Self {
            fd,
            answer: AtomicU8::new(OPEN),
            with_app: AtomicBool::new(false),
            guise: OnceLock::from(Guise::Relayed(link)),
        }
    }

    /// The descriptor alone.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// One end of a pair: the other one is a stream of HTTP/2.
    pub(crate) fn of_stream(fd: OwnedFd, origin: Arc<StreamOrigin>) -> Self {
        Self {
            fd,
            answer: AtomicU8::new(OPEN),
            with_app: AtomicBool::new(false),
            guise: OnceLock::from(Guise::Stream(origin)),
        }
    }

    /// Whether its client speaks TLS.
    pub(crate) fn is_secure(&self) -> bool {
        match self.guise.get() {
            None => false,
            Some(Guise::Tls(_) | Guise::Relayed(_)) => true,
            Some(Guise::Stream(origin)) => origin.secure,
        }
    }

    /// Whether the other end is a stream of HTTP/2.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.guise.get(), Some(Guise::Stream(_)))
    }

    /// The lock is held for calls that do not wait; the watchdog's thread is the only one that may be in the way.
    fn tls(&self) -> Option<MutexGuard<'_, Session>> {
        match self.guise.get() {
            Some(Guise::Tls(session)) => Some(lock(session)),
            Some(Guise::Stream(_) | Guise::Relayed(_)) | None => None,
        }
    }

    fn link(&self) -> Option<&Link> {
        match self.guise.get() {
            Some(Guise::Relayed(link)) => Some(link),
            _ => None,
        }
    }

    /// What there is to say of the TLS session; `None`: there is none.
    pub(crate) fn tls_facts(&self) -> Option<Facts> {
        match self.guise.get() {
            Some(Guise::Stream(origin)) => origin.facts.clone(),
            Some(Guise::Relayed(link)) => Some(link.facts()),
            _ => self.tls().map(|session| session.facts()),
        }
    }

    /// Whether HTTP/2 was agreed upon (RFC 7301).
    pub(crate) fn has_agreed_on_http2(&self) -> bool {
        let relayed = self.link().is_some_and(Link::has_agreed_on_http2);
        relayed || self.tls().is_some_and(|session| session.has_agreed_on_http2())
    }

    /// Why there is no TLS session where there should be one.
    pub(crate) fn tls_failure(&self) -> Option<Failure> {
        self.link().and_then(Link::failure).or_else(|| self.tls().and_then(|session| session.failure()))
    }

    /// epoll has said that there is room: TLS may have something of its own to send.
    pub(crate) fn note_room(&self) {
        if let Some(mut session) = self.tls() {
            session.go_on_sending(self.fd.as_fd());
        }
    }

    /// The address that the client has connected to.
    pub(crate) fn own_address(&self) -> Peer {
        match self.guise.get() {
            Some(Guise::Stream(origin)) => return origin.own_address,
            Some(Guise::Relayed(link)) => return link.own_address(),
            Some(Guise::Tls(_)) | None => {}
        }
        // SAFETY: all-zero bytes are a valid sockaddr_storage.
        let mut address: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let mut length = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: both pointers are to live locals of the sizes stated. If it fails the family stays 0.
        unsafe { libc::getsockname(self.fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
        peer(&address)
    }

    /// Reads what has arrived. 0: the peer has finished sending. `EAGAIN`: nothing there.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self.guise.get() {
            Some(Guise::Tls(session)) => return lock(session).read(self.fd.as_fd(), buffer),
            Some(Guise::Relayed(link)) => return link.read(self.fd.as_fd(), buffer),
            Some(Guise::Stream(_)) | None => {}
        }
        // SAFETY: pointer and length are of one live, exclusively borrowed slice.
        check(unsafe { recv(&self.fd, buffer.as_mut_ptr().cast(), buffer.len()) })
    }

    /// Appends what has arrived, at most `most` bytes. 0: the peer has finished sending. `EAGAIN`: nothing there.
    pub(crate) fn receive(&self, buffer: &mut Vec<u8>, most: usize) -> Result<usize, Errno> {
        if matches!(self.guise.get(), Some(Guise::Tls(_) | Guise::Relayed(_))) {
            let before = buffer.len();
            buffer.resize(before + most, 0);
            let received = self.read(&mut buffer[before..]);
            buffer.truncate(before + received.unwrap_or(0));
            return received;
        }
        buffer.reserve(most);
        let spare = buffer.spare_capacity_mut();
        // SAFETY: the kernel writes at most `most` bytes into spare capacity that is at least that long.
        let received = check(unsafe { recv(&self.fd, spare.as_mut_ptr().cast(), most) })?;
        // SAFETY: the kernel has initialised the first `received` bytes of the spare capacity.
        unsafe { buffer.set_len(buffer.len() + received) };
        Ok(received)
    }

    /// Whether a read that has brought `received` of the `asked` bytes has emptied the socket, as far as can be told.
    pub(crate) fn is_drained_by(&self, received: usize, asked: usize) -> bool {
        // Behind a client's last byte TLS has said that it was that, and no event will tell.
        received < asked && self.tls().is_none_or(|session| !session.has_ended())
    }

    /// Sends what the socket takes now. `EAGAIN`: nothing; what is sent next has to begin with the same bytes.
    pub(crate) fn send(&self, bytes: &[u8], then: Then) -> Result<usize, Errno> {
        if let Some(mut session) = self.tls() {
            return session.send(self.fd.as_fd(), &[IoSlice::new(bytes)]);
        }
        self.send_by(bytes.len(), then, |flags| send(&self.fd, bytes, flags))
    }

    /// Sends a few bytes that a socket with nothing in it takes at once; nobody tries again.
    pub(crate) fn send_in_passing(&self, bytes: &[u8]) {
        if let Some(mut session) = self.tls() {
            let _ = session.interject(self.fd.as_fd(), bytes);
        } else {
            let _ = self.send(bytes, Then::More);
        }
    }

    /// As [`Self::send`], for several pieces at once.
    pub(crate) fn send_pieces(&self, pieces: &[IoSlice<'_>], then: Then) -> Result<usize, Errno> {
        if let Some(mut session) = self.tls() {
            return session.send(self.fd.as_fd(), pieces);
        }
        let length = pieces.iter().map(|piece| piece.len()).sum();
        self.send_by(length, then, |flags| send_pieces(&self.fd, pieces, flags))
    }

    /// Sends `length` bytes by `call`, which is given the flags. Where all of the last ones are taken FIN is sent, too: in the
    /// same segment, which saves the kernels of both sides the work for another one. Not where TLS has a farewell of its own
    /// to send before it, and not to a stream of HTTP/2.
    fn send_by(
        &self,
        length: usize,
        then: Then,
        call: impl FnOnce(libc::c_int) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if then == Then::More || self.guise.get().is_some() {
            return call(SENDING);
        }
        // Held back until the shutdown, which is next.
        let sent = call(SENDING | libc::MSG_MORE)?;
        if sent == length {
            self.finish_sending();
        }
        Ok(sent)
    }

    /// As [`Self::send`], from a file; `offset` moves with it. 0: the file has ended. `EINVAL`: its bytes have to be read,
    /// and sent like others.
    pub(crate) fn send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: &mut i64,
        length: usize,
    ) -> Result<usize, Errno> {
        if matches!(self.guise.get(), Some(Guise::Tls(_))) {
            return Err(Errno::EINVAL);
        }
        // SAFETY: both descriptors are open, and the offset is a live local of the kernel's type (64 bits on Linux).
        check(unsafe { libc::sendfile64(self.fd.as_raw_fd(), file.as_raw_fd(), offset, length) })
    }

    /// Bytes that were sent and that the peer's kernel has not taken yet.
    pub(crate) fn undelivered(&self) -> u64 {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the request writes one int, to a live local.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
    }

    /// A new request begins: nobody has answered it.
    pub(crate) fn ask(&self) {
        self.with_app.store(false, Ordering::Relaxed);
        self.answer.store(OPEN, Ordering::Release);
    }

    /// The app gets the request.
    pub(crate) fn pass_to_app(&self) {
        self.with_app.store(true, Ordering::Relaxed);
    }

    /// Whether the app has the request, or has had it.
    pub(crate) fn is_with_app(&self) -> bool {
        self.with_app.load(Ordering::Relaxed)
    }

    /// The app wants to send the first or any later byte of its response; false: the watchdog was faster.
    pub(crate) fn answer(&self) -> bool {
        let claimed = self.answer.compare_exchange(OPEN, APP, Ordering::AcqRel, Ordering::Acquire);
        claimed.is_ok() || claimed == Err(APP)
    }

    /// The watchdog takes the request from the app.
    pub(crate) fn time_out(&self) -> TimeOut {
        let take = |now| (now != GIVEN).then_some(WATCHDOG);
        match self.answer.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(OPEN) => TimeOut::Unanswered,
            Ok(_) => TimeOut::Begun,
            Err(_) => TimeOut::Given,
        }
    }

    /// The app wants the connection for itself; false: the watchdog was faster.
    pub(crate) fn give_away(&self) -> bool {
        let take = |now| (now != WATCHDOG).then_some(GIVEN);
        self.answer.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// Whether nobody has begun to answer.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.answer.load(Ordering::Acquire) == OPEN
    }

    /// Whether the watchdog has taken the request.
    pub(crate) fn is_timed_out(&self) -> bool {
        self.answer.load(Ordering::Acquire) == WATCHDOG
    }

    /// Sleeps until the socket is ready or the time is up; `false`: it is up, or a signal came.
    pub(crate) fn wait(&self, what: Readiness, milliseconds: u16) -> bool {
        let flags = match what {
            Readiness::Readable => PollFlags::POLLIN,
            Readiness::Writable => PollFlags::POLLOUT,
        };
        poll(&mut [PollFd::new(self.fd.as_fd(), flags)], PollTimeout::from(milliseconds)) == Ok(1)
    }

    /// Tells a client that speaks TLS that nothing more comes.
    pub(crate) fn say_goodbye(&self) {
        if let Some(mut session) = self.tls() {
            session.say_goodbye(self.fd.as_fd());
        }
    }

    /// Sends FIN.
    pub(crate) fn finish_sending(&self) {
        self.say_goodbye();
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Write);
    }

    /// Ends both directions, for every process that holds a copy.
    pub(crate) fn shut_down(&self) {
        self.say_goodbye();
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Both);
    }
}

fn peer(address: &libc::sockaddr_storage) -> Peer {
    match i32::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a sockaddr_in.
            let v4: &libc::sockaddr_in = unsafe { &*(&raw const *address).cast() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Peer::Internet(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds a sockaddr_in6.
            let v6: &libc::sockaddr_in6 = unsafe { &*(&raw const *address).cast() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Peer::Internet(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => Peer::Local,
    }
}
