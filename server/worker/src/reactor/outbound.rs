//! What is still to be sent on a connection.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::uio::pread;

use super::socket::{Socket, Then};

/// Bytes that live elsewhere, a Python `bytes` object for one.
pub(crate) type SharedBytes = Box<dyn AsRef<[u8]> + Send + Sync>;

/// One stretch of output.
pub(crate) enum Piece {
    Owned(Vec<u8>),
    Shared(SharedBytes),
    File(FilePart),
}

/// A stretch of a regular file, sent by the kernel without passing through this process.
pub(crate) struct FilePart {
    pub(crate) file: OwnedFd,
    pub(crate) offset: i64,
    pub(crate) length: u64,
}

impl Piece {
    /// `None`: a file.
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Owned(bytes) => Some(bytes),
            Self::Shared(bytes) => Some((**bytes).as_ref()),
            Self::File(_) => None,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::File(part) => part.length == 0,
            other => other.bytes().is_none_or(<[u8]>::is_empty),
        }
    }
}

/// How far sending got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// The socket takes no more for now; `progress`: it took something.
    Blocked {
        progress: bool,
    },
    /// The client is gone.
    Failed(Errno),
}

/// Pieces in the order in which they go out.
#[derive(Default)]
pub(crate) struct Outbound {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are gone already.
    offset: usize,
    /// Bytes that the socket has taken from here.
    sent: u64,
}

/// Pieces per system call.
const GATHER: usize = 16;
/// Bytes of a file per system call: other connections wait meanwhile.
const FILE_STEP: u64 = 1 << 20;
/// Bytes of a file in memory where the kernel cannot send it by itself.
const COPY_STEP: u64 = 64 * 1024;

impl Outbound {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Bytes that the socket took without passing through here.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Bytes in memory that wait here.
    pub(crate) fn held(&self) -> usize {
        let bytes = self.pieces.iter().filter_map(Piece::bytes).map(<[u8]>::len).sum::<usize>();
        bytes.saturating_sub(self.offset)
    }

    /// Bytes that the socket has taken from here so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.offset = 0;
    }

    /// Sends as much as the socket takes; `then`: behind all that is here.
    pub(crate) fn flush(&mut self, socket: &Arc<Socket>, then: Then) -> Sent {
        let mut progress = false;
        while let Some(first) = self.pieces.front_mut() {
            if let Piece::File(part) = first {
                match part.send(socket) {
                    FileStep::Sent(bytes) => {
                        progress = true;
                        self.sent += bytes;
                        if self.pieces.front().is_some_and(Piece::is_empty) {
                            self.pieces.pop_front();
                        }
                    }
                    FileStep::Copied(bytes) => self.pieces.push_front(Piece::Owned(bytes)),
                    FileStep::Again => {}
                    FileStep::Blocked => return Sent::Blocked { progress },
                    FileStep::Failed(errno) => return Sent::Failed(errno),
                }
                continue;
            }
            let mut slices = [IoSlice::new(&[]); GATHER];
            let mut wanted = 0;
            let mut count = 0;
            let leading = self.pieces.iter().map_while(Piece::bytes);
            for (slice, bytes) in slices.iter_mut().zip(leading) {
                let bytes = if count == 0 { &bytes[self.offset..] } else { bytes };
                *slice = IoSlice::new(bytes);
                wanted += bytes.len();
                count += 1;
            }
            let then = if count == self.pieces.len() { then } else { Then::More };
            match socket.send_pieces(&slices[..count], then) {
                Ok(sent) => {
                    progress |= sent > 0;
                    self.advance(sent);
                    if sent < wanted {
                        return Sent::Blocked { progress };
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Sent::Blocked { progress },
                Err(errno) => return Sent::Failed(errno),
            }
        }
        Sent::All
    }

    fn advance(&mut self, mut sent: usize) {
        self.sent += sent as u64;
        while let Some(first) = self.pieces.front().and_then(Piece::bytes) {
            let left = first.len() - self.offset;
            if sent < left {
                self.offset += sent;
                return;
            }
            sent -= left;
            self.offset = 0;
            self.pieces.pop_front();
        }
    }
}

enum FileStep {
    Sent(u64),
    /// The kernel cannot send this file by itself: these bytes of it come first now.
    Copied(Vec<u8>),
    Again,
    Blocked,
    Failed(Errno),
}

impl FilePart {
    fn send(&mut self, socket: &Socket) -> FileStep {
        let step = usize::try_from(self.length.min(FILE_STEP)).unwrap_or(usize::MAX);
        match socket.send_file(self.file.as_fd(), &mut self.offset, step) {
            // It has become shorter than it was: the response can only be broken off.
            Ok(0) => FileStep::Failed(Errno::EIO),
            Ok(sent) => {
                self.length -= sent as u64;
                FileStep::Sent(sent as u64)
            }
            Err(Errno::EINTR) => FileStep::Again,
            Err(Errno::EAGAIN) => FileStep::Blocked,
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOVERFLOW) => self.copy(),
            Err(errno) => FileStep::Failed(errno),
        }
    }

    fn copy(&mut self) -> FileStep {
        let most = usize::try_from(self.length.min(COPY_STEP)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most];
        match pread(&self.file, &mut bytes, self.offset) {
            Ok(0) => FileStep::Failed(Errno::EIO),
            Ok(read) => {
                bytes.truncate(read);
                self.offset += i64::try_from(read).unwrap_or(0);
                self.length -= read as u64;
                FileStep::Copied(bytes)
            }
            Err(Errno::EINTR) => FileStep::Again,
            Err(errno) => FileStep::Failed(errno),
        }
    }
}
