//! Taking connections from the listeners that all workers share.
//!
//! Each worker's epoll has the listeners with `EPOLLEXCLUSIVE`, so an arrival wakes one worker. The kernel wakes the first
//! in the queue, always the same one; taking the listener out and adding it again after each accept puts this worker at
//! the end, so that the workers take turns.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::conn::Connection;
use super::socket::Socket;
use super::{Notice, Reactor, WAKE};
use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::listener::Listener;
use crate::trust::TrustedPeers;

/// How long to leave the listeners alone after the kernel had no descriptor or memory left.
const PAUSE: Nanos = 100 * MILLISECOND;

/// Whether connections are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// Until no connection waits any more: the whole server is stopping.
    UntilEmpty,
    Closed,
}

/// How often the log hears of such a shortage.
const COMPLAIN_EVERY: Nanos = 10 * SECOND;

struct Watched {
    listener: Listener,
    /// In epoll.
    armed: bool,
    /// epoll has just said that a connection waits.
    arrivals: bool,
    /// Nothing will come from it any more.
    done: bool,
}

/// The listeners and when to ask them.
pub(crate) struct Acceptor {
    epoll: Arc<Epoll>,
    listeners: Vec<Watched>,
    trusted: TrustedPeers,
    /// Most connections at a time.
    most: usize,
    mode: Mode,
    paused_until: Option<Nanos>,
    complain_again_at: Nanos,
    /// The listener to ask first, so that a busy one does not starve the others.
    turn: usize,
}

impl Acceptor {
    /// The listeners enter epoll with the first turn.
    pub(super) fn new(
        epoll: Arc<Epoll>,
        listeners: Vec<Listener>,
        trusted: TrustedPeers,
        most: usize,
    ) -> Self {
        let listeners = listeners
            .into_iter()
            .map(|listener| Watched { listener, armed: false, arrivals: false, done: false })
            .collect();
        Self {
            epoll,
            listeners,
            trusted,
            most,
            mode: Mode::Open,
            paused_until: None,
            complain_again_at: 0,
            turn: 0,
        }
    }

    /// When to look at the listeners without being told by epoll.
    pub(super) fn due(&self, connections: usize) -> Option<Nanos> {
        match self.mode {
            Mode::UntilEmpty if connections < self.most => Some(self.paused_until.unwrap_or(0)),
            Mode::UntilEmpty | Mode::Closed => None,
            Mode::Open => self.paused_until,
        }
    }

    /// An event on the listener with this epoll number.
    pub(super) fn note_arrival(&mut self, word: u64) {
        let number = usize::try_from(word - WAKE - 1).unwrap_or(usize::MAX);
        if let Some(watched) = self.listeners.get_mut(number) {
            watched.arrivals = watched.armed;
        }
    }

    /// In epoll while there is room for another connection, out of it while there is not.
    pub(super) fn keep_room(&mut self, connections: usize) {
        let wanted = self.mode == Mode::Open && self.paused_until.is_none() && connections < self.most;
        for number in 0..self.listeners.len() {
            if wanted { self.arm(number) } else { self.disarm(number) }
        }
    }

    fn arm(&mut self, number: usize) {
        let watched = &mut self.listeners[number];
        if watched.armed || watched.done {
            return;
        }
        let event =
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, WAKE + 1 + number as u64);
        // Out of memory or watches: tried again with the next turn.
        watched.armed = self.epoll.add(&watched.listener, event).is_ok();
    }

    fn disarm(&mut self, number: usize) {
        let watched = &mut self.listeners[number];
        if std::mem::take(&mut watched.armed) {
            let _ = self.epoll.delete(&watched.listener);
        }
        watched.arrivals = false;
    }

    /// Puts this worker at the end of the queue of each listener. Called with every beat, it also heals a wake-up that
    /// was lost: one that went to a worker which then did not accept.
    pub(super) fn requeue(&mut self) {
        for number in 0..self.listeners.len() {
            if self.listeners[number].armed {
                self.disarm(number);
                self.arm(number);
            }
        }
    }

    /// No connection is taken any more, or only those that wait already.
    pub(super) fn stop(&mut self, take_those_that_wait: bool) {
        self.mode = match self.mode {
            Mode::Open if take_those_that_wait => Mode::UntilEmpty,
            mode @ Mode::UntilEmpty if take_those_that_wait => mode,
            _ => Mode::Closed,
        };
        for number in 0..self.listeners.len() {
            self.disarm(number);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.mode == Mode::Open
    }

    pub(super) fn is_closed(&self) -> bool {
        self.mode == Mode::Closed
    }

    /// The next listener that may have a connection.
    fn candidate(&self) -> Option<usize> {
        let count = self.listeners.len();
        (0..count).map(|step| (self.turn + step) % count).find(|number| {
            let watched = &self.listeners[*number];
            !watched.done && (watched.arrivals || self.mode == Mode::UntilEmpty)
        })
    }

    fn found_empty(&mut self, number: usize) {
        self.listeners[number].arrivals = false;
        if self.mode == Mode::UntilEmpty {
            self.finished_with(number);
        }
    }

    fn finished_with(&mut self, number: usize) {
        self.disarm(number);
        self.listeners[number].done = true;
        if self.mode == Mode::UntilEmpty && self.listeners.iter().all(|watched| watched.done) {
            self.mode = Mode::Closed;
        }
    }
}

impl Reactor {
    /// Accepts at most one connection, and only while no complete request waits: another worker may be free.
    pub(super) fn accept(&mut self, now: Nanos) {
        if self.acceptor.paused_until.is_some_and(|until| until <= now) {
            self.acceptor.paused_until = None;
        }
        self.acceptor.keep_room(self.table.len());
        if !self.ready.is_empty()
            || self.acceptor.paused_until.is_some()
            || self.table.len() >= self.acceptor.most
        {
            return;
        }
        while let Some(number) = self.acceptor.candidate() {
            match Socket::accept(self.acceptor.listeners[number].listener.as_fd()) {
                Ok((socket, peer)) => {
                    self.acceptor.turn = number + 1;
                    self.acceptor.disarm(number);
                    let trusted = self.acceptor.trusted.trusts(&peer);
                    let token = self.table.insert(Box::new(Connection::new(socket, peer, number, trusted)));
                    self.slot.accepted(self.table.len() as u32);
                    self.acceptor.keep_room(self.table.len());
                    return self.read(token, now);
                }
                Err(Errno::EAGAIN) => self.acceptor.found_empty(number),
                // The client has given up: there may be others behind it.
                Err(Errno::ECONNABORTED | Errno::EINTR | Errno::EPROTO) => {}
                Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)) => {
                    self.acceptor.paused_until = Some(now + PAUSE);
                    if self.acceptor.complain_again_at <= now {
                        self.acceptor.complain_again_at = now + COMPLAIN_EVERY;
                        self.notices.push(Notice::AcceptFailed(errno));
                    }
                    return self.acceptor.keep_room(self.table.len());
                }
                // The arbiter has shut the listener down, or the descriptor is none.
                Err(errno) => {
                    if errno != Errno::EINVAL {
                        self.notices.push(Notice::AcceptFailed(errno));
                    }
                    self.acceptor.finished_with(number);
                }
            }
        }
    }

    /// See [`Acceptor::requeue`].
    pub(crate) fn requeue_listeners(&mut self) {
        self.acceptor.requeue();
    }
}
