//! What is still to be sent on a connection.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use nix::errno::Errno;

use super::socket::Socket;

/// Bytes that live elsewhere, a Python `bytes` object for one.
pub(crate) type SharedBytes = Box<dyn AsRef<[u8]> + Send + Sync>;

/// One stretch of output.
pub(crate) enum Piece {
    Owned(Vec<u8>),
    Shared(SharedBytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => (**bytes).as_ref(),
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
}

/// Pieces per system call.
const GATHER: usize = 16;

impl Outbound {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        if !piece.bytes().is_empty() {
            self.pieces.push_back(piece);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.offset = 0;
    }

    /// Sends as much as the socket takes.
    pub(crate) fn flush(&mut self, socket: &Arc<Socket>) -> Sent {
        let mut progress = false;
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); GATHER];
            let mut wanted = 0;
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                let bytes = if count == 0 { &piece.bytes()[self.offset..] } else { piece.bytes() };
                *slice = IoSlice::new(bytes);
                wanted += bytes.len();
                count += 1;
            }
            match socket.send_pieces(&slices[..count]) {
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
        while let Some(first) = self.pieces.front() {
            let left = first.bytes().len() - self.offset;
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
