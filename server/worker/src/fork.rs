//! How a worker is born: one fork for Python, two for the kernel.
//!
//! The fork server forks an **intermediate** process, which forks the **worker** and exits, so that the worker becomes a
//! child of the arbiter (PID 1 or the nearest subreaper). Python must see only one fork: two `os.fork()` would run the
//! hooks of `os.register_at_fork` twice. So the parts of a Python fork are called by hand: `PyOS_BeforeFork` here,
//! `PyOS_AfterFork_Parent` in the fork server, `PyOS_AfterFork_Child` in the worker, and nothing in the intermediate,
//! which makes only async-signal-safe calls.
#![allow(unsafe_code)] // fork, and CPython's C functions around it

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getppid, pipe2, read};
use pyo3::Python;
use pyo3::ffi::{PyOS_AfterFork_Child, PyOS_AfterFork_Parent, PyOS_BeforeFork};

use crate::error::EngineError;

/// How long a worker waits to be adopted by the arbiter. The intermediate exits at once, so this is never reached
/// unless the arbiter is gone.
const ADOPTION_LIMIT: Duration = Duration::from_secs(5);

/// What the intermediate tells the fork server: the worker's pid (0: none) and the errno of the second fork.
const REPORT_BYTES: usize = 8;

/// Forks a worker. Returns 0 in the worker, its pid in the fork server. All signals are blocked before the fork; they
/// stay blocked in the worker, until Python has installed its handlers.
pub(crate) fn fork_worker(py: Python<'_>, arbiter_pid: i32) -> Result<i32, EngineError> {
    let (report_read, report_write) =
        pipe2(OFlag::O_CLOEXEC).map_err(EngineError::system("pipe for the worker's pid"))?;
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))
        .map_err(EngineError::system("blocking signals"))?;

    // SAFETY: the GIL is held (`py`), as CPython demands of a fork; exactly one of the two AfterFork functions follows
    // in each process that goes on running Python.
    let intermediate = unsafe {
        PyOS_BeforeFork();
        libc::fork()
    };
    if intermediate == 0 {
        fork_again(report_write.as_raw_fd());
        // Only the worker gets here.
        // SAFETY: this process is the child of the fork that PyOS_BeforeFork announced; the thread is the same.
        unsafe { PyOS_AfterFork_Child() };
        drop((report_read, report_write));
        wait_for_adoption(arbiter_pid);
        return Ok(0);
    }
    let failed = Errno::last();
    // SAFETY: as above, in the parent; also right after a fork that failed.
    unsafe { PyOS_AfterFork_Parent() };
    drop(report_write);
    let outcome = if intermediate < 0 {
        Err(EngineError::System { what: "fork", errno: failed })
    } else {
        py.detach(|| read_report(&report_read, Pid::from_raw(intermediate)))
    };
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)
        .map_err(EngineError::system("restoring the signal mask"))?;
    outcome
}

/// The intermediate's whole life. Returns in the worker only.
fn fork_again(report: RawFd) {
    // SAFETY: async-signal-safe calls on plain values; `_exit` runs no handler and flushes nothing of the parent's.
    unsafe {
        let worker = libc::fork();
        if worker == 0 {
            return;
        }
        let errno = if worker < 0 { *libc::__errno_location() } else { 0 };
        let mut message = [0_u8; REPORT_BYTES];
        message[..4].copy_from_slice(&worker.max(0).to_ne_bytes());
        message[4..].copy_from_slice(&errno.to_ne_bytes());
        // Less than PIPE_BUF: all or nothing. If the fork server is gone nobody is left to be told.
        let _ = libc::write(report, message.as_ptr().cast(), message.len());
        libc::_exit(0);
    }
}

/// The fork server's side: the worker's pid, with the intermediate reaped.
fn read_report(report: &OwnedFd, intermediate: Pid) -> Result<i32, EngineError> {
    let mut message = [0_u8; REPORT_BYTES];
    let length = loop {
        match read(report, &mut message) {
            Err(Errno::EINTR) => {}
            other => break other,
        }
    };
    while waitpid(intermediate, None) == Err(Errno::EINTR) {}
    let [p0, p1, p2, p3, e0, e1, e2, e3] = message;
    match length.map_err(EngineError::system("reading the worker's pid"))? {
        REPORT_BYTES => match i32::from_ne_bytes([p0, p1, p2, p3]) {
            0 => Err(EngineError::System {
                what: "fork of the worker",
                errno: Errno::from_raw(i32::from_ne_bytes([e0, e1, e2, e3])),
            }),
            pid => Ok(pid),
        },
        _ => Err(EngineError::System {
            what: "the intermediate fork (it died before it forked the worker)",
            errno: Errno::ECHILD,
        }),
    }
}

/// Waits until the kernel has given this process to the arbiter. `PR_SET_PDEATHSIG` set any earlier would fire when the
/// intermediate exits.
fn wait_for_adoption(arbiter_pid: i32) {
    let limit = Instant::now() + ADOPTION_LIMIT;
    while getppid().as_raw() != arbiter_pid {
        if Instant::now() > limit {
            let _ = io::Write::write_all(
                &mut io::stderr(),
                b"podicorn: a worker was not adopted by the arbiter, which must have died; it exits\n",
            );
            // SAFETY: ends the process without running anything of the fork server's.
            unsafe { libc::_exit(1) };
        }
        thread::sleep(Duration::from_micros(200));
    }
}
