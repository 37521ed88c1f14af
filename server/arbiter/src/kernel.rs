//! The few calls to the kernel that no safe wrapper makes.
#![allow(unsafe_code)] // tokio's registration, waitpid, getsockopt with a plain C struct, a descriptor given by number

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;

use crate::pool::Exit;
use crate::status::AcceptQueue;

/// Lets the event loop wait for a descriptor.
pub(crate) fn watch(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names one open descriptor for as long as it lives, and the AsyncFd owns it from here on.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Marks every descriptor above stderr close-on-exec: what the parent left open (a `fd://` socket, a job server's pipe) is
/// not Python's. Kernels before 5.11 cannot; there Python inherits what it always did.
pub(crate) fn keep_descriptors_to_ourselves() {
    let flags = libc::c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or(0);
    // SAFETY: plain numbers; it closes nothing in this process.
    unsafe { libc::close_range(3, libc::c_uint::MAX, flags) };
}

/// A time as nanoseconds of the monotonic clock, for other processes.
pub(crate) fn monotonic(at: Instant) -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    let then = now + at.saturating_duration_since(Instant::now());
    u64::try_from(then.as_nanos()).unwrap_or(u64::MAX)
}

/// Takes the value of an eventfd; what it was does not matter.
pub(crate) fn quiet(eventfd: &AsyncFd<OwnedFd>) {
    let _ = nix::unistd::read(eventfd.get_ref(), &mut [0; 8]);
}

/// How many connections wait in a TCP listener's accept queue, and how many may (`TCP_INFO` on a listening socket).
pub(crate) fn accept_queue(listener: impl AsFd) -> Option<AcceptQueue> {
    // SAFETY: tcp_info is plain numbers; all zeroes is a valid value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the buffer is `length` bytes and outlives the call.
    let result = unsafe {
        libc::getsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(AcceptQueue { length: info.tcpi_unacked, limit: info.tcpi_sacked })
}

/// A second handle to a descriptor that somebody else gave us by number (`fd://3`).
pub(crate) fn duplicate_inherited(number: i32) -> nix::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: the number is only borrowed for fcntl, which checks that it is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed
        .try_clone_to_owned()
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EBADF)))
}

/// Takes a descriptor over that somebody else gave us by number and that nobody else here uses.
pub(crate) fn take_inherited(number: i32) -> nix::Result<OwnedFd> {
    let taken = duplicate_inherited(number)?;
    // The number itself would keep a socket open that is to end.
    let _ = nix::unistd::close(number);
    Ok(taken)
}

/// A descriptor that stays open under its number for as long as this process lives (`fd://3`).
pub(crate) fn borrow_inherited(number: i32) -> Option<BorrowedFd<'static>> {
    // SAFETY: a number that was given to this process is never closed by it; -1 alone is not allowed here.
    (number >= 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

/// Reaps one child of any kind that has ended; `None` if there is none now.
///
/// Not nix's `waitpid`: that one reaps a child that died by a realtime signal and then cannot say which it was.
pub(crate) fn wait_any() -> Option<(i32, Exit)> {
    loop {
        let mut status = 0;
        // SAFETY: the status is a valid int for the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid == 0 || (pid < 0 && Errno::last() != Errno::EINTR) {
            return None;
        }
        if pid > 0 && libc::WIFEXITED(status) {
            return Some((pid, Exit::Code(libc::WEXITSTATUS(status))));
        }
        if pid > 0 && libc::WIFSIGNALED(status) {
            return Some((pid, Exit::Signal(libc::WTERMSIG(status))));
        }
    }
}
