//! HTTP/2 (RFC 9113), spoken by the crate `h2` without a runtime.
//!
//! A connection that begins with HTTP/2's preface, where that is allowed, becomes a **front** ([`Phase::Http2`]). Each of its
//! streams becomes a connection of the engine, over a pair of sockets: the request goes in as the text of HTTP/1, by
//! [`request`], and the response comes back as such, by [`response`]. So every rule, limit, deadline and binding of HTTP/1
//! holds for a stream as it is, whatever the worker type, and a client that takes its response slowly is seen by the engine
//! as what it is: `h2`'s windows stop the reading at this end of the pair, and the pair fills up. What it costs is a pair of
//! sockets for each request.
//!
//! `h2` is asked again with every event of the front or of one of its pairs, until nothing moves any more. The pairs are in
//! an epoll of the front's own, which the reactor's epoll watches under the number of the front.

mod deadline;
mod flood;
mod request;
mod response;
mod stream;
mod upgrade;
mod wire;

use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use h2::server::{self, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::sockopt::SndBuf;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair};
use podicorn_http::Scheme;

use self::request::{Body, Malformed};
use self::stream::{Life, Stream};
pub(crate) use self::upgrade::Upgraded;
use self::wire::{Flow, Wire};
use super::conn::{Connection, Phase};
use super::socket::{Socket, StreamOrigin};
use super::table::Token;
use super::timers::Deadline;
use super::{EVENTS, Reactor};
use crate::clock::Nanos;

/// What a client that knows HTTP/2 sends first (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Rounds in one turn, before others have theirs.
const ROUNDS: usize = 16;
/// Streams that a client may take back before the server has looked at them: more ends the connection. See [`flood`], too.
const RESETS: usize = 200;
/// The send buffer of a pair, as the kernel counts: a client's slowness is to be seen through it.
const PAIR_BUFFER: usize = 16 * 1024;
/// What the window of a whole connection is, in windows of its streams.
const WINDOWS: u32 = 16;

/// The settings `http2_*`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Http2Rules {
    /// By ALPN, over TLS.
    pub(crate) secure: bool,
    /// By prior knowledge, from trusted peers.
    pub(crate) clear: bool,
    /// By HTTP/1.1's Upgrade, from them, too. Where it is by prior knowledge alone, they may speak nothing else.
    pub(crate) upgrade: bool,
    pub(crate) streams: u32,
    pub(crate) window: u32,
    pub(crate) frame: u32,
    /// Bytes; `None`: no limit.
    pub(crate) header_list: Option<u32>,
}

impl Http2Rules {
    /// Whether any client may speak it.
    pub(crate) fn is_spoken(&self) -> bool {
        self.secure || self.clear || self.upgrade
    }
}

/// Bytes of responses that wait in `h2` for the client's window, for each stream; more wait in the pair of sockets.
const SEND_BUFFER: usize = 64 * 1024;

/// Whether something has moved that has to be looked at.
#[derive(Debug, Default)]
struct Moved(AtomicBool);

impl Wake for Moved {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[allow(clippy::large_enum_variant)] // a connection has one
enum State {
    Handshake(Handshake<Wire, Bytes>),
    Open(Box<server::Connection<Wire, Bytes>>),
    Over,
}

/// What a front is beside its socket.
pub(super) struct Http2 {
    state: State,
    streams: Vec<Stream>,
    pairs: Epoll,
    moved: Arc<Moved>,
    origin: Arc<StreamOrigin>,
    flow: Arc<Flow>,
    /// Bytes that the client's kernel had taken when it was last judged.
    mark: u64,
    /// The client was told that it has sent more than anybody bears.
    told: bool,
    /// The request that the connection has begun with as HTTP/1.1.
    upgraded: Option<Box<Upgraded>>,
    /// There has been a request.
    used: bool,
    /// No more are taken.
    parting: bool,
}

impl Http2 {
    fn has_moved(&self) -> bool {
        self.moved.0.swap(false, Ordering::Relaxed)
    }

    /// Tells the client that its streams are the last (RFC 9113 §6.8).
    fn part(&mut self) {
        self.parting = true;
        if let State::Open(connection) = &mut self.state {
            connection.graceful_shutdown();
        }
    }

    /// Reads and sends; the streams that have begun.
    fn advance(&mut self, cx: &mut Context<'_>) -> Vec<(Request<RecvStream>, SendResponse<Bytes>)> {
        let mut begun = Vec::new();
        if let State::Handshake(handshake) = &mut self.state {
            match Pin::new(handshake).poll(cx) {
                Poll::Pending => return begun,
                Poll::Ready(Err(_)) => self.state = State::Over,
                Poll::Ready(Ok(connection)) => {
                    self.state = State::Open(Box::new(connection));
                    if self.parting {
                        self.part();
                    }
                }
            }
        }
        if let State::Open(connection) = &mut self.state {
            if self.flow.flooded.load(Ordering::Relaxed) && !std::mem::replace(&mut self.told, true) {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            loop {
                match connection.poll_accept(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(stream))) => begun.push(stream),
                    // The client has gone, or was told why it has to.
                    Poll::Ready(Some(Err(_)) | None) => {
                        self.state = State::Over;
                        break;
                    }
                }
            }
        }
        begun
    }
}

impl Reactor {
    /// The connection has begun with the preface, where that is allowed, or with a request of HTTP/1.1 that is then the
    /// first stream.
    pub(super) fn begin_http2(&mut self, token: Token, mut upgraded: Option<Box<Upgraded>>, now: Nanos) {
        let rules = self.rules.http2;
        let Some(connection) = self.table.get(token) else { return };
        let mut early = std::mem::take(&mut connection.raw);
        if let Some(upgraded) = &mut upgraded {
            // It fits an empty send buffer, and nothing is on its way when a request begins.
            connection.socket.send_in_passing(upgrade::SWITCHING);
            connection.head.clear();
            connection.release_body();
            early = std::mem::take(&mut upgraded.early);
        }
        self.budget.settle(connection, 0);
        let Ok(pairs) = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC) else { return self.close(token) };
        let origin = StreamOrigin {
            own_address: connection.socket.own_address(),
            secure: connection.socket.is_secure(),
            facts: connection.socket.tls_facts(),
        };
        let mut builder = server::Builder::new();
        builder
            .max_concurrent_streams(rules.streams)
            .initial_window_size(rules.window)
            .initial_connection_window_size(rules.window.saturating_mul(WINDOWS).clamp(65535, (1 << 31) - 1))
            .max_frame_size(rules.frame)
            .max_send_buffer_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(RESETS);
        builder.max_header_list_size(rules.header_list.unwrap_or(u32::MAX));
        let flow = Arc::new(Flow::default());
        let settings = upgraded.as_ref().map(|upgraded| upgraded.settings.clone());
        let wire = Wire::new(Arc::clone(&connection.socket), early, settings, Arc::clone(&flow));
        connection.phase = Phase::Http2;
        connection.http2 = Some(Box::new(Http2 {
            state: State::Handshake(builder.handshake(wire)),
            streams: Vec::new(),
            pairs,
            moved: Arc::default(),
            origin: Arc::new(origin),
            flow,
            mark: 0,
            told: false,
            upgraded,
            used: false,
            parting: false,
        }));
        if !self.register(token) || !self.watch_pairs(token) {
            return self.close(token);
        }
        if !self.acceptor.is_open() {
            return self.part_http2(token, now);
        }
        self.drive(token, now);
    }

    fn watch_pairs(&mut self, token: Token) -> bool {
        let Some(http2) = self.table.get(token).and_then(|connection| connection.http2.as_ref()) else {
            return false;
        };
        self.epoll.add(&http2.pairs.0, EpollEvent::new(EpollFlags::EPOLLIN, token.word())).is_ok()
    }

    fn front(&mut self, token: Token) -> Option<&mut Connection> {
        self.table.get(token).filter(|connection| connection.phase == Phase::Http2)
    }

    /// Moves what can be moved on a front and its streams.
    pub(super) fn drive(&mut self, token: Token, now: Nanos) {
        let Some(mut http2) = self.front(token).and_then(|front| front.http2.take()) else { return };
        let mut events = [EpollEvent::empty(); EVENTS];
        // Whichever they are of: all streams are looked at.
        let _ = http2.pairs.wait(&mut events, EpollTimeout::ZERO);
        let waker = Waker::from(Arc::clone(&http2.moved));
        let mut cx = Context::from_waker(&waker);
        let mut rounds = 0;
        loop {
            let _ = http2.has_moved();
            for (request, respond) in http2.advance(&mut cx) {
                self.begin_stream(token, &mut http2, request, respond, now);
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            http2.streams.retain_mut(|stream| stream.pump(&mut cx, &mut scratch) == Life::Goes);
            self.scratch = scratch;
            rounds += 1;
            if !http2.has_moved() || matches!(http2.state, State::Over) {
                break;
            }
            if rounds == ROUNDS {
                // No event will tell of what is there already.
                self.unread.push(token);
                self.wake.ring();
                break;
            }
        }
        let over = matches!(http2.state, State::Over);
        let Some(front) = self.front(token) else { return };
        front.http2 = Some(http2);
        if over {
            return self.end_http2(token, now);
        }
        self.set_http2_deadline(token, now);
    }

    /// A stream has begun: a connection of the engine for it.
    fn begin_stream(
        &mut self,
        token: Token,
        http2: &mut Http2,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        now: Nanos,
    ) {
        http2.used = true;
        let Some(front) = self.front(token) else { return };
        let (peer, listener, trusted) = (front.peer, front.listener, front.trusted);
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, flags);
        let pair = pair
            .and_then(|(ours, theirs)| setsockopt(&theirs, SndBuf, &PAIR_BUFFER).map(|()| (ours, theirs)));
        let (Ok((ours, theirs)), true) = (pair, self.has_room()) else {
            // The client may ask again (RFC 9113 §8.7).
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, 0);
        if http2.pairs.add(ours.as_fd(), event).is_err() {
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        let (parts, body) = request.into_parts();
        let mut head = Vec::new();
        let (kind, head_only) = if let Some(upgraded) = http2.upgraded.take() {
            head = upgraded.text;
            (Body::None, upgraded.head_only)
        } else {
            match request::write_head(&parts, body.is_end_stream(), &mut head) {
                Ok(kind) => (kind, parts.method == Method::HEAD),
                Err(Malformed) => return respond.send_reset(Reason::PROTOCOL_ERROR),
            }
        };
        let claimed = parts.uri.scheme_str().filter(|_| trusted);
        let socket = Socket::of_stream(theirs, Arc::clone(&http2.origin));
        let mut connection = Box::new(Connection::new(socket, peer, listener, trusted));
        connection.claimed =
            claimed.map(|scheme| if scheme == "https" { Scheme::Https } else { Scheme::Http });
        let mut stream = Stream::new(ours, head, kind, body, respond, head_only);
        // The head is there when the engine looks for it.
        let mut cx = Context::from_waker(Waker::noop());
        let mut scratch = std::mem::take(&mut self.scratch);
        let life = stream.pump(&mut cx, &mut scratch);
        self.scratch = scratch;
        if life == Life::Over {
            return;
        }
        http2.streams.push(stream);
        let own = self.table.insert(connection);
        self.read(own, now);
    }

    /// No more streams are taken on a front.
    fn part_http2(&mut self, token: Token, now: Nanos) {
        if let Some(http2) = self.front(token).and_then(|front| front.http2.as_mut())
            && !http2.parting
        {
            http2.part();
            self.timers.clear(token.index());
            self.drive(token, now);
        }
    }

    /// The worker ends: clients are told that no more streams are taken, and fronts end when their streams have.
    pub(crate) fn send_goaways(&mut self, now: Nanos) {
        for token in self.table.tokens() {
            self.part_http2(token, now);
        }
    }

    /// Nothing more is said. What the client still sends must not make a reset of what it has not read yet.
    fn end_http2(&mut self, token: Token, now: Nanos) {
        let Some(front) = self.front(token) else { return };
        front.http2 = None;
        let patience = if self.acceptor.is_open() { Deadline::Linger } else { Deadline::Parting };
        self.finish(token, patience, now);
    }
}
