//! The reactor: one epoll instance with the listeners, the connections and the wake-up pipe of one worker.
//!
//! It takes connections, reads requests, finishes responses and keeps deadlines. It knows neither Python nor the worker
//! type: a worker type takes complete requests out ([`Reactor::next_request`]), has them answered, and gives the
//! connection back ([`Reactor::answered`]).
//!
//! Connections enter epoll only when they have to wait: a request that is there when its connection is accepted costs no
//! `epoll_ctl` at all.

pub(crate) mod conn;
mod courtesy;
pub(crate) mod http2;
pub(crate) mod live;
pub(crate) mod outbound;
pub(crate) mod preamble;
pub(crate) mod socket;
pub(crate) mod table;
pub(crate) mod timers;
pub(crate) mod wake;
pub(crate) mod watchdog;
pub(crate) mod websocket;

mod accept;
mod alarm;
mod budget;
mod close;
mod deadline;
mod farewell;

use std::collections::VecDeque;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use podicorn_http::Reject;
use podicorn_http::response::write_error;
use podicorn_http::websocket::{Compressor, Violation};

use self::accept::Acceptor;
use self::alarm::Alarm;
use self::budget::Budget;
use self::conn::{Advance, Connection, Phase, READ_BYTES, Rules};
use self::courtesy::Told;
use self::live::Happening;
use self::outbound::{Piece, Sent};
use self::preamble::Proxies;
use self::socket::{Peer, Then};
use self::table::{Table, Token};
use self::timers::Timers;
use self::wake::Wake;
use self::watchdog::Watchdog;
use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::date::date_field;
use crate::error::EngineError;
use crate::listener::Listener;
use crate::options::Limits;
use crate::slot::SharedSlot;
use crate::tls::entrance::Entrance;
use crate::tls::session::Failure;
use crate::trust::TrustedPeers;

/// How long the client's half of an ended connection is kept open without a byte from it.
const LINGER: Nanos = 5 * SECOND;
/// How long a client that has not sent a byte may keep a worker that wants to stop.
const SILENCE: Nanos = SECOND;
/// How long the end of an idle connection is listened to then: a request that has crossed it must not be met by a reset.
const PARTING: Nanos = 250 * MILLISECOND;
/// The Server field.
pub(crate) const SERVER: &[u8] = b"podicorn";
/// epoll's numbers of the wake-up pipe, of the nudges, of the alarm, and of the first listener.
const WAKE: u64 = 0;
const NUDGE: u64 = 1;
const ALARM: u64 = 2;
const FIRST_LISTENER: u64 = 3;
/// Events per wait.
pub(crate) const EVENTS: usize = 256;

/// Something to be told to people.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A request was refused.
    Refused { peer: Peer, reject: Reject },
    /// A client has broken the WebSocket protocol.
    WebSocketFailed { peer: Peer, violation: Violation },
    /// There was to be a TLS session, and there is none.
    TlsFailed { peer: Peer, failure: Failure },
    /// Accepting has to pause: no descriptors, no memory.
    AcceptFailed(Errno),
}

/// A request that is complete, with its connection.
pub(crate) struct Ready {
    pub(crate) token: Token,
    pub(crate) connection: Box<Connection>,
    /// How many more wait, for the scoreboard; `None`: it has been told.
    pub(crate) waiting: Option<u32>,
}

/// See the module's text.
pub(crate) struct Reactor {
    epoll: Arc<Epoll>,
    wake: Arc<Wake>,
    acceptor: Acceptor,
    rules: Arc<Rules>,
    /// For streams of HTTP/2, whose text is our own.
    stream_rules: Arc<Rules>,
    table: Table,
    timers: Timers,
    /// Where every read goes first.
    scratch: Box<[u8]>,
    ready: VecDeque<Token>,
    /// Requests that can be with the app at a time, and those that are.
    capacity: usize,
    running: usize,
    /// Threads that wait for a request.
    pub(crate) sleepers: usize,
    /// The app is called on the thread that waits: a complete request never waits for a wake-up.
    inline: bool,
    budget: Budget,
    /// A client has to move so many bytes per stall period.
    stall: Option<Nanos>,
    least: u64,
    /// Requests that have begun to run since the last turn, and what running requests are to be told.
    hosted: Vec<Token>,
    happenings: Vec<Happening>,
    /// Tokens of those WebSocket connections that have more to read than one turn allows, and a buffer for frames.
    unread: Vec<Token>,
    frames: Vec<u8>,
    compressor: Compressor,
    /// Where the epoll is watched by a loop of others.
    alarm: Option<Alarm>,
    watchdog: Option<Watchdog>,
    notices: Vec<Notice>,
    slot: Arc<SharedSlot>,
    /// All listeners speak TLS.
    tls: Option<Arc<Entrance>>,
}

impl Reactor {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        rules: Rules,
        limits: &Limits,
        (trusted, proxies): (TrustedPeers, Proxies),
        slot: Arc<SharedSlot>,
        wake: Arc<Wake>,
        tls: Option<Arc<Entrance>>,
    ) -> Result<Self, EngineError> {
        let epoll =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(EngineError::system("epoll_create"))?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, WAKE);
        epoll.add(&*wake, event).map_err(EngineError::system("epoll_ctl"))?;
        // Edge-triggered: each nudge wakes one worker, and none has to read the counter down.
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET | EpollFlags::EPOLLEXCLUSIVE;
        epoll.add(slot.nudged(), EpollEvent::new(flags, NUDGE)).map_err(EngineError::system("epoll_ctl"))?;
        let watchdog = limits
            .request_timeout
            .map(|timeout| Watchdog::start(timeout, Arc::clone(&slot), Arc::clone(&wake)))
            .transpose()?;
        let epoll = Arc::new(epoll);
        let alarm = limits.guest.then(|| Alarm::new(&epoll)).transpose()?;
        let told = if limits.guest { Told::All } else { Told::OneInTurn { enough: limits.at_a_time } };
        let acceptor =
            Acceptor::new(Arc::clone(&epoll), listeners, trusted, proxies, limits.connections, told);
        Ok(Self {
            epoll,
            wake,
            acceptor,
            stream_rules: Arc::new(rules.for_streams()),
            rules: Arc::new(rules),
            table: Table::default(),
            timers: Timers::new([
                limits.head_timeout,
                limits.stall_timeout,
                limits.stall_timeout,
                Some(LINGER),
                Some(SILENCE),
                limits.keep_alive,
                limits.stall_timeout,
                limits.ping_interval,
                limits.ping_timeout,
                Some(websocket::CLOSE_TIMEOUT),
                Some(PARTING),
            ]),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            ready: VecDeque::new(),
            capacity: limits.at_a_time,
            running: 0,
            sleepers: 0,
            inline: limits.threads == 0 && !limits.guest,
            budget: Budget::new(limits.body_budget),
            stall: limits.stall_timeout,
            least: limits.least_per_stall(),
            hosted: Vec::new(),
            happenings: Vec::new(),
            unread: Vec::new(),
            frames: Vec::new(),
            compressor: Compressor::new(),
            alarm,
            watchdog,
            notices: Vec::new(),
            slot,
            tls,
        })
    }

    /// To wait on, without holding the reactor.
    pub(crate) fn epoll(&self) -> Arc<Epoll> {
        Arc::clone(&self.epoll)
    }

    /// How long a wait may be, in milliseconds, if something else is due at `at_most`.
    pub(crate) fn patience(&self, now: Nanos, at_most: Nanos) -> u16 {
        if self.inline && !self.ready.is_empty() {
            return 0;
        }
        let due = self.due(at_most);
        // Rounded up: waking a little too early would only mean to wait again.
        u16::try_from(due.saturating_sub(now).div_ceil(MILLISECOND)).unwrap_or(u16::MAX)
    }

    fn due(&self, at_most: Nanos) -> Nanos {
        let due = [Some(at_most), self.timers.next(), self.acceptor.due(self.table.len())];
        due.into_iter().flatten().min().unwrap_or(at_most)
    }

    /// Lets the epoll become ready when something is due, where others watch it; `at_most` as in [`Self::patience`].
    pub(crate) fn set_alarm(&mut self, now: Nanos, at_most: Nanos) {
        let due = if self.ready.is_empty() { self.due(at_most) } else { now };
        if let Some(alarm) = &mut self.alarm {
            alarm.set(due, now);
        }
    }

    /// Works off what a wait has brought: clients first, then at most one new connection, then deadlines. True: the
    /// wake-up pipe was written to.
    pub(crate) fn dispatch(&mut self, events: &[EpollEvent], now: Nanos) -> bool {
        let mut woken = false;
        // Before its client's farewell, which may come at the same time.
        self.cut_overdue(now);
        for event in events {
            match Token::from_word(event.data()) {
                Some(token) => self.client_event(token, event.events(), now),
                None if event.data() == WAKE => {
                    woken = true;
                    self.wake.drain();
                }
                None if event.data() == NUDGE => self.acceptor.note_nudge(),
                None if event.data() == ALARM => {}
                None => self.acceptor.note_arrival(event.data()),
            }
        }
        self.read_on(now);
        self.settle_in();
        self.accept(events.len() > 1, now);
        self.resume_paused(now);
        while let Some((index, deadline)) = self.timers.expire(now) {
            if let Some(token) = self.table.token_at(index) {
                self.expired(token, deadline, now);
            }
        }
        self.publish_load();
        woken
    }

    pub(crate) fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Tells the scoreboard how many requests wait and how many connections there are.
    pub(crate) fn publish_load(&self) {
        self.slot.set_load(self.ready.len() as u32, self.table.len() as u32);
    }

    /// The request that has waited longest. Its connection is the caller's until [`Self::answered`].
    pub(crate) fn next_request(&mut self, now: Nanos) -> Option<Ready> {
        while let Some(token) = self.ready.pop_front() {
            let Some(connection) = self.table.get(token) else { continue };
            if connection.socket.is_timed_out() {
                self.answer_is_out(token, now);
                continue;
            }
            connection.socket.pass_to_app();
            self.budget.settle(connection, 0);
            if let Some(connection) = self.table.lend(token) {
                // It no longer waits: from here on it is in flight.
                self.running += 1;
                // With several threads only who holds the reactor can say it in the right order.
                let waiting = if self.inline || self.alarm.is_some() {
                    Some(self.ready.len() as u32)
                } else {
                    self.publish_load();
                    None
                };
                return Some(Ready { token, connection, waiting });
            }
        }
        None
    }

    /// How many requests wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// Takes a connection back whose request has been answered, as far as the socket took it. What is left of the
    /// response is sent without the worker; then the connection ends, or waits for its next request.
    pub(crate) fn answered(&mut self, token: Token, connection: Box<Connection>, now: Nanos) {
        self.running = self.running.saturating_sub(1);
        self.acceptor.note_return(now);
        let missed = self.table.put_back(token, connection);
        if let Some(connection) = self.table.get(token) {
            connection.note(missed);
        }
        self.answer_is_out(token, now);
        self.resume_paused(now);
        // Inline, a wait follows only when no request is left; a listener still out of epoll would not end it.
        if !self.inline || self.ready.is_empty() {
            self.welcome_connections(now);
        }
    }

    /// The app has given all of its response, or the watchdog has answered.
    fn answer_is_out(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        if let (Some(watchdog), Some(watch)) = (&self.watchdog, connection.watch.take()) {
            watchdog.leave(&watch);
        }
        if connection.given_away {
            return self.close(token);
        }
        if connection.socket.is_timed_out() {
            connection.abandon();
        }
        self.send(token, now);
    }

    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn client_event(&mut self, token: Token, flags: EpollFlags, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return self.table.miss(token, flags) };
        connection.note(flags);
        if flags.contains(EpollFlags::EPOLLOUT) {
            connection.socket.note_room();
        }
        match connection.phase {
            // Room to send is no news to one that reads.
            Phase::Head | Phase::Body if connection.drained => {}
            Phase::Head | Phase::Body => self.read(token, now),
            Phase::Sending => self.send(token, now),
            Phase::Lingering => self.linger(token, now),
            // The client has broken off while its request waits: nobody would read the answer.
            Phase::Request if flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) => {
                self.close(token);
            }
            Phase::Request => {}
            Phase::Live => self.live_event(token, flags, now),
            Phase::WebSocket => self.websocket_event(token, flags, now),
            Phase::Http2 => self.drive(token, now),
        }
    }

    /// Reads on, and decides what comes next.
    fn read(&mut self, token: Token, now: Nanos) {
        loop {
            if self.pauses(token) {
                return;
            }
            let Some(connection) = self.table.get(token) else { return };
            let rules = if connection.socket.is_stream() { &self.stream_rules } else { &self.rules };
            let room = self.budget.room().max(READ_BYTES);
            match connection.advance(rules, &mut self.scratch, room, now) {
                Advance::Full => {
                    let held = connection.raw.len() + connection.body.len();
                    self.budget.settle(connection, held);
                    continue;
                }
                Advance::Http2(upgraded) => self.begin_http2(token, upgraded, now),
                Advance::Ready => {
                    self.timers.clear(token.index());
                    connection.socket.ask();
                    if let Some(watchdog) = &self.watchdog {
                        let head_only = connection.asks_for_head_only();
                        connection.watch = Some(watchdog.enter(token, &connection.socket, head_only, now));
                    }
                    let held = connection.body.len();
                    self.budget.settle(connection, held);
                    self.ready.push_back(token);
                }
                Advance::Wait => {
                    let held = connection.raw.len() + connection.body.len();
                    self.budget.settle(connection, held);
                    if self.register(token) {
                        self.set_read_deadline(token, now);
                    } else {
                        self.close(token);
                    }
                }
                Advance::Refused(reject) => {
                    let peer = connection.peer;
                    self.refuse(token, reject.status, &reject.to_string(), now);
                    self.notices.push(Notice::Refused { peer, reject });
                }
                // Most have left altogether, which is nothing to read about; one that listens is told (RFC 9112 §8).
                Advance::Incomplete(reject) => self.refuse(token, reject.status, &reject.to_string(), now),
                Advance::Gone if matches!(connection.socket.tls_failure(), Some(Failure::Plain)) => {
                    self.refuse(token, 400, "This port speaks HTTPS: ask it by an https:// address.", now);
                }
                Advance::Gone => self.close(token),
            }
            return;
        }
    }

    /// Answers in the app's place, then ends the connection.
    fn refuse(&mut self, token: Token, status: u16, detail: &str, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        let mut answer = Vec::new();
        let head_only = connection.asks_for_head_only();
        write_error(&mut answer, status, detail, SERVER, &date_field(), head_only);
        connection.abandon();
        connection.outbound.push(Piece::Owned(answer));
        self.budget.settle(connection, 0);
        self.slot.count_rejection(status);
        self.send(token, now);
    }

    /// Sends what is left, then ends the connection or begins its next request.
    fn send(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        connection.phase = Phase::Sending;
        let then = if connection.persists { Then::More } else { Then::End };
        match connection.outbound.flush(&connection.socket, then) {
            // Also if the worker is to stop: the client was told that it may ask again.
            Sent::All if then == Then::More => self.next(token, now),
            Sent::All => self.end(token, now),
            Sent::Blocked { .. } => {
                if !self.register(token) {
                    return self.close(token);
                }
                self.set_send_deadline(token, now);
            }
            Sent::Failed(_) => self.close(token),
        }
    }

    /// The next request of a connection that is kept, some of which may have come already.
    fn next(&mut self, token: Token, now: Nanos) {
        let Some(connection) = self.table.get(token) else { return };
        connection.begin_next(now);
        self.timers.clear(token.index());
        self.read(token, now);
    }

    /// Lets epoll watch a connection; false if it cannot.
    fn register(&mut self, token: Token) -> bool {
        let Some(connection) = self.table.get(token) else { return false };
        if connection.registered {
            return true;
        }
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        connection.registered =
            self.epoll.add(&*connection.socket, EpollEvent::new(flags, token.word())).is_ok();
        connection.registered
    }

    fn unregister(epoll: &Epoll, connection: &mut Connection) {
        if std::mem::take(&mut connection.registered) {
            let _ = epoll.delete(&*connection.socket);
        }
        connection.hung_up = false;
    }
}
