//! Descriptors that Python hands over by number.
#![allow(unsafe_code)] // taking ownership of a number cannot be checked

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

use crate::error::EngineError;

/// Takes a descriptor over from Python and makes it close-on-exec. The caller promises, by the contract of
/// `podicorn._engine`, that Python neither closes nor uses it any more.
pub(crate) fn adopt(fd: RawFd) -> Result<OwnedFd, EngineError> {
    if fd < 0 {
        return Err(EngineError::System { what: "taking over a descriptor", errno: Errno::EBADF });
    }
    // SAFETY: the number is not negative, and the call only reads the flags: a closed number gives EBADF.
    let probe = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(probe, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(EngineError::system("taking over a descriptor"))?;
    // SAFETY: the descriptor is open (checked above) and the caller gives it up.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A second descriptor for what Python keeps open for as long as this call takes.
pub(crate) fn duplicate(fd: RawFd) -> Result<OwnedFd, EngineError> {
    if fd < 0 {
        return Err(EngineError::System { what: "duplicating a descriptor", errno: Errno::EBADF });
    }
    // SAFETY: the number is not negative, and a closed one gives EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let copy = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(0))
        .map_err(EngineError::system("duplicating a descriptor"))?;
    // SAFETY: fcntl has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Listening sockets are shared between the workers: a worker that loses the race for a connection must not sleep in
/// `accept`.
pub(crate) fn set_nonblocking(fd: &OwnedFd) -> Result<(), EngineError> {
    let flags = fcntl(fd, FcntlArg::F_GETFL).map_err(EngineError::system("fcntl(F_GETFL)"))?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(fd, FcntlArg::F_SETFL(flags)).map_err(EngineError::system("fcntl(F_SETFL)"))?;
    Ok(())
}
