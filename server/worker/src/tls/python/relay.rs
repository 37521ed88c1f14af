//! One client between two sockets: records on its own, and what is in them on the pair that leads to the reactor.
//!
//! What waits is bounded: the client is not read while the reactor does not take, and the reactor is not read while the
//! client does not take.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use pyo3::prelude::*;

use super::context::PythonTls;
use super::link::Link;
use super::session::{Names, Session, Step};
use crate::clock::Nanos;
use crate::tls::session::Failure;

/// Bytes of one step.
pub(super) const STEP: usize = 64 * 1024;
/// Records that wait for the client: with more no others are made.
const AHEAD: usize = 32 * 1024;
/// Steps of one client before it is the others' turn.
const STEPS: usize = 16;

const FLAGS: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);

/// Of which socket an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Reactor,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Waits,
    /// There is more to do, and no event will tell.
    GoesOn,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
    /// Plain HTTP has come: bytes are passed on as they are.
    Plain,
    /// There is no session, and what either side sends is thrown away.
    Failed,
}

/// Bytes on their way into a socket.
#[derive(Debug, Default)]
struct Backlog {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn clear(&mut self) {
        self.bytes = Vec::new();
        self.sent = 0;
    }

    /// Sends what the socket takes; whether it was anything.
    fn send(&mut self, socket: &OwnedFd) -> Result<bool, Errno> {
        let before = self.sent;
        while self.len() > 0 {
            match send(socket.as_raw_fd(), &self.bytes[self.sent..], FLAGS) {
                Ok(sent) => self.sent += sent,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(self.sent > before),
                Err(errno) => return Err(errno),
            }
        }
        let moved = self.sent > before;
        if moved {
            // An idle client holds no memory.
            self.clear();
        }
        Ok(moved)
    }
}

/// See the module's text.
#[allow(clippy::struct_excessive_bools)] // independent facts, not states
pub(super) struct Relay {
    client: OwnedFd,
    reactor: OwnedFd,
    link: Arc<Link>,
    session: Session,
    stage: Stage,
    /// To the client.
    records: Backlog,
    /// To the reactor.
    contents: Backlog,
    /// From the reactor, and not encrypted yet.
    unencrypted: Vec<u8>,
    /// FIN has come.
    fin: bool,
    /// Nothing more comes from the client, and the reactor has been told.
    client_ended: bool,
    /// Nothing more comes from the reactor.
    reactor_ended: bool,
    /// It has closed its end.
    reactor_gone: bool,
    said_goodbye: bool,
    fin_sent: bool,
    /// The client's socket is of no more use.
    lost: bool,
    /// When a client that takes nothing is given up.
    pub(super) until: Option<Nanos>,
}

/// What the steps of all relays need.
pub(super) struct Tools<'a> {
    pub(super) names: &'a Names,
    pub(super) rules: &'a PythonTls,
    pub(super) scratch: &'a mut [u8],
    pub(super) now: Nanos,
    /// How long a client that takes nothing is waited for when the reactor has done with it.
    pub(super) patience: Option<Nanos>,
}

impl Relay {
    pub(super) fn new(client: OwnedFd, reactor: OwnedFd, link: Arc<Link>, session: Session) -> Self {
        Self {
            client,
            reactor,
            link,
            session,
            stage: Stage::Handshake,
            records: Backlog::default(),
            contents: Backlog::default(),
            unencrypted: Vec::new(),
            fin: false,
            client_ended: false,
            reactor_ended: false,
            reactor_gone: false,
            said_goodbye: false,
            fin_sent: false,
            lost: false,
            until: None,
        }
    }

    pub(super) fn socket(&self, side: Side) -> &impl AsFd {
        match side {
            Side::Client => &self.client,
            Side::Reactor => &self.reactor,
        }
    }

    /// What epoll says.
    pub(super) fn note(&mut self, side: Side, flags: EpollFlags) {
        match side {
            Side::Client => self.lost |= flags.contains(EpollFlags::EPOLLERR),
            Side::Reactor => {
                self.reactor_gone |= flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
            }
        }
    }

    /// Moves what can be moved.
    pub(super) fn drive(&mut self, py: Python<'_>, tools: &mut Tools<'_>) -> Life {
        for _ in 0..STEPS {
            let came = self.bring_in(py, tools);
            let went = self.take_out(py, tools);
            let sent = self.send_records(tools);
            if self.is_over() {
                return Life::Over;
            }
            if !(came || went || sent) {
                return Life::Waits;
            }
        }
        Life::GoesOn
    }

    /// All that TLS had to say is with the client.
    fn has_said_all(&self) -> bool {
        let said = self.said_goodbye || self.stage != Stage::Open;
        self.reactor_ended && said && self.records.len() == 0
    }

    fn is_over(&self) -> bool {
        let all = self.has_said_all() && self.unencrypted.is_empty();
        self.lost || all && (self.reactor_gone || self.client_ended)
    }

    // ---- from the client ----

    /// One step from the client to the reactor; whether something has moved.
    fn bring_in(&mut self, py: Python<'_>, tools: &mut Tools<'_>) -> bool {
        let passed = self.contents.send(&self.reactor).unwrap_or_else(|_| {
            // The reactor has gone, and with it whoever would have read on.
            self.contents.clear();
            true
        });
        if self.contents.len() > 0 || self.client_ended {
            return passed;
        }
        let stage = self.stage;
        let step = match stage {
            Stage::Plain | Stage::Failed => return passed | self.take_as_it_is(tools),
            Stage::Open if self.said_goodbye => return passed | self.take_as_it_is(tools),
            Stage::Handshake => self.session.handshake(py, tools.names),
            Stage::Open => self.session.read(py, tools.names, STEP, &mut self.contents.bytes),
        };
        // Answers of the handshake, tickets, alerts.
        self.session.take_records(py, &mut self.records.bytes);
        match step {
            Step::Done(()) if stage == Stage::Handshake => self.open(py, tools),
            Step::Done(()) => {}
            Step::Wants if self.fin => self.end_without_a_word(tools.rules.strict_ends),
            Step::Wants => return passed | self.feed(py, tools),
            Step::Ended => self.end_client(),
            Step::Failed(why) => self.fail(Failure::Python(why)),
        }
        true
    }

    fn open(&mut self, py: Python<'_>, tools: &Tools<'_>) {
        match self.session.facts(py, tools.rules) {
            Ok(facts) => {
                self.link.open(facts);
                self.stage = Stage::Open;
            }
            Err(error) => self.fail(Failure::Python(error.to_string())),
        }
    }

    /// Gives the session records; whether there were any, or the end of them.
    fn feed(&mut self, py: Python<'_>, tools: &mut Tools<'_>) -> bool {
        let Some(received) = self.receive(tools) else { return false };
        let records = &tools.scratch[..received];
        // OpenSSL does not hear of FIN: it would take it for the end of the other direction as well.
        if received == 0 {
            return true;
        }
        if self.link.begin() && records[0].is_ascii_alphabetic() {
            // Records begin with a number below 32 (RFC 8446 §5.1), requests with the letter of a method.
            self.link.fail(Failure::Plain);
            self.stage = Stage::Plain;
            self.contents.bytes.extend_from_slice(records);
        } else if let Err(why) = self.session.feed(py, records) {
            self.fail(Failure::Python(why));
        }
        true
    }

    /// Passes on what is no record, or throws away what comes too late.
    fn take_as_it_is(&mut self, tools: &mut Tools<'_>) -> bool {
        let Some(received) = self.receive(tools) else { return false };
        if received == 0 {
            self.end_client();
        } else if self.stage == Stage::Plain {
            self.contents.bytes.extend_from_slice(&tools.scratch[..received]);
        }
        true
    }

    /// What has come, to `scratch`; 0: FIN.
    fn receive(&mut self, tools: &mut Tools<'_>) -> Option<usize> {
        loop {
            match recv(self.client.as_raw_fd(), tools.scratch, FLAGS) {
                Ok(received) => {
                    self.fin |= received == 0;
                    return Some(received);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return None,
                Err(_) => {
                    self.lost = true;
                    return None;
                }
            }
        }
    }

    /// FIN without `close_notify`.
    fn end_without_a_word(&mut self, strict: bool) {
        // Who has not sent a byte has only looked whether the port is open.
        if self.stage == Stage::Handshake && self.link.has_begun() {
            self.fail(Failure::Unfinished);
        } else if self.stage == Stage::Open && strict {
            self.link.cut();
        }
        self.end_client();
    }

    fn end_client(&mut self) {
        self.client_ended = true;
        let _ = shutdown(self.reactor.as_raw_fd(), Shutdown::Write);
    }

    fn fail(&mut self, failure: Failure) {
        self.link.fail(failure);
        self.stage = Stage::Failed;
        self.unencrypted = Vec::new();
        let _ = shutdown(self.reactor.as_raw_fd(), Shutdown::Write);
    }

    // ---- from the reactor ----

    /// One step from the reactor to the client; whether something has moved.
    fn take_out(&mut self, py: Python<'_>, tools: &mut Tools<'_>) -> bool {
        if self.records.len() >= AHEAD {
            return false;
        }
        let mut moved = false;
        if self.unencrypted.is_empty() && !self.reactor_ended {
            match recv(self.reactor.as_raw_fd(), &mut tools.scratch[..AHEAD], FLAGS) {
                Ok(0) => self.reactor_ended = true,
                Ok(received) => match self.stage {
                    Stage::Open => self.unencrypted.extend_from_slice(&tools.scratch[..received]),
                    Stage::Plain => self.records.bytes.extend_from_slice(&tools.scratch[..received]),
                    Stage::Handshake | Stage::Failed => {}
                },
                Err(Errno::EAGAIN) => return false,
                Err(Errno::EINTR) => {}
                // It has closed its end with bytes in it that it has not read.
                Err(_) => (self.reactor_ended, self.reactor_gone) = (true, true),
            }
            moved = true;
        }
        if self.stage == Stage::Open && !self.unencrypted.is_empty() {
            match self.session.write(py, tools.names, &self.unencrypted) {
                Step::Done(written) => {
                    self.unencrypted.drain(..written.min(self.unencrypted.len()));
                    moved = true;
                }
                // Version 1.2 may have to shake hands in between.
                Step::Wants => {}
                Step::Ended => self.fail(Failure::Python("the session has ended".to_owned())),
                Step::Failed(why) => self.fail(Failure::Python(why)),
            }
            self.session.take_records(py, &mut self.records.bytes);
        }
        if self.stage == Stage::Open
            && self.reactor_ended
            && self.unencrypted.is_empty()
            && !self.said_goodbye
        {
            self.said_goodbye = true;
            self.session.say_goodbye(py);
            self.session.take_records(py, &mut self.records.bytes);
            moved = true;
        }
        moved
    }

    /// Sends records, and FIN behind the last one; whether the client has taken anything.
    fn send_records(&mut self, tools: &Tools<'_>) -> bool {
        let Ok(moved) = self.records.send(&self.client) else {
            self.lost = true;
            return false;
        };
        let waits = self.reactor_gone && self.records.len() > 0;
        self.until = match self.until {
            Some(until) if waits && !moved => Some(until),
            _ => tools.patience.filter(|_| waits).map(|patience| tools.now + patience),
        };
        if self.has_said_all() && !self.fin_sent {
            self.fin_sent = true;
            let _ = shutdown(self.client.as_raw_fd(), Shutdown::Write);
        }
        moved
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A child that the app has forked holds copies.
        if crate::engine::forks::has_forked() {
            let _ = shutdown(self.client.as_raw_fd(), Shutdown::Both);
            let _ = shutdown(self.reactor.as_raw_fd(), Shutdown::Both);
        }
    }
}
