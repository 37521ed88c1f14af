//! Starts the fork server's process: Python on our engine, with the control socket and a pipe for stacks.
#![allow(unsafe_code)] // pre_exec runs between fork and exec

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use nix::unistd::pipe2;

use super::Interpreter;
use crate::{systemd, upgrade};

/// Drops the working directory from the front of `sys.path` until the package is imported, so that a `socket.py` beside
/// the app does not stand in for the standard library's.
const BOOT: &str = "import sys; sys.path[:1] = [p for p in sys.path[:1] if p]; \
                    from podicorn.forkserver import main; main()";

/// The most that one message may be, as long as the system's own limit allows it.
pub const MESSAGE_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("cannot make the control channel of the fork server: {0}")]
    Channel(#[from] nix::Error),
    #[error(
        "cannot run the Python interpreter {} ({origin}) in the directory {}: {source}; name another one with --python",
        program.display(), directory.display()
    )]
    Exec {
        program: std::path::PathBuf,
        origin: &'static str,
        directory: std::path::PathBuf,
        source: std::io::Error,
    },
}

/// A fork server that has just been started.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    /// Our end, non-blocking.
    pub control: OwnedFd,
    /// What its threads are doing, when asked by the stack signal. Non-blocking.
    pub stacks: OwnedFd,
}

/// Runs the interpreter in the directory that the server was started in. The child is reaped by the arbiter's own `waitpid`, not through `std::process`.
pub fn spawn(python: &Interpreter, directory: &Path) -> Result<Process, SpawnError> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    for end in [&ours, &theirs] {
        setsockopt(end, sockopt::SndBuf, &MESSAGE_BYTES)?;
        setsockopt(end, sockopt::RcvBuf, &MESSAGE_BYTES)?;
    }
    set_nonblocking(&ours)?;
    let (stacks, stack_end) = stack_pipe()?;

    let inherited = [theirs.as_raw_fd(), stack_end.as_raw_fd()];
    let mut command = Command::new(&python.program);
    for variable in systemd::OURS.into_iter().chain(upgrade::OURS) {
        command.env_remove(variable);
    }
    command
        .current_dir(directory)
        .args(&python.arguments)
        .args(["-c", BOOT])
        .args(inherited.map(|fd| fd.to_string()));
    // SAFETY: only fcntl(2), on descriptors that the parent keeps open until after the exec, and rt_sigaction(2): both
    // async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            default_signals();
            keep_open(inherited)
        })
    };
    let child = command.spawn().map_err(|source| SpawnError::Exec {
        program: python.program.clone(),
        origin: python.origin,
        directory: directory.into(),
        source,
    })?;
    let pid = i32::try_from(child.id()).unwrap_or(0);
    Ok(Process { pid, control: ours, stacks })
}

/// A pipe on which faulthandler writes: our end does not block, the other does.
pub fn stack_pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(&read)?;
    Ok((read, write))
}

fn set_nonblocking(fd: &OwnedFd) -> nix::Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

/// Signals that our parent ignored (as nohup does) would stay ignored in every program that the app runs. glibc refuses to
/// name the two that it keeps for itself, so the kernel is asked.
fn default_signals() {
    let default = [0_u64; 4];
    for number in 1..=64 {
        // SAFETY: `default` is a zeroed kernel sigaction (32 bytes: SIG_DFL, no flags, no restorer, an empty mask of 8
        // bytes). KILL and STOP are refused, which is as good.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<libc::c_void>(),
                8,
            )
        };
    }
}

fn keep_open(inherited: [RawFd; 2]) -> std::io::Result<()> {
    for fd in inherited {
        // SAFETY: open descriptors of this process, borrowed for one call.
        let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    Ok(())
}
