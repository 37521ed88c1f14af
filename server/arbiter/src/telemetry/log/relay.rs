//! The arbiter's log records on their way to Python's logging, in the fork server.
//!
//! One packet is one JSON object: level, message, pid and time (seconds of Unix time), or `{"reopen": true}`. Nothing
//! here waits: what the socket does not take, the caller writes itself. The arbiter keeps the reader's end too, so that
//! records which a dead fork server has not read are not lost.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt,
};
use serde::{Deserialize, Serialize};

/// What may wait for a fork server that is busy importing.
const BUFFER_BYTES: usize = 1 << 20;
/// The most that one record may be; the fork server's own limit.
const RECORD_BYTES: usize = 512 * 1024;

/// A record as the fork server gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) level: String,
    pub(super) message: String,
    pub(super) pid: u32,
    pub(super) time: f64,
}

/// Both ends of the way to one fork server.
#[derive(Debug)]
pub struct Relay {
    ours: OwnedFd,
    theirs: Arc<OwnedFd>,
}

impl Relay {
    pub fn new() -> nix::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        setsockopt(&ours, sockopt::SndBuf, &BUFFER_BYTES)?;
        setsockopt(&theirs, sockopt::RcvBuf, &BUFFER_BYTES)?;
        Ok(Self { ours, theirs: Arc::new(theirs) })
    }

    /// One that another program has made for a fork server which still reads it.
    pub fn resume(ours: OwnedFd, theirs: OwnedFd) -> Self {
        Self { ours, theirs: Arc::new(theirs) }
    }

    /// Our end and the reader's.
    pub fn ends(&self) -> [&OwnedFd; 2] {
        [&self.ours, &self.theirs]
    }

    /// The end that goes to the fork server.
    pub fn reader(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.theirs)
    }

    /// False: the caller has to see to the record.
    pub(super) fn send(&self, record: &Record) -> bool {
        serde_json::to_vec(record).is_ok_and(|packet| self.send_packet(&packet))
    }

    /// The reader is to open its files again.
    pub(super) fn reopen(&self) {
        self.send_packet(br#"{"reopen": true}"#);
    }

    fn send_packet(&self, packet: &[u8]) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        packet.len() <= RECORD_BYTES
            && loop {
                match send(self.ours.as_raw_fd(), packet, flags) {
                    Ok(_) => break true,
                    Err(Errno::EINTR) => {}
                    Err(_) => break false,
                }
            }
    }

    /// What nobody has read.
    pub(super) fn take_unread(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut packet = vec![0; RECORD_BYTES];
        loop {
            match recv(self.theirs.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return records,
                Ok(length) => records.extend(serde_json::from_slice::<Record>(&packet[..length])),
                Err(Errno::EINTR) => {}
                Err(_) => return records,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: usize) -> Record {
        Record { level: "info".into(), message: format!("{number}: {}", "x".repeat(900)), pid: 1, time: 0.5 }
    }

    #[test]
    fn what_nobody_reads_fills_the_socket_and_comes_back_in_order() {
        let relay = Relay::new().unwrap();
        relay.reopen();
        let taken = (0..100_000).take_while(|number| relay.send(&record(*number))).count();
        assert!(taken > 10, "{taken}");
        assert!(taken < 100_000, "it never refuses");
        let unread = relay.take_unread();
        assert_eq!(unread, (0..taken).map(record).collect::<Vec<_>>());
        assert!(relay.take_unread().is_empty());
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let relay = Relay::new().unwrap();
        assert!(!relay.send(&Record { message: "x".repeat(RECORD_BYTES), ..record(0) }));
    }
}
