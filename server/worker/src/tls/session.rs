//! One client's TLS session on its non-blocking socket.
//!
//! [`Session::send`] has the contract of `SSL_write`: bytes count as sent only when their records have left, so a call that
//! came back with `EAGAIN` is to be repeated with bytes that begin as those did. That is what everybody does who sends from a
//! queue, and so nobody above has to know of records that still wait.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send, sendmsg};
use rustls::ServerConnection;

use super::material::Material;

/// Bytes that are read from the socket at a time.
const READ_BYTES: usize = 64 * 1024;
/// Bytes that are encrypted ahead of the socket: two full records.
const AHEAD: usize = 32 * 1024;
/// Pieces of one call.
const PIECES: usize = 16;

thread_local! {
    /// Where records are read to: shared by all sessions of a thread, so that idle ones hold none.
    static RECORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why a session has come to nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    #[error("plain HTTP on a port that speaks TLS")]
    Plain,
    #[error("the TLS handshake did not come to its end")]
    Unfinished,
    #[error("TLS: {0}")]
    Broken(rustls::Error),
    /// By Python's `ssl`.
    #[error("TLS: {0}")]
    Python(String),
}

/// See the module's text.
pub(crate) struct Session {
    tls: ServerConnection,
    material: Arc<Material>,
    /// An end without `close_notify` is an error.
    strict_ends: bool,
    /// Records that were read while nobody took their contents.
    unread: Vec<u8>,
    /// Bytes of the last call of `send` whose records have not left.
    owed: usize,
    /// A byte has come.
    begun: bool,
    /// The client has finished sending.
    ended: bool,
    failure: Option<Failure>,
}

/// The socket, as rustls writes to it.
struct Wire<'a>(BorrowedFd<'a>);

const FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0.as_raw_fd(), bytes, FLAGS)?)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(sendmsg::<()>(self.0.as_raw_fd(), pieces, &[], FLAGS, None)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EPROTO, Errno::from_raw)
}

/// Whether records are still on their way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flushed {
    All,
    Blocked,
}

impl Session {
    pub(super) fn new(material: Arc<Material>, strict_ends: bool) -> Result<Self, rustls::Error> {
        let mut tls = ServerConnection::new(Arc::clone(&material.config))?;
        // How much waits is bounded here.
        tls.set_buffer_limit(None);
        Ok(Self {
            tls,
            material,
            strict_ends,
            unread: Vec::new(),
            owed: 0,
            begun: false,
            ended: false,
            failure: None,
        })
    }

    /// Plain HTTP has come: what is sent goes out as it is.
    fn is_plain(&self) -> bool {
        matches!(self.failure, Some(Failure::Plain))
    }

    /// The client has finished sending.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Why there is no session, as far as something was tried.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let unfinished = self.begun && self.tls.is_handshaking();
        self.failure.clone().or_else(|| unfinished.then_some(Failure::Unfinished))
    }

    /// By ALPN.
    pub(crate) fn has_agreed_on_http2(&self) -> bool {
        self.tls.alpn_protocol() == Some(b"h2")
    }

    pub(super) fn connection(&self) -> &ServerConnection {
        &self.tls
    }

    pub(super) fn material(&self) -> &Material {
        &self.material
    }

    /// As [`Socket::read`](crate::reactor::socket::Socket::read); goes on with the handshake where it is not over.
    pub(crate) fn read(&mut self, wire: BorrowedFd<'_>, out: &mut [u8]) -> Result<usize, Errno> {
        RECORDS.with_borrow_mut(|records| self.read_through(records, wire, out))
    }

    fn read_through(
        &mut self,
        records: &mut Vec<u8>,
        wire: BorrowedFd<'_>,
        out: &mut [u8],
    ) -> Result<usize, Errno> {
        if self.is_plain() {
            return recv(wire.as_raw_fd(), out, FLAGS);
        }
        let mut got = self.take(out)?;
        while got < out.len() && !self.ended {
            // None left to read means a failure that was told already, or one that is told now.
            if self.failure.is_some() {
                return if got > 0 { Ok(got) } else { Err(Errno::EPROTO) };
            }
            if !self.unread.is_empty() {
                let unread = std::mem::take(&mut self.unread);
                match self.decrypt(&unread, wire, &mut out[got..]) {
                    Ok(more) => got += more,
                    Err(_) if got > 0 => return Ok(got),
                    Err(errno) => return Err(errno),
                }
                continue;
            }
            if records.is_empty() {
                records.resize(READ_BYTES, 0);
            }
            match recv(wire.as_raw_fd(), records, FLAGS) {
                Ok(0) => {
                    // rustls then tells whether the client has said that it would end.
                    let _ = self.tls.read_tls(&mut io::empty());
                    if self.begun && self.tls.is_handshaking() {
                        self.failure = Some(Failure::Unfinished);
                        self.ended = true;
                        return Ok(got);
                    }
                    let more = self.take(&mut out[got..])?;
                    // Without a word from the client at all it has only looked whether the port is open.
                    self.ended |= more == 0;
                    got += more;
                }
                Ok(received) => {
                    if !std::mem::replace(&mut self.begun, true) && records[0].is_ascii_alphabetic() {
                        // Records begin with a number below 32 (RFC 8446 §5.1), requests with the letter of a method.
                        self.failure = Some(Failure::Plain);
                        return Err(Errno::EPROTO);
                    }
                    match self.decrypt(&records[..received], wire, &mut out[got..]) {
                        Ok(more) => got += more,
                        // It comes out with the next read.
                        Err(_) if got > 0 => return Ok(got),
                        Err(errno) => return Err(errno),
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) if got > 0 => return Ok(got),
                Err(errno) => return Err(errno),
            }
        }
        Ok(got)
    }

    /// Takes what is decrypted.
    fn take(&mut self, out: &mut [u8]) -> Result<usize, Errno> {
        let mut got = 0;
        while got < out.len() {
            match self.tls.reader().read(&mut out[got..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // FIN without close_notify.
                Err(_) => {
                    self.ended = true;
                    if self.strict_ends && got == 0 {
                        return Err(Errno::EPROTO);
                    }
                    break;
                }
            }
        }
        Ok(got)
    }

    /// Decrypts records as far as there is room for their contents. The rest is kept.
    fn decrypt(&mut self, mut records: &[u8], wire: BorrowedFd<'_>, out: &mut [u8]) -> Result<usize, Errno> {
        let mut got = 0;
        while !records.is_empty() && !self.ended {
            if self.tls.read_tls(&mut records).is_err() {
                // What it holds has been taken, so it is a message of the handshake that is too long.
                let _ = self.flush(wire);
                self.failure = Some(Failure::Broken(rustls::InvalidMessage::MessageTooLarge.into()));
                return if got > 0 { Ok(got) } else { Err(Errno::EPROTO) };
            }
            if let Err(error) = self.tls.process_new_packets() {
                // The client is told why.
                let _ = self.flush(wire);
                self.failure = Some(Failure::Broken(error));
                got += self.take(&mut out[got..]).unwrap_or(0);
                return if got > 0 { Ok(got) } else { Err(Errno::EPROTO) };
            }
            if self.tls.wants_write() {
                self.flush(wire)?;
            }
            got += self.take(&mut out[got..])?;
            if got == out.len() {
                break;
            }
        }
        self.unread.extend_from_slice(records);
        Ok(got)
    }

    /// Sends records that wait.
    fn flush(&mut self, wire: BorrowedFd<'_>) -> Result<Flushed, Errno> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Wire(wire)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(errno(&error)),
            }
        }
        Ok(Flushed::All)
    }

    /// There is room in the socket.
    pub(crate) fn go_on_sending(&mut self, wire: BorrowedFd<'_>) {
        // What is wrong with the socket comes out with the next read.
        let _ = self.flush(wire);
    }

    /// Sends what the socket takes now; see the module's text.
    pub(crate) fn send(&mut self, wire: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> Result<usize, Errno> {
        if self.is_plain() {
            return sendmsg::<()>(wire.as_raw_fd(), pieces, &[], FLAGS, None);
        }
        if self.tls.is_handshaking() {
            return Err(Errno::ENOTCONN);
        }
        let mut sent = 0;
        loop {
            match self.flush(wire)? {
                Flushed::All => sent += std::mem::take(&mut self.owed),
                Flushed::Blocked if sent > 0 => return Ok(sent),
                Flushed::Blocked => return Err(Errno::EAGAIN),
            }
            let mut ahead = [IoSlice::new(&[]); PIECES];
            let count = gather(pieces, sent, &mut ahead);
            if count == 0 {
                return Ok(sent);
            }
            self.owed = self.tls.writer().write_vectored(&ahead[..count]).map_err(|error| errno(&error))?;
            if self.owed == 0 {
                return Err(Errno::EPIPE);
            }
        }
    }

    /// Sends a few bytes out of the order of [`Self::send`]: all of them, or none where records still wait.
    pub(crate) fn interject(&mut self, wire: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
        if self.is_plain() {
            return send(wire.as_raw_fd(), bytes, FLAGS).map(|_| ());
        }
        if self.tls.is_handshaking() || self.owed > 0 || self.flush(wire)? == Flushed::Blocked {
            return Err(Errno::EAGAIN);
        }
        self.tls.writer().write_all(bytes).map_err(|error| errno(&error))?;
        self.flush(wire).map(|_| ())
    }

    /// Tells the client that nothing more comes (RFC 8446 §6.1), as far as the socket takes it.
    pub(crate) fn say_goodbye(&mut self, wire: BorrowedFd<'_>) {
        if !self.is_plain() {
            self.tls.send_close_notify();
            let _ = self.flush(wire);
        }
    }
}

/// Up to [`AHEAD`] bytes of the pieces, behind the first `skip`; into how many slices.
fn gather<'a>(pieces: &'a [IoSlice<'_>], mut skip: usize, out: &mut [IoSlice<'a>]) -> usize {
    let (mut count, mut room) = (0, AHEAD);
    for piece in pieces {
        let left = &piece[skip.min(piece.len())..];
        skip = skip.saturating_sub(piece.len());
        let left = &left[..left.len().min(room)];
        if left.is_empty() {
            continue;
        }
        if count == out.len() || room == 0 {
            break;
        }
        out[count] = IoSlice::new(left);
        count += 1;
        room -= left.len();
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(pieces: &[&[u8]], skip: usize) -> Vec<u8> {
        let pieces: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut out = [IoSlice::new(&[]); PIECES];
        let count = gather(&pieces, skip, &mut out);
        out[..count].iter().flat_map(|piece| piece.to_vec()).collect()
    }

    #[test]
    fn pieces_are_taken_up_behind_what_is_gone() {
        let pieces: [&[u8]; 4] = [b"ab", b"", b"cde", b"f"];
        for skip in 0..=6 {
            assert_eq!(gathered(&pieces, skip), b"abcdef"[skip..]);
        }
        assert!(gathered(&[], 0).is_empty());
    }

    #[test]
    fn no_more_is_taken_up_than_is_encrypted_ahead() {
        let long = vec![7; AHEAD - 1];
        assert_eq!(gathered(&[&long, b"xyz"], 0).len(), AHEAD);
        assert_eq!(gathered(&[&long, b"xyz"], AHEAD), b"yz");
        assert_eq!(gathered(&[&b"x"[..]; 3 * PIECES], 0).len(), PIECES);
    }
}
