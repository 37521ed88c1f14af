//! Taking connections from the listeners that all workers share.
//!
//! Each worker's epoll has the listeners with `EPOLLEXCLUSIVE`, so an arrival wakes one worker. The kernel wakes the first
//! in the queue, always the same one; taking the listener out and adding it again after each accept puts this worker at
//! the end, so that the workers take turns.
//!
//! A worker that has as many requests as it can serve leaves new connections to others. The wake-up may have been meant for
//! it alone, so it passes it on (the **nudge**, an eventfd that all workers watch exclusively). If the connection is still
//! there when the worker has next answered a request, the others must be busy too, and it takes it: clients that keep
//! their connections and always have a next request must not lock new ones out.
//!
//! A worker that is alone takes no turns: its listeners stay where they are. With enough to do it, too, takes one connection
//! for each request that it has answered: what waits in the kernel's queue can still go to a worker that is yet to come.
//!
//! Where the epoll is watched by another loop's epoll, the kernel wakes all workers for each arrival, and the one that
//! runs first would get it; and in a burst those that run already would get all of it before the others have a CPU. So a
//! worker that has much more than another is courteous ([`super::courtesy`]).

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use podicorn_http::response::write_error;
use podicorn_scoreboard::Load;

use super::conn::{Connection, Phase};
use super::courtesy::{Courtesy, STEP_BACK, Told};
use super::preamble::Proxies;
use super::socket::Socket;
use super::timers::Deadline;
use super::{FIRST_LISTENER, Notice, Reactor, SERVER};
use crate::clock::{MILLISECOND, Nanos, SECOND, unix_at};
use crate::date::date_field;
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

/// A queue holds fewer: what comes after so many is for whoever else has the socket.
const MOST_AT_THE_END: usize = 8192;
/// Connections that are taken in one turn when all that wait are to be taken.
const BATCH: usize = 256;
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
#[allow(clippy::struct_excessive_bools)] // independent facts, not states
pub(crate) struct Acceptor {
    epoll: Arc<Epoll>,
    listeners: Vec<Watched>,
    trusted: TrustedPeers,
    proxies: Proxies,
    /// Most connections at a time.
    most: usize,
    mode: Mode,
    /// The whole server stops: all that wait are taken, however much there is to do.
    all: bool,
    /// More than one connection may be taken in this turn.
    batch: bool,
    taken_at_the_end: usize,
    paused_until: Option<Nanos>,
    complain_again_at: Nanos,
    /// The listener to ask first, so that a busy one does not starve the others.
    turn: usize,
    /// A connection was left to other workers.
    declined: bool,
    /// A request was answered since a connection was last taken in spite of having enough to do.
    credit: bool,
    courtesy: Courtesy,
}

impl Acceptor {
    /// The listeners enter epoll with the first turn.
    pub(super) fn new(
        epoll: Arc<Epoll>,
        listeners: Vec<Listener>,
        trusted: TrustedPeers,
        proxies: Proxies,
        most: usize,
        told: Told,
    ) -> Self {
        let listeners = listeners
            .into_iter()
            .map(|listener| Watched { listener, armed: false, arrivals: false, done: false })
            .collect();
        Self {
            epoll,
            listeners,
            trusted,
            proxies,
            most,
            mode: Mode::Open,
            all: false,
            batch: false,
            taken_at_the_end: 0,
            paused_until: None,
            complain_again_at: 0,
            turn: 0,
            declined: false,
            credit: true,
            courtesy: Courtesy::new(told),
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
        let number = usize::try_from(word - FIRST_LISTENER).unwrap_or(usize::MAX);
        if let Some(watched) = self.listeners.get_mut(number) {
            watched.arrivals = watched.armed;
        }
    }

    /// Another worker has left a connection, on whichever listener.
    pub(super) fn note_nudge(&mut self) {
        for watched in &mut self.listeners {
            watched.arrivals = watched.armed;
        }
    }

    /// A request was answered.
    pub(super) fn note_answer(&mut self) {
        self.credit = true;
    }

    /// As [`Self::note_answer`], where this worker may have been in the app all the time.
    pub(super) fn note_return(&mut self, now: Nanos) {
        self.note_answer();
        self.courtesy.note_return(now);
    }

    fn note_turn(&mut self, now: Nanos) {
        let told = |watched: &Watched| watched.armed && !watched.arrivals;
        self.courtesy.note_turn(self.listeners.iter().all(told), now);
    }

    /// Listeners are in epoll while another connection is welcome, out of it while it is not.
    fn welcome(&mut self, room: bool, busy: bool) {
        let wanted = self.mode == Mode::Open && self.paused_until.is_none() && room && (!busy || self.credit);
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
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, FIRST_LISTENER + number as u64);
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
        // The arbiter may have shut them down before it said so.
        self.close_if_done();
    }

    pub(super) fn is_open(&self) -> bool {
        self.mode == Mode::Open
    }

    pub(super) fn is_closed(&self) -> bool {
        self.mode == Mode::Closed
    }

    /// Those that wait are still taken.
    pub(super) fn is_ending(&self) -> bool {
        self.mode == Mode::UntilEmpty
    }

    /// Looks at every listener, whatever epoll has said.
    fn look_at_all(&mut self) {
        for watched in &mut self.listeners {
            watched.arrivals = !watched.done;
        }
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
        self.declined = false;
        if self.mode == Mode::UntilEmpty {
            self.finished_with(number);
        }
    }

    fn count_at_the_end(&mut self) {
        if self.mode == Mode::UntilEmpty {
            self.taken_at_the_end += 1;
            if self.taken_at_the_end >= MOST_AT_THE_END {
                self.mode = Mode::Closed;
            }
        }
    }

    fn finished_with(&mut self, number: usize) {
        self.disarm(number);
        self.listeners[number].done = true;
        self.close_if_done();
    }

    fn close_if_done(&mut self) {
        if self.mode == Mode::UntilEmpty && self.listeners.iter().all(|watched| watched.done) {
            self.mode = Mode::Closed;
        }
    }
}

impl Reactor {
    /// Keeps the listeners in epoll as long as a connection is welcome.
    pub(super) fn welcome_connections(&mut self, now: Nanos) {
        let room = self.table.len() < self.acceptor.most || self.evictable(now).is_some();
        let busy = self.is_busy() && !self.keeps_listening();
        self.acceptor.welcome(room, busy);
    }

    /// Whether there are as many requests as can be served at a time.
    fn is_busy(&self) -> bool {
        self.running + self.ready.len() >= self.capacity && !self.acceptor.all
    }

    /// Whether listeners need not leave epoll: there is nobody to take turns with, and the wait that an armed listener
    /// would end never begins while a request waits, or a connection is welcome.
    fn keeps_listening(&self) -> bool {
        (self.inline || self.acceptor.courtesy.is_of_a_crowd() && !self.is_busy()) && self.slot.is_alone()
    }

    /// Accepts one connection, or all that wait if the whole server stops. `engaged`: this turn had other work, too, and so
    /// may the next; then a worker that is alone takes all that are welcome, or the last in a burst waits for many such turns.
    pub(super) fn accept(&mut self, engaged: bool, now: Nanos) {
        self.acceptor.note_turn(now);
        self.acceptor.all = !self.acceptor.is_closed() && self.slot.draining();
        self.acceptor.batch = self.acceptor.all || engaged && self.keeps_listening();
        if self.acceptor.all {
            self.acceptor.look_at_all();
        }
        let most = if self.acceptor.batch { BATCH } else { 1 };
        for _ in 0..most {
            if !self.accept_next(now) {
                break;
            }
        }
    }

    /// True: one was accepted.
    fn accept_next(&mut self, now: Nanos) -> bool {
        if self.acceptor.paused_until.is_some_and(|until| until <= now) {
            self.acceptor.paused_until = None;
        }
        self.welcome_connections(now);
        if self.acceptor.paused_until.is_some() {
            return false;
        }
        while let Some(number) = self.acceptor.candidate() {
            let busy = self.is_busy() && self.acceptor.mode == Mode::Open;
            if busy && self.keeps_listening() && !self.acceptor.credit {
                return false;
            }
            if busy && !self.keeps_listening() && !self.take_in_spite_of_work(now) {
                return false;
            }
            if self.steps_back(now) {
                return false;
            }
            // Who has to go is found before, and goes when there is somebody to make room for.
            if self.table.len() >= self.acceptor.most && self.evictable(now).is_none() {
                return false;
            }
            if let Some(Err(errno)) = self.tls.as_ref().map(|tls| tls.prepare()) {
                self.pause_accepting(errno, now);
                return false;
            }
            match Socket::accept(self.acceptor.listeners[number].listener.as_fd()) {
                Ok((socket, peer)) => {
                    self.acceptor.turn = number + 1;
                    self.acceptor.declined &= busy;
                    self.acceptor.credit &= !busy;
                    if self.acceptor.all {
                        self.acceptor.count_at_the_end();
                    } else if self.keeps_listening() {
                        self.acceptor.listeners[number].arrivals = self.acceptor.batch;
                    } else {
                        self.acceptor.disarm(number);
                    }
                    if self.table.len() >= self.acceptor.most {
                        self.evict(now);
                    }
                    let socket = match &self.tls {
                        None => socket,
                        Some(tls) => match tls.secure(socket) {
                            Ok(socket) => socket,
                            Err(errno) => {
                                self.pause_accepting(errno, now);
                                return false;
                            }
                        },
                    };
                    let trusted = self.acceptor.trusted.trusts(&peer);
                    let mut connection = Box::new(Connection::new(socket, peer, number, trusted));
                    connection.expected = self.acceptor.proxies.expect_from(&peer);
                    let token = self.table.insert(connection);
                    self.slot.accepted(self.table.len() as u32);
                    self.read(token, now);
                    self.welcome_connections(now);
                    return true;
                }
                Err(Errno::EAGAIN) => self.acceptor.found_empty(number),
                // The client has given up: there may be others behind it.
                Err(Errno::ECONNABORTED | Errno::EINTR | Errno::EPROTO) => {}
                Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)) => {
                    self.pause_accepting(errno, now);
                    return false;
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
        false
    }

    /// There are no descriptors, or there is no memory.
    fn pause_accepting(&mut self, errno: Errno, now: Nanos) {
        self.acceptor.paused_until = Some(now + PAUSE);
        if self.acceptor.complain_again_at <= now {
            self.acceptor.complain_again_at = now + COMPLAIN_EVERY;
            self.notices.push(Notice::AcceptFailed(errno));
        }
        self.welcome_connections(now);
    }

    /// A connection waits while this worker has enough to do: the first time it is left to others.
    fn take_in_spite_of_work(&mut self, now: Nanos) -> bool {
        if self.acceptor.declined {
            return self.acceptor.credit;
        }
        self.acceptor.declined = true;
        self.slot.nudge();
        // A thread may still be in the app when the wait begins: an armed listener would end it at once, and for ever.
        self.acceptor.credit = false;
        self.welcome_connections(now);
        false
    }

    /// Whether to leave a connection to a worker that has less to do.
    fn steps_back(&mut self, now: Nanos) -> bool {
        if self.acceptor.mode != Mode::Open || self.acceptor.all {
            return false;
        }
        let (requests, connections) = ((self.running + self.ready.len()) as u32, self.table.len() as u32);
        let mine = Load { requests, connections, ..Load::default() };
        let courtesy = &mut self.acceptor.courtesy;
        // Most of the time this one has nothing to do, and need not ask.
        if !courtesy.matters(mine, now)
            || !self.slot.among_others(|others| courtesy.leaves(mine, others, now, unix_at(now)))
        {
            return false;
        }
        self.acceptor.paused_until = Some(now + STEP_BACK);
        if !self.acceptor.courtesy.is_of_a_crowd() {
            // It may have been woken alone.
            self.slot.nudge();
        }
        self.welcome_connections(now);
        true
    }

    /// The connection to give up for a new one: what ends anyway, then who is idle, then who has proved to be slow in taking
    /// the response, then who has been sending the request for longest. Those who take a response in time keep their place.
    fn evictable(&mut self, now: Nanos) -> Option<u32> {
        let useless = self.timers.first(Deadline::Linger).or_else(|| self.timers.first(Deadline::KeepAlive));
        useless.or_else(|| self.laggard(now)).or_else(|| {
            // Not the head of somebody who has just come where bodies are stuck.
            let asking =
                [Deadline::Head, Deadline::Body].into_iter().filter_map(|kind| self.timers.first(kind));
            asking.max_by_key(|index| self.timers.progress(*index, now).map(|(run, _)| run))
        })
    }

    /// Whether another connection may be there.
    pub(super) fn has_room(&self) -> bool {
        self.table.len() < self.acceptor.most
    }

    /// Makes room for one connection.
    fn evict(&mut self, now: Nanos) {
        let Some(token) = self.evictable(now).and_then(|index| self.table.token_at(index)) else { return };
        let Some(connection) = self.table.get(token) else { return };
        if matches!(connection.phase, Phase::Head | Phase::Body) && !connection.is_silent() {
            let mut answer = Vec::new();
            write_error(&mut answer, 408, "", SERVER, &date_field(), false);
            connection.socket.send_in_passing(&answer);
            self.slot.count_rejection(408);
        }
        self.close(token);
    }

    /// See [`Acceptor::requeue`].
    pub(crate) fn requeue_listeners(&mut self) {
        self.acceptor.requeue();
    }
}
