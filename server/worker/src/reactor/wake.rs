//! The pipe that ends a wait: written to by `CPython`'s C-level signal handler (`signal.set_wakeup_fd`) and by `stop`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};

use crate::error::EngineError;

/// A pipe, not an eventfd: `CPython` writes single bytes, which an eventfd refuses.
#[derive(Debug)]
pub(crate) struct Wake {
    read: OwnedFd,
    write: OwnedFd,
}

impl Wake {
    pub(crate) fn new() -> Result<Self, EngineError> {
        let (read, write) =
            pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(EngineError::system("pipe for wake-ups"))?;
        Ok(Self { read, write })
    }

    /// Ends the current or the next wait. A full pipe is as good as one more byte.
    pub(crate) fn ring(&self) {
        let _ = write(&self.write, &[0]);
    }

    /// Takes back all that was written.
    pub(crate) fn drain(&self) {
        let mut bytes = [0; 64];
        while matches!(read(&self.read, &mut bytes), Ok(64) | Err(Errno::EINTR)) {}
    }

    /// For `signal.set_wakeup_fd`.
    pub(crate) fn writing_end(&self) -> RawFd {
        self.write.as_raw_fd()
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}
