//! Signals to the arbiter.
//!
//! Standard signals coalesce while they are pending, so one handler counts every delivery (an atomic per signal) and
//! wakes the loop through an eventfd. Handlers are installed before anything else: PID 1 has no default actions, and an
//! early TERM must count.
#![allow(unsafe_code)] // sigaction, and a handler that may only do what signal-safety(7) allows

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{getpid, gettid};
use tokio::io::unix::AsyncFd;

use crate::kernel;

/// The signals that the arbiter handles, the urgent ones first.
const HANDLED: [Signal; 10] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGCHLD,
    Signal::SIGHUP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

static COUNTS: [AtomicU32; HANDLED.len()] = [const { AtomicU32::new(0) }; HANDLED.len()];
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// Counts the delivery and wakes the loop. Only atomics and write(2): both async-signal-safe.
extern "C" fn on_signal(number: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    let saved = Errno::last_raw();
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t.
    let code = unsafe { (*info).si_code };
    // A terminal raises TTIN, TTOU and WINCH too (positive codes): only people and programs may scale.
    let of_terminals = [libc::SIGTTIN, libc::SIGTTOU, libc::SIGWINCH];
    let from_terminal = code > 0 && of_terminals.contains(&number);
    if let Some(position) = HANDLED.iter().position(|signal| *signal as libc::c_int == number)
        && !from_terminal
    {
        COUNTS[position].fetch_add(1, Ordering::Release);
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight readable bytes; a wrong or full descriptor only yields an error, which is not needed.
        unsafe { libc::write(WAKE.load(Ordering::Acquire), one.as_ptr().cast(), one.len()) };
    }
    Errno::set_raw(saved);
}

/// Leaves all signals to the main thread: at the start of every other one. While that one holds them back they are pending
/// for the process, and an exec loses none.
pub fn leave_to_main_thread() {
    if gettid() != getpid() {
        hold_back();
    }
}

/// From now on signals to this thread wait.
pub fn hold_back() {
    let _ = SigSet::all().thread_block();
}

/// Those that have waited come now.
pub fn let_through() {
    let _ = SigSet::all().thread_unblock();
}

/// Deliveries that nobody has heard of yet, by number.
pub fn take() -> Vec<(i32, u32)> {
    let taken =
        HANDLED.iter().zip(&COUNTS).map(|(signal, count)| (*signal as i32, count.swap(0, Ordering::AcqRel)));
    taken.filter(|(_, count)| *count > 0).collect()
}

/// As if they had been delivered now.
pub fn put_back(taken: &[(i32, u32)]) {
    for (number, deliveries) in taken {
        if let Some(position) = HANDLED.iter().position(|signal| *signal as i32 == *number) {
            COUNTS[position].fetch_add(*deliveries, Ordering::AcqRel);
        }
    }
    let one = 1_u64.to_ne_bytes();
    // SAFETY: eight readable bytes; a wrong or full descriptor only yields an error, which is not needed.
    unsafe { libc::write(WAKE.load(Ordering::Acquire), one.as_ptr().cast(), one.len()) };
}

/// The deliveries since the last look.
#[derive(Debug)]
pub struct Signals {
    wake: EventFd,
}

impl Signals {
    /// Installs the handlers. Once per process.
    pub fn install() -> nix::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        WAKE.store(wake.as_raw_fd(), Ordering::Release);
        let flags = SaFlags::SA_SIGINFO | SaFlags::SA_RESTART | SaFlags::SA_NOCLDSTOP;
        let action = SigAction::new(SigHandler::SigAction(on_signal), flags, SigSet::empty());
        for signal in HANDLED {
            // SAFETY: `on_signal` is async-signal-safe.
            unsafe { sigaction(signal, &action) }?;
        }
        Ok(Self { wake })
    }

    /// The loop's side: readable when there is something to take.
    pub fn into_async(self) -> std::io::Result<SignalStream> {
        Ok(SignalStream { wake: kernel::watch(self.wake.into())? })
    }
}

/// See [`Signals::into_async`].
#[derive(Debug)]
pub struct SignalStream {
    wake: AsyncFd<OwnedFd>,
}

impl SignalStream {
    /// Waits for signals; each with the number of its deliveries since the last call.
    pub async fn next(&self) -> std::io::Result<Vec<(Signal, u32)>> {
        loop {
            let mut ready = self.wake.readable().await?;
            // The value does not matter, only that it is taken before the counts are.
            kernel::quiet(&self.wake);
            ready.clear_ready();
            let taken: Vec<(Signal, u32)> = HANDLED
                .iter()
                .zip(&COUNTS)
                .map(|(signal, count)| (*signal, count.swap(0, Ordering::AcqRel)))
                .filter(|(_, count)| *count > 0)
                .collect();
            if !taken.is_empty() {
                return Ok(taken);
            }
        }
    }
}

/// The realtime signal on which Python processes write their stacks at once, in C. It may end one whose other threads run:
/// for those that are to be killed anyway, or have not answered [`ask_signal`].
pub fn stack_signal() -> i32 {
    libc::SIGRTMIN() + 6
}

/// The one on which they do it as soon as Python runs signal handlers.
pub fn ask_signal() -> i32 {
    libc::SIGRTMIN() + 7
}

/// A child of ours, for a signal that comes later: by then its number may be another's (`pidfd_open(2)`).
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// `pid` has not been waited for yet.
    pub fn open(pid: i32) -> nix::Result<Self> {
        // SAFETY: pidfd_open(2) takes plain numbers.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        // SAFETY: the kernel has just given us this descriptor, which is close-on-exec.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) }))
    }

    /// As [`send`]. `ESRCH`: it has ended.
    pub fn send(&self, number: i32) -> nix::Result<()> {
        let (fd, no_info) = (self.0.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: without a siginfo_t pidfd_send_signal(2) takes plain numbers.
        Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, no_info, 0) }).map(drop)
    }
}

/// Sends any signal, realtime ones included.
pub fn send(pid: i32, number: i32) -> nix::Result<()> {
    // 0 and negative pids are groups: nobody here means those.
    if pid <= 0 {
        return Err(Errno::ESRCH);
    }
    // SAFETY: kill(2) takes plain numbers.
    Errno::result(unsafe { libc::kill(pid, number) }).map(drop)
}

/// Makes orphans of our descendants ours, where we are not PID 1 already.
pub fn become_subreaper() -> nix::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)
}
