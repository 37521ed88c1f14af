//! Taking listening sockets out of service without losing a client: first new connections are kept out, then what has come
//! is accepted, then the sockets are shut down. Closing one whose queue is empty is not enough: a client may be in the middle
//! of its handshake, and get a reset.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockFilter, SockRef};

use crate::listeners::Listener;

/// How often the queues are looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long they have to be empty, so that handshakes under way can end.
const QUIET: Duration = Duration::from_millis(20);

/// Of what a listening TCP socket gets (its skbs begin at the TCP header), everything but a SYN without ACK. What begins a
/// connection is dropped, not answered: its client tries again in a second, and finds the socket shut down or another
/// pod. Handshakes under way end as ever. It takes no privilege, but there are kernels that grant it to root alone.
fn no_new_connections() -> [SockFilter; 5] {
    const FLAGS_BYTE: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let op = |code: u32, jt, jf, k| SockFilter::new(u16::try_from(code).unwrap_or(0), jt, jf, k);
    [
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS_BYTE),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ]
}

impl Listener {
    /// Keeps new connections out: by a filter, or by removing the socket's file. Not where others have the socket too.
    pub fn keep_out_new(&self) {
        if self.is_shared() {
            return;
        }
        if self.description().family != "tcp" {
            self.remove_file();
        } else if let Err(error) = SockRef::from(&*self.socket).attach_filter(&no_new_connections()) {
            tracing::warn!("Cannot keep new connections from {self}: {error}; some may be reset at the end");
        }
    }

    /// Whether a connection waits in the accept queue.
    pub fn has_waiting(&self) -> bool {
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        // Should it fail, there is nothing to wait for.
        matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1..) | Err(Errno::EINTR))
            && polled[0].revents().is_some_and(|flags| flags.contains(PollFlags::POLLIN))
    }

    /// Ends it for every process that has it. Closing would leave it open in the workers, and in children of the app.
    pub fn shut_down(&self) {
        if !self.is_shared() {
            let _ = SockRef::from(&*self.socket).shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Waits for the accept queues to be empty for long enough. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    next_look: Instant,
    /// Since when they have been found empty.
    quiet_since: Option<Instant>,
    give_up_at: Instant,
}

/// What a look at the queues has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Again,
    /// Nobody is left there.
    Empty,
    /// Somebody still is: whoever could accept them does not.
    InVain,
}

impl Watch {
    pub fn new(now: Instant, patience: Duration) -> Self {
        Self { next_look: now, quiet_since: None, give_up_at: now + patience }
    }

    /// When [`Self::look`] is next due.
    pub fn due(&self) -> Instant {
        self.next_look
    }

    pub fn look(&mut self, waiting: bool, now: Instant) -> Look {
        self.next_look = now + LOOK;
        if waiting {
            self.quiet_since = None;
            return if now < self.give_up_at { Look::Again } else { Look::InVain };
        }
        let since = *self.quiet_since.get_or_insert(now);
        if now.duration_since(since) < QUIET { Look::Again } else { Look::Empty }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_must_stay_empty_for_a_while() {
        let start = Instant::now();
        let mut watch = Watch::new(start, Duration::from_secs(1));
        assert_eq!(watch.look(false, start), Look::Again);
        assert_eq!(watch.due(), start + LOOK);
        assert_eq!(watch.look(true, start + QUIET / 2), Look::Again);
        assert_eq!(watch.look(false, start + QUIET), Look::Again, "it begins anew");
        assert_eq!(watch.look(false, start + 2 * QUIET), Look::Empty);
    }

    #[test]
    fn there_is_an_end_to_waiting() {
        let start = Instant::now();
        let mut watch = Watch::new(start, Duration::from_secs(1));
        assert_eq!(watch.look(true, start + Duration::from_millis(999)), Look::Again);
        assert_eq!(watch.look(true, start + Duration::from_secs(1)), Look::InVain);
    }
}
